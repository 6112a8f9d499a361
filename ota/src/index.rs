//! Which chunks are on the device already: in the running slot's files, and in what the target slot held before.

use std::collections::HashMap;
use std::ops::Range;

use crate::bundle::{Chunk, chunks_of};
use crate::digest::Digest;
use crate::disk::Disk;

/// Where bytes lie that need not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub origin: Origin,
    pub offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Running,
    Target,
}

/// Chunks by their hash. What it says is where to look: bytes are hashed again when they are taken from there.
#[derive(Clone, Debug, Default)]
pub struct Index {
    places: HashMap<(Digest, u32), Place>,
}

impl Index {
    /// Adds a slot's files. A slot that cannot be read has nothing to give, which is no error.
    pub fn add(&mut self, origin: Origin, slot: &mut dyn Disk) {
        self.add_chunks(origin, &chunks_of(slot).unwrap_or_default());
    }

    pub(crate) fn add_chunks(&mut self, origin: Origin, chunks: &[Chunk]) {
        for chunk in chunks {
            let place = Place { origin, offset: chunk.offset };
            self.places.entry((chunk.sha256, chunk.length)).or_insert(place);
        }
    }

    pub fn find(&self, chunk: &Chunk) -> Option<Place> {
        self.places.get(&(chunk.sha256, chunk.length)).copied()
    }
}

/// How the chunks of a bundle come into the target slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Chunks, by number, that are right where they are: also how an interrupted download goes on.
    pub in_place: Vec<usize>,
    /// Chunks that are copied from elsewhere on the device.
    pub copy: Vec<(usize, Place)>,
    /// Chunks that are fetched.
    pub fetch: Vec<usize>,
}

impl Plan {
    /// Looks at the target and the index for every chunk. Late chunks are never in place: they are written anew at the end.
    pub fn make(chunks: &[Chunk], target: &mut dyn Disk, index: &Index) -> Self {
        let mut plan = Self::default();
        let mut buffer = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            if !chunk.late && read_right(target, chunk.offset, chunk, &mut buffer) {
                plan.in_place.push(number);
            } else if let Some(place) = index.find(chunk) {
                plan.copy.push((number, place));
            } else {
                plan.fetch.push(number);
            }
        }
        plan
    }
}

/// Reads a chunk from a place; true when it is the chunk.
pub(crate) fn read_right(disk: &mut dyn Disk, offset: u64, chunk: &Chunk, buffer: &mut Vec<u8>) -> bool {
    buffer.resize(chunk.length as usize, 0);
    disk.read_at(offset, buffer).is_ok() && Digest::of(buffer) == chunk.sha256
}

/// Where the bytes of each chunk lie in a bundle whose chunks begin at `at`.
pub(crate) fn ranges(chunks: &[Chunk], at: u64) -> Vec<Range<u64>> {
    let mut start = at;
    let mut ranges = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let end = start + u64::from(chunk.length);
        ranges.push(start..end);
        start = end;
    }
    ranges
}
