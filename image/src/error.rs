//! What can be wrong with what an image is made of: each message says what, where, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use warppool_ota::bundle::BundleError;
use warppool_ota::envelope::EnvelopeError;
use warppool_ota::keys::KeyError;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Config { path: PathBuf, error: String },
    #[error("the table of owners, line {line}: {text:?} is not `path type mode uid gid [major minor]`")]
    BadTable { line: u32, text: String },
    #[error(
        "the table of owners sets the mode of /{0}, which none of the roots has: add the root that has it, or drop the line"
    )]
    NothingToOwn(String),
    #[error(
        "{0} is neither a file, a folder nor a link: devices come by a table of owners, anything else cannot be in an image"
    )]
    Special(PathBuf),
    #[error("{0:?} is not a name for a file in the image: it must be UTF-8, without .. or empty parts")]
    BadName(PathBuf),
    #[error("/{0} is a folder in one root and a file or a link in another: an overlay can only replace like with like")]
    FolderAndFile(String),
    #[error(
        "{name} has {size} bytes: files of {limit} bytes and more do not load from NVMe on older Pi firmware; make it smaller"
    )]
    TooLarge { name: String, size: u64, limit: u64 },
    #[error("config.txt, line {line} has {length} characters: the firmware cuts lines after {limit}; split it")]
    LongLine { line: usize, length: usize, limit: usize },
    #[error("config.txt names {0}, which is not in the slot: add the file, or drop the line")]
    Missing(String),
    #[error("the slot has no {0}: a slot without it would not boot")]
    Needed(&'static str),
    #[error(
        "the slot would have {clusters} clusters, and with fewer than {least} the firmware takes FAT32 for FAT16: use smaller clusters or a larger slot"
    )]
    FewClusters { clusters: u32, least: u32 },
    #[error("{what} needs {needed} bytes and the {size} of its partition do not hold them")]
    Full { what: &'static str, needed: u64, size: u64 },
    #[error("{0} is no kernel for 64-bit ARM: give the file arch/arm64/boot/Image or Image.gz")]
    NotAKernel(PathBuf),
    #[error("kernel arguments are separated by single spaces and are plain ASCII: {0:?} cannot be one")]
    BadArgument(String),
    #[error("the recipe does not say {0}: give it in image.toml or as a flag")]
    NotSaid(&'static str),
    #[error("the recipe's version: {0}")]
    Version(String),
    #[error("{program} failed: {reason}")]
    Tool { program: &'static str, reason: String },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl ImageError {
    /// For `map_err`: says which file an error is about.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |error| Self::Io { path, error }
    }
}
