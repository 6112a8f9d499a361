//! Update bundles: a signed header, then the chunks of a slot, one after the other.
//!
//! Chunks begin where files begin, so that an unchanged file gives unchanged chunks wherever it lies. Those without which nothing
//! boots are `late`: they are written when everything else has been read back.

mod header;
mod map;
mod writer;

use crate::envelope::{EnvelopeError, HEAD, Head, Kind, decode};
use crate::source::{Source, SourceError};
use crate::trust::Trust;

pub use header::{BadHeader, BundleHeader, CHUNK, Chunk, ZeroRun};
pub(crate) use map::{chunks_of, describe};
pub use writer::{BundleError, write};

/// A bundle whose header has been found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    pub header: BundleHeader,
    /// Where in the bundle the first chunk's bytes begin.
    pub chunks_at: u64,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("the bundle's header is signed but makes no sense: {0}; get another release")]
    Header(#[from] BadHeader),
    #[error("the bundle has {is} bytes instead of {should}: it was cut on its way; get it again")]
    Length { is: u64, should: u64 },
}

impl Bundle {
    /// Reads the header of a bundle once its signature has been found good; what follows it is not read.
    pub fn open(source: &mut dyn Source, trust: &Trust) -> Result<Self, OpenError> {
        let head = Head::parse(Kind::Bundle, &source.read(0..HEAD as u64)?)?;
        let chunks_at = HEAD as u64 + head.payload_len();
        let payload = source.read(HEAD as u64..chunks_at)?;
        head.verify(&payload, trust)?;
        let header: BundleHeader = decode(Kind::Bundle, &payload)?;
        header.check()?;
        let bundle = Self { header, chunks_at };
        match source.size() {
            Some(is) if is != bundle.size() => Err(OpenError::Length { is, should: bundle.size() }),
            _ => Ok(bundle),
        }
    }

    /// Bytes of the whole bundle.
    pub fn size(&self) -> u64 {
        self.chunks_at + self.header.bytes()
    }
}
