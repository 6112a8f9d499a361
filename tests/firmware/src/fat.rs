//! Files of a FAT partition, read-only.
//!
//! The type of a FAT is what its number of clusters says, whatever the partition table or the boot sector's label claim: a
//! "FAT32" of fewer than 65,525 clusters holds nothing for the loader (rpi-eeprom issue 818). The library is as strict.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{FileSystem, FsOptions};

use crate::disk::{Disk, SECTOR};
use crate::mbr::Partition;

/// Bytes read at once.
const BLOCK: usize = 4096;

/// Blocks kept.
const BLOCKS: usize = 4;

/// A volume gives up when this many times its size was read: its chain of clusters runs in a circle.
const PATIENCE: u64 = 4;

/// Why a partition or a file of it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    #[error("partition {number} is no FAT file system: {why}")]
    NoFat { number: u32, why: String },
    #[error("{name} on partition {number} cannot be read: {why}")]
    Unreadable { name: String, number: u32, why: String },
}

/// A FAT file system as the loader reads it.
pub struct Volume<'a> {
    files: FileSystem<Window<'a>>,
    number: u32,
}

impl std::fmt::Debug for Volume<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Volume").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<'a> Volume<'a> {
    /// Opens the file system of `partition`.
    pub fn open(disk: &'a dyn Disk, partition: Partition) -> Result<Self, FatError> {
        let number = partition.number;
        let files = FileSystem::new(Window::new(disk, partition), FsOptions::new())
            .map_err(|why| FatError::NoFat { number, why: why.to_string() })?;
        Ok(Self { files, number })
    }

    /// Length of a file in bytes, or nothing when there is none of this name.
    pub fn size(&self, name: &str) -> Result<Option<u64>, FatError> {
        self.with(name, |entry| Ok(entry.len()))
    }

    /// The whole file, or nothing when there is none of this name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FatError> {
        self.with(name, |entry| {
            let mut bytes = Vec::new();
            entry.to_file().read_to_end(&mut bytes)?;
            // A chain of clusters that ends early gives a short file without an error.
            if bytes.len() as u64 == entry.len() { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }

    fn with<T>(&self, name: &str, use_it: impl FnOnce(&Entry<'_, 'a>) -> io::Result<T>) -> Result<Option<T>, FatError> {
        self.find(name).and_then(|entry| entry.as_ref().map(use_it).transpose()).map_err(|why| FatError::Unreadable {
            name: name.into(),
            number: self.number,
            why: why.to_string(),
        })
    }

    /// The directory entry of a file; the case of letters does not matter.
    fn find(&self, path: &str) -> io::Result<Option<Entry<'_, 'a>>> {
        let root = self.files.root_dir();
        let (folder, name) = match path.trim_start_matches('/').rsplit_once('/') {
            None => (root, path.trim_start_matches('/')),
            Some((folder, name)) => match root.open_dir(folder) {
                Ok(folder) => (folder, name),
                Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(why) => return Err(why),
            },
        };
        for entry in folder.iter() {
            let entry = entry?;
            if entry.is_file() && entry.file_name().eq_ignore_ascii_case(name) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

type Entry<'v, 'a> = fatfs::DirEntry<'v, Window<'a>>;

/// A partition as a read-only file with a few blocks in hand: a file's clusters and their chain are read in turn.
struct Window<'a> {
    disk: &'a dyn Disk,
    start: u64,
    length: u64,
    position: u64,
    /// Numbers and contents, the newest last.
    blocks: Vec<(u64, Box<[u8; BLOCK]>)>,
    budget: u64,
}

impl<'a> Window<'a> {
    fn new(disk: &'a dyn Disk, partition: Partition) -> Self {
        let length = partition.sectors * SECTOR;
        let budget = length.saturating_mul(PATIENCE);
        Self { disk, start: partition.start * SECTOR, length, position: 0, blocks: Vec::with_capacity(BLOCKS), budget }
    }

    fn block(&mut self, number: u64) -> io::Result<&[u8; BLOCK]> {
        let at = match self.blocks.iter().position(|(have, _)| *have == number) {
            Some(at) => at,
            None => self.load(number)?,
        };
        Ok(&self.blocks[at].1)
    }

    /// Reads a block in place of the oldest.
    fn load(&mut self, number: u64) -> io::Result<usize> {
        let offset = number * BLOCK as u64;
        let length = (self.length - offset).min(BLOCK as u64);
        self.budget = self
            .budget
            .checked_sub(length)
            .ok_or_else(|| io::Error::other("its chains of clusters run in a circle"))?;
        let mut bytes = if self.blocks.len() < BLOCKS { Box::new([0; BLOCK]) } else { self.blocks.remove(0).1 };
        self.disk.read(self.start + offset, &mut bytes[..length as usize])?;
        self.blocks.push((number, bytes));
        Ok(self.blocks.len() - 1)
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.length || buffer.is_empty() {
            return Ok(0);
        }
        let within = (self.position % BLOCK as u64) as usize;
        let length = buffer.len().min(BLOCK - within).min((self.length - self.position) as usize);
        let block = self.block(self.position / BLOCK as u64)?;
        buffer[..length].copy_from_slice(&block[within..within + length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("the loader writes nothing"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
