//! A backup being restored: as it comes, and with the checksums put right so that what lies behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use warppool_ledger::backup::restore;

const MAGIC: &[u8] = b"WarpPool ledger\n";

fuzz_target!(|bytes: &[u8]| {
    let Some((&mode, rest)) = bytes.split_first() else { return };
    let stream = if mode % 2 == 0 { rest.to_vec() } else { framed(rest) };
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let restored = restore(stream.as_slice(), dir.path(), |_| ());
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("it is still there").collect();
    assert_eq!(restored.is_ok(), !left.is_empty(), "a refused backup leaves nothing behind, a good one something");
});

/// The input as the contents of frames, each a length of two bytes and that many bytes, in a stream whose sums are right.
fn framed(mut rest: &[u8]) -> Vec<u8> {
    let mut stream = MAGIC.to_vec();
    let mut frames = 0_u64;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (content, tail) = tail.split_at(tail.len().min(u16::from_le_bytes(*length).into()));
        rest = tail;
        stream.extend((content.len() as u32).to_le_bytes());
        stream.extend(content);
        stream.extend(crc32fast::hash(content).to_le_bytes());
        frames += 1;
    }
    stream.extend(0_u32.to_le_bytes());
    // The first frame is the header.
    stream.extend(frames.saturating_sub(1).to_le_bytes());
    let sum = Sha256::digest(&stream);
    stream.extend(sum);
    stream
}
