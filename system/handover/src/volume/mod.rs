//! The FAT file system of the partition. Its bytes are foreign: they are surveyed before the file system code sees
//! them, and that code may only read and write so much.

mod guarded;
mod open;
mod survey;
mod wipe;

use std::io::{self, Read, Seek, Write};

pub(crate) use open::{Found, Volume};

/// What a file system lies on: a partition, a file, or bytes in memory.
pub trait Disk: Read + Write + Seek {
    /// Returns when all that was written would outlive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for std::fs::File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Disk for io::Cursor<Vec<u8>> {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    #[error("the partition cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("the partition holds no FAT file system ({0}); format it as FAT32 or FAT with the name WARPPOOL")]
    NotFat(&'static str),
    #[error(
        "the file system is damaged ({0}); let your computer repair it, or format it as FAT with the name WARPPOOL"
    )]
    Damaged(&'static str),
    #[error("{name} has {size} bytes; at most {most} are read")]
    TooLarge { name: String, size: u64, most: usize },
    #[error("both {0} and {1} are there; delete the one that is not meant")]
    Twice(String, String),
}
