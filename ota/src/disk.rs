//! Bytes that outlive a power cut: the one door through which everything here reads and writes devices.
//!
//! Behind it stands a block device, an image file, memory, or a recorder of every write and flush.

mod file;
mod memory;
mod shared;
mod window;

use std::io;

pub use file::FileDisk;
#[cfg(unix)]
pub use file::inherited;
pub use memory::MemDisk;
pub use shared::Shared;
pub use window::Window;

/// Bytes of a sector: the unit that a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// A disk, or a part of one. Offsets are in bytes; a range beyond [`Disk::len`] is an error and nothing of it is done.
#[allow(clippy::len_without_is_empty)]
pub trait Disk: Send {
    /// Bytes.
    fn len(&self) -> u64;
    /// Reads what the disk holds, past any cache of the system where it can be passed.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes; what is written may reach the disk in any order until [`Disk::flush`] returns.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Returns when everything written before is durable.
    fn flush(&mut self) -> io::Result<()>;
}

impl<D: Disk + ?Sized> Disk for &mut D {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

/// Refuses a range that does not lie within `len` bytes.
pub(crate) fn within(len: u64, offset: u64, count: usize) -> io::Result<()> {
    match offset.checked_add(count as u64) {
        Some(end) if end <= len => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{count} bytes at {offset} do not lie within the disk's {len} bytes"),
        )),
    }
}

/// Writes zeros over a range, in pieces.
pub(crate) fn zero(disk: &mut dyn Disk, offset: u64, len: u64) -> io::Result<()> {
    let zeros = vec![0; len.min(64 * 1024) as usize];
    let mut done = 0;
    while done < len {
        let count = (len - done).min(zeros.len() as u64);
        disk.write_at(offset + done, &zeros[..count as usize])?;
        done += count;
    }
    Ok(())
}
