//! A FAT volume of whatever bytes: it is listed and read, or refused, in bounded time; what is read lies in the data area, has the
//! size its entry gives, and is the same in one piece as bit by bit.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use warppool_fuzz::Sparse;
use warppool_ota::fat::{Directory, Volume};

/// A FAT32 needs 33 MiB.
const MOST: u64 = 64 << 20;
const LIMIT: u64 = 1 << 20;
/// Files that are read of one volume.
const FILES: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let Some(disk) = Sparse::new(bytes, MOST) else { return };
    let Ok(mut volume) = Volume::open(disk) else { return };
    let geometry = volume.geometry().clone();
    if let Ok(root) = volume.list(&Directory::root()) {
        for entry in &root {
            assert!(!entry.name().contains('/') && entry.name() != "..", "{entry:?} leads out of its folder");
            assert!(entry.is_called(entry.name()));
        }
    }
    let Ok(files) = volume.walk() else { return };
    assert!(files.len() <= 16_384);
    for (path, entry) in files.iter().take(FILES) {
        drop(volume.find(path));
        if let Ok(pieces) = volume.pieces(entry) {
            let inside = |piece: &std::ops::Range<u64>| piece.start >= geometry.data && piece.end <= geometry.len;
            assert!(pieces.iter().all(inside), "{path}: {pieces:?} lies outside");
            let bytes: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
            assert!(bytes >= u64::from(entry.size()) && bytes <= geometry.len);
        }
        if let Ok(content) = volume.read(entry, LIMIT) {
            assert!(content.len() == entry.size() as usize && content.len() as u64 <= LIMIT);
            let mut again = Vec::new();
            let mut file = volume.open_file(entry).expect("it was read before");
            file.read_to_end(&mut again).expect("it was read before");
            assert!(content == again, "{path} reads otherwise through a reader");
        }
    }
});
