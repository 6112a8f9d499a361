//! A disk of which the file system code may read and write only so much: a loop in hostile structures ends in an error.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::Disk;

/// More requests than reading and writing our few small files can need, on the largest file system we accept.
const MAX_REQUESTS: u32 = 2_000_000;
/// Bytes read and written, likewise.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

pub(super) struct Guarded<'a, D> {
    disk: &'a mut D,
    /// The file system's end; nothing behind it is touched.
    end: u64,
    at: u64,
    writable: bool,
    requests: u32,
    bytes: u64,
}

impl<'a, D: Disk> Guarded<'a, D> {
    pub fn new(disk: &'a mut D, end: u64, writable: bool) -> io::Result<Self> {
        disk.seek(SeekFrom::Start(0))?;
        Ok(Self { disk, end, at: 0, writable, requests: 0, bytes: 0 })
    }

    /// Counts a request for `wanted` bytes; how many of them lie before the end.
    fn admit(&mut self, wanted: usize) -> io::Result<usize> {
        let inside = (self.end.saturating_sub(self.at)).min(wanted as u64);
        self.requests += 1;
        self.bytes += inside;
        if self.requests > MAX_REQUESTS || self.bytes > MAX_BYTES {
            return Err(io::Error::other("the file system leads in circles"));
        }
        Ok(inside as usize)
    }
}

impl<D: Disk> Read for Guarded<'_, D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let inside = self.admit(into.len())?;
        let count = self.disk.read(&mut into[..inside])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<D: Disk> Write for Guarded<'_, D> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let inside = self.admit(from.len())?;
        let count = self.disk.write(&from[..inside])?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl<D: Disk> Seek for Guarded<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // The end is the file system's, not the disk's.
        let to = match to {
            SeekFrom::End(by) => self.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::Start(at) => Some(at),
        };
        let to = to.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        if to != self.at {
            self.disk.seek(SeekFrom::Start(to))?;
            self.at = to;
        }
        Ok(to)
    }
}
