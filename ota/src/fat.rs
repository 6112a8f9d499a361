//! A read-only FAT12, FAT16 and FAT32 reader, so that no kernel driver has to be trusted with foreign bytes.
//!
//! It reads slots, partition 1 and USB sticks. Whatever the bytes are, it ends, and with an error rather than a guess.

mod directory;
mod file;
mod geometry;
mod volume;

use std::io;

pub use directory::{Directory, Entry};
pub use file::FatFile;
pub use geometry::{Geometry, Kind, Root};
pub use volume::Volume;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FatError {
    #[error("the file system cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("there is no FAT file system: {0}")]
    NotFat(&'static str),
    #[error("{path:?} is not there")]
    Missing { path: String },
    #[error("{name:?} is damaged: {what}")]
    Damaged { name: String, what: &'static str },
    #[error("{name:?} has {size} bytes, and at most {limit} are read")]
    TooLarge { name: String, size: u64, limit: u64 },
    #[error("{path:?} is a {is}, not a {wanted}")]
    WrongType { path: String, is: &'static str, wanted: &'static str },
    #[error("there are more files or folders than are read: {0}")]
    TooMany(&'static str),
}
