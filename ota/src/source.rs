//! Where a bundle's bytes come from: a file, or a web server that is asked only for the parts that are missing.

mod http;

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};

pub use http::{HttpOptions, HttpSource, get};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("{0} is not an https:// address; plain http must be allowed in so many words")]
    NotHttps(String),
    #[error("{url} cannot be reached: {error}; the network, or the address, is to be checked")]
    Unreachable { url: String, error: String },
    #[error("{url} answers {status}: the address is to be checked")]
    Refused { url: String, status: u16 },
    #[error("{url} sends something else than was asked for: {what}")]
    Nonsense { url: String, what: &'static str },
    #[error("it ends at byte {0}, before it should: it was cut on its way; get it again")]
    TooShort(u64),
    #[error("{url} sends more than the {limit} bytes that are read")]
    TooLong { url: String, limit: u64 },
    #[error("cancelled")]
    Cancelled,
}

/// Takes what a source delivers: the number of the range, and its bytes.
pub type Take<'a> = dyn FnMut(usize, &[u8]) -> ControlFlow<()> + 'a;

/// Bytes that can be read in ranges.
pub trait Source {
    /// Bytes in all, once that is known.
    fn size(&self) -> Option<u64>;

    /// Delivers ranges, each whole and once, in order. They must rise and not overlap. When `take` breaks off, it is
    /// [`SourceError::Cancelled`].
    fn fetch(&mut self, ranges: &[Range<u64>], take: &mut Take<'_>) -> Result<(), SourceError>;

    /// Reads one range.
    fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        self.fetch(&[range], &mut |_, piece| {
            bytes = piece.to_vec();
            ControlFlow::Continue(())
        })?;
        Ok(bytes)
    }
}

/// A file, or anything that reads and seeks.
#[derive(Debug)]
pub struct FileSource<R> {
    reader: R,
    len: u64,
}

impl<R: Read + Seek> FileSource<R> {
    pub fn new(mut reader: R) -> io::Result<Self> {
        let len = reader.seek(SeekFrom::End(0))?;
        Ok(Self { reader, len })
    }
}

impl<R: Read + Seek> Source for FileSource<R> {
    fn size(&self) -> Option<u64> {
        Some(self.len)
    }

    fn fetch(&mut self, ranges: &[Range<u64>], take: &mut Take<'_>) -> Result<(), SourceError> {
        let mut buffer = Vec::new();
        for (number, range) in ranges.iter().enumerate() {
            if range.end > self.len {
                return Err(SourceError::TooShort(self.len));
            }
            buffer.resize((range.end - range.start) as usize, 0);
            self.reader.seek(SeekFrom::Start(range.start))?;
            self.reader.read_exact(&mut buffer)?;
            if take(number, &buffer).is_break() {
                return Err(SourceError::Cancelled);
            }
        }
        Ok(())
    }
}
