//! A part of a disk that is a disk itself: a partition.

use std::io;
use std::ops::Range;

use super::{Disk, within};

/// The bytes `range` of a disk, counted from 0. It cannot reach beyond them.
#[derive(Debug)]
pub struct Window<D> {
    disk: D,
    range: Range<u64>,
}

impl<D: Disk> Window<D> {
    /// Refuses a range that does not lie within the disk.
    pub fn new(disk: D, range: Range<u64>) -> io::Result<Self> {
        if range.start > range.end || range.end > disk.len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("bytes {} to {} do not lie within the disk's {} bytes", range.start, range.end, disk.len()),
            ));
        }
        Ok(Self { disk, range })
    }

    pub fn into_inner(self) -> D {
        self.disk
    }
}

impl<D: Disk> Disk for Window<D> {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        within(self.len(), offset, buf.len())?;
        self.disk.read_at(self.range.start + offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        within(self.len(), offset, data.len())?;
        self.disk.write_at(self.range.start + offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}
