//! What the loader reads from: sectors of 512 bytes, some of which may be unreadable.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

/// Bytes of a sector, the only size the loader boots from everywhere.
pub const SECTOR: u64 = 512;

/// A disk as the loader sees it.
pub trait Disk {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// Fills `buffer` from byte `offset`; both are multiples of 512. Fails as a whole when one sector of it cannot be read.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Disk for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Disk for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read(offset, buffer)
    }
}

#[cfg(unix)]
impl Disk for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
}

/// A disk some of whose sectors answer with an error, as worn or torn ones do.
#[derive(Clone, Debug)]
pub struct Unreadable<D> {
    pub disk: D,
    /// Numbers of the sectors that cannot be read.
    pub sectors: BTreeSet<u64>,
}

impl<D: Disk> Disk for Unreadable<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let wanted = offset / SECTOR..(offset + buffer.len() as u64).div_ceil(SECTOR);
        match self.sectors.range(wanted).next() {
            Some(sector) => Err(io::Error::other(format!("sector {sector} cannot be read"))),
            None => self.disk.read(offset, buffer),
        }
    }
}

impl<D: Disk + ?Sized> Disk for &D {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read(offset, buffer)
    }
}
