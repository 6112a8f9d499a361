//! A file of a volume as a reader that can seek, as a bundle on a USB stick is read.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::disk::Disk;

/// An open file.
pub struct FatFile<'a, D> {
    disk: &'a mut D,
    pieces: Vec<Range<u64>>,
    size: u64,
    at: u64,
}

impl<D> std::fmt::Debug for FatFile<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FatFile").field("size", &self.size).field("at", &self.at).finish_non_exhaustive()
    }
}

impl<'a, D: Disk> FatFile<'a, D> {
    pub(super) fn new(disk: &'a mut D, pieces: Vec<Range<u64>>, size: u64) -> Self {
        Self { disk, pieces, size, at: 0 }
    }

    pub fn size(&self) -> u64 {
        self.size
    }
}

impl<D: Disk> Read for FatFile<'_, D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut skip = self.at;
        for piece in &self.pieces {
            let len = piece.end - piece.start;
            if skip < len {
                let count = (len - skip).min(self.size.saturating_sub(self.at)).min(buf.len() as u64) as usize;
                self.disk.read_at(piece.start + skip, &mut buf[..count])?;
                self.at += count as u64;
                return Ok(count);
            }
            skip -= len;
        }
        Ok(0)
    }
}

impl<D: Disk> Seek for FatFile<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
