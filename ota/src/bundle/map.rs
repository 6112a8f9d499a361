//! Which parts of a slot matter, and where they are cut into chunks.

use std::ops::Range;

use super::header::{CHUNK, Chunk, ZeroRun};
use crate::digest::Digest;
use crate::disk::Disk;
use crate::fat::{Directory, FatError, Volume};

/// A FAT is looked at in stretches of so many bytes.
const STRETCH: u64 = 4096;

/// Bytes of the slot.
type Ranges = Vec<Range<u64>>;

/// The parts of a slot in use.
struct Map {
    /// Files and folders, each cut at its beginning.
    content: Ranges,
    fats: Ranges,
    /// Boot sectors and root directory.
    late: Ranges,
    len: u64,
}

impl Map {
    fn of<D: Disk>(volume: &mut Volume<D>) -> Result<Self, FatError> {
        let root = volume.directory_pieces(&Directory::root())?;
        let mut entries = Vec::new();
        volume.walk_all(&mut |_, entry| entries.push(entry.clone()))?;
        let mut content = Vec::new();
        for entry in &entries {
            content.extend(volume.pieces(entry)?);
        }
        let geometry = volume.geometry();
        let mut late = vec![geometry.reserved.clone()];
        late.extend(root);
        Ok(Self { content, fats: geometry.fats.clone(), late, len: geometry.len })
    }
}

/// Every chunk and every run of zeros of a slot, and the bytes of its file system.
pub(crate) fn describe(slot: &mut dyn Disk) -> Result<(Vec<Chunk>, Vec<ZeroRun>, u64), FatError> {
    let mut volume = Volume::open(&mut *slot)?;
    let map = Map::of(&mut volume)?;
    let mut chunks = Vec::new();
    let mut zeros = Vec::new();
    for fat in &map.fats {
        let (used, empty) = split(slot, fat)?;
        for piece in used {
            cut(slot, piece, false, &mut chunks)?;
        }
        zeros.extend(empty.into_iter().map(|run| ZeroRun { offset: run.start, length: run.end - run.start }));
    }
    for piece in map.content {
        cut(slot, piece, false, &mut chunks)?;
    }
    for piece in map.late {
        cut(slot, piece, true, &mut chunks)?;
    }
    chunks.sort_by_key(|chunk| (chunk.late, chunk.offset));
    Ok((chunks, zeros, map.len))
}

/// The chunks of a slot's files and folders: what another version may have in common with it.
pub(crate) fn chunks_of(slot: &mut dyn Disk) -> Result<Vec<Chunk>, FatError> {
    let mut volume = Volume::open(&mut *slot)?;
    let map = Map::of(&mut volume)?;
    let mut chunks = Vec::new();
    for piece in map.content {
        cut(slot, piece, false, &mut chunks)?;
    }
    Ok(chunks)
}

fn cut(slot: &mut dyn Disk, piece: Range<u64>, late: bool, chunks: &mut Vec<Chunk>) -> Result<(), FatError> {
    let mut buffer = vec![0; (piece.end - piece.start).min(CHUNK.into()) as usize];
    let mut offset = piece.start;
    while offset < piece.end {
        let length = (piece.end - offset).min(CHUNK.into());
        let bytes = &mut buffer[..length as usize];
        slot.read_at(offset, bytes)?;
        chunks.push(Chunk { offset, length: length as u32, sha256: Digest::of(bytes), late });
        offset += length;
    }
    Ok(())
}

/// What of a FAT is used, and which long stretches of it are zero. Some programs mark what lies behind its last cluster, so that its
/// end may be used too.
fn split(slot: &mut dyn Disk, fat: &Range<u64>) -> Result<(Ranges, Ranges), FatError> {
    let (mut used, mut empty): (Ranges, Ranges) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; STRETCH as usize];
    let mut at = fat.start;
    while at < fat.end {
        let end = (at + STRETCH).min(fat.end);
        let bytes = &mut buffer[..(end - at) as usize];
        slot.read_at(at, bytes)?;
        let kind = if bytes.iter().all(|&byte| byte == 0) { &mut empty } else { &mut used };
        match kind.last_mut() {
            Some(last) if last.end == at => last.end = end,
            _ => kind.push(at..end),
        }
        at = end;
    }
    Ok((used, empty))
}
