//! What a bundle says of itself, under its signature.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::SECTOR;
use crate::version::Version;

/// The longest chunk, bytes.
pub const CHUNK: u32 = 256 * 1024;
/// Late chunks are kept in memory until everything else is right; together they have at most this many bytes.
const MOST_LATE: u64 = 8 << 20;

/// Fields are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleHeader {
    pub product: String,
    pub hardware: String,
    pub version: Version,
    /// Unix seconds.
    pub built: u64,
    /// The oldest boot loader that can start it: its build time in Unix seconds; 0 is any.
    pub minimum_eeprom: u64,
    /// Bytes of the slot's file system.
    pub slot_size: u64,
    /// In the order in which their bytes follow; late ones last.
    pub chunks: Vec<Chunk>,
    /// What must be zero. Parts of a slot that neither a chunk nor a run covers do not matter.
    pub zeros: Vec<ZeroRun>,
}

/// A part of the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Bytes from the start of the slot; a multiple of 512, as is the length.
    pub offset: u64,
    /// At most [`CHUNK`].
    pub length: u32,
    pub sha256: Digest,
    /// Without it the slot cannot be booted: a boot sector or the root directory.
    pub late: bool,
}

impl Chunk {
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZeroRun {
    pub offset: u64,
    pub length: u64,
}

impl ZeroRun {
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Why a header cannot be used although it is signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHeader {
    #[error("the chunk at {0} has an impossible length or place")]
    Chunk(u64),
    #[error("two parts of the slot overlap at {0}")]
    Overlap(u64),
    #[error("the late chunks do not stand last")]
    LateOrder,
    #[error("the boot sector is not among the late chunks")]
    BootSectorEarly,
    #[error("its late chunks are larger than 8 MiB")]
    TooMuchLate,
}

impl BundleHeader {
    /// Bytes of all chunks.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// Everything that writing by it relies on.
    pub fn check(&self) -> Result<(), BadHeader> {
        let sector = SECTOR as u64;
        let mut parts: Vec<(u64, u64)> = Vec::with_capacity(self.chunks.len() + self.zeros.len());
        for chunk in &self.chunks {
            let fits = (1..=CHUNK).contains(&chunk.length) && chunk.end() <= self.slot_size;
            if !fits || chunk.offset % sector != 0 || u64::from(chunk.length) % sector != 0 {
                return Err(BadHeader::Chunk(chunk.offset));
            }
            parts.push((chunk.offset, chunk.end()));
        }
        for run in &self.zeros {
            if run.offset % sector != 0 || run.length % sector != 0 || run.length == 0 || run.end() > self.slot_size {
                return Err(BadHeader::Chunk(run.offset));
            }
            parts.push((run.offset, run.end()));
        }
        parts.sort_unstable();
        if let Some(pair) = parts.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            return Err(BadHeader::Overlap(pair[1].0));
        }
        let first_late = self.chunks.iter().position(|chunk| chunk.late).unwrap_or(self.chunks.len());
        let (early, late) = self.chunks.split_at(first_late);
        if late.iter().any(|chunk| !chunk.late) {
            return Err(BadHeader::LateOrder);
        }
        if early.iter().any(|chunk| chunk.offset == 0) || !late.iter().any(|chunk| chunk.offset == 0) {
            return Err(BadHeader::BootSectorEarly);
        }
        if late.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>() > MOST_LATE {
            return Err(BadHeader::TooMuchLate);
        }
        Ok(())
    }
}
