//! Backups are streams of records, not copies of the file: they move between machines, page sizes and releases.
//!
//! `magic, header frame, record frames, end`: a frame is its length (u32, little-endian), postcard bytes, and their CRC-32;
//! the end is a length of 0, the number of records (u64), and the SHA-256 of everything before it.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::meta;
use crate::ledger::Ledger;
use crate::record::Format;
use crate::staged::Staging;
use crate::store::{Batch, Filler, StoreError, everything};
use crate::{LedgerError, value};

const MAGIC: &[u8; 16] = b"WarpPool ledger\n";
/// The layout of the stream; the records have schemas of their own.
const VERSION: u16 = 1;
/// Longest frame; no record comes near it.
const MAX_FRAME: usize = 64 << 20;
/// LMDB's longest key.
const MAX_KEY: usize = 511;

/// What was written or read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub records: u64,
    /// Length of the stream so far.
    pub bytes: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    #[error("the backup cannot be written: {0}")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a backup was not restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    #[error("the backup cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("this is no backup of a WarpPool ledger")]
    Foreign,
    #[error("the backup was made by a later release ({0}): update the pool first")]
    Later(String),
    #[error("the backup is damaged ({0}): take another one")]
    Damaged(String),
    #[error("the restored ledger cannot be written to {dir}: {why}")]
    Write { dir: String, why: String },
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u16,
    made_at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl Ledger {
    /// Commits, then writes everything there is as one consistent stream. Blocks: call it from a thread that may, never from
    /// async code. `progress` is told what has been written so far.
    pub fn backup(&self, out: impl Write, mut progress: impl FnMut(Summary)) -> Result<Summary, BackupError> {
        self.flush_blocking()?;
        let mut sink = Sink { out, hash: Sha256::new(), summary: Summary::default() };
        sink.write(MAGIC)?;
        sink.frame(&Header { version: VERSION, made_at_ms: self.shared().options.clock.now_ms() })?;
        let mut written = Ok(());
        self.shared().with_store(|store| {
            store.read(&mut |reader| {
                reader.scan(everything(), false, &mut |key, value| {
                    written = sink.frame(&Record { key, value });
                    sink.summary.records += 1;
                    progress(sink.summary);
                    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })
            })
        })?;
        written?;
        sink.finish().map_err(BackupError::from)
    }
}

struct Sink<W> {
    out: W,
    hash: Sha256,
    summary: Summary,
}

impl<W: Write> Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.summary.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn frame<T: Serialize>(&mut self, content: &T) -> io::Result<()> {
        let content = postcard::to_stdvec(content).map_err(io::Error::other)?;
        self.write(&(content.len() as u32).to_le_bytes())?;
        self.write(&content)?;
        self.write(&crc32fast::hash(&content).to_le_bytes())
    }

    fn finish(mut self) -> io::Result<Summary> {
        self.write(&0_u32.to_le_bytes())?;
        self.write(&self.summary.records.to_le_bytes())?;
        let hash = std::mem::take(&mut self.hash).finalize();
        self.write(hash.as_slice())?;
        self.out.flush()?;
        Ok(self.summary)
    }
}

/// Validates a backup to its last byte and puts it beside the ledger in `dir`, which may be in use: the pool takes it in the
/// ledger's place at its next start. An error, or a power cut, changes nothing.
pub fn restore(input: impl Read, dir: &Path, progress: impl FnMut(Summary)) -> Result<Summary, RestoreError> {
    let mut staging = Staging::new(dir, MAP_SIZE);
    let source = Source { input, hash: Sha256::new(), read: 0 };
    let summary = read_all(source, dir, progress, |batch| staging.commit(batch))?;
    staging.complete().map_err(|error| unwritten(dir, &error))?;
    Ok(summary)
}

/// Address space while restoring.
const MAP_SIZE: u64 = if cfg!(target_pointer_width = "64") { 16 << 30 } else { 512 << 20 };

fn unwritten(dir: &Path, error: &dyn std::fmt::Display) -> RestoreError {
    RestoreError::Write { dir: dir.display().to_string(), why: error.to_string() }
}

fn read_all<R: Read>(
    mut source: Source<R>,
    dir: &Path,
    mut progress: impl FnMut(Summary),
    commit: impl FnMut(&Batch) -> Result<(), StoreError>,
) -> Result<Summary, RestoreError> {
    let damaged = |what: &str| RestoreError::Damaged(what.to_owned());
    let unwritten = |error: StoreError| unwritten(dir, &error);
    let mut magic = [0; MAGIC.len()];
    source.exact(&mut magic).map_err(|_| RestoreError::Foreign)?;
    if magic != *MAGIC {
        return Err(RestoreError::Foreign);
    }
    let header = source.frame()?.ok_or_else(|| damaged("it has no header"))?;
    let header: Header = postcard::from_bytes(&header).map_err(|_| damaged("its header is malformed"))?;
    if header.version != VERSION {
        return Err(RestoreError::Later(format!("stream version {}", header.version)));
    }
    let mut filler = Filler::new(commit);
    let (mut records, mut last, mut format) = (0_u64, Vec::new(), None);
    while let Some(frame) = source.frame()? {
        let Record { key, value } = postcard::from_bytes(&frame).map_err(|_| damaged("a record is malformed"))?;
        if key.len() > MAX_KEY || key <= last.as_slice() {
            return Err(damaged("its records are out of order"));
        }
        if !value::is_whole(key, value) {
            return Err(damaged("a record's checksum does not fit"));
        }
        if key == meta::FORMAT {
            format = Some(value::decode::<Format>(key, value));
        }
        last = key.to_vec();
        filler.put(key.to_vec(), value.to_vec()).map_err(unwritten)?;
        records += 1;
        progress(Summary { records, bytes: source.read });
    }
    source.check_end(records)?;
    match format {
        Some(Ok(format)) if format.is_usable() => {}
        Some(Ok(format)) => return Err(RestoreError::Later(format!("format {}", format.written_as))),
        Some(Err(undecodable)) => return Err(RestoreError::Later(undecodable.to_string())),
        None => return Err(damaged("it does not say what format it has")),
    }
    filler.finish().map_err(unwritten)?;
    Ok(Summary { records, bytes: source.read })
}

struct Source<R> {
    input: R,
    hash: Sha256,
    read: u64,
}

impl<R: Read> Source<R> {
    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), RestoreError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => RestoreError::Damaged("it is cut short".into()),
            _ => RestoreError::Read(error),
        })?;
        self.hash.update(&*bytes);
        self.read += bytes.len() as u64;
        Ok(())
    }

    /// The content of the next frame; `None` at the end mark.
    fn frame(&mut self) -> Result<Option<Vec<u8>>, RestoreError> {
        let mut length = [0; 4];
        self.exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return Ok(None);
        }
        if length > MAX_FRAME {
            return Err(RestoreError::Damaged("a record is longer than any can be".into()));
        }
        // Grows with what is really there: a length alone costs nothing.
        let mut content = Vec::new();
        let read = (&mut self.input).take(length as u64).read_to_end(&mut content)?;
        if read < length {
            return Err(RestoreError::Damaged("it is cut short".into()));
        }
        self.hash.update(&content);
        self.read += length as u64;
        let mut sum = [0; 4];
        self.exact(&mut sum)?;
        if u32::from_le_bytes(sum) != crc32fast::hash(&content) {
            return Err(RestoreError::Damaged(format!("a checksum before byte {} does not fit", self.read)));
        }
        Ok(Some(content))
    }

    fn check_end(&mut self, records: u64) -> Result<(), RestoreError> {
        let damaged = |what: &str| Err(RestoreError::Damaged(what.to_owned()));
        let mut count = [0; 8];
        self.exact(&mut count)?;
        if u64::from_le_bytes(count) != records {
            return damaged("records are missing");
        }
        let expected = self.hash.clone().finalize();
        let mut hash = [0; 32];
        self.exact(&mut hash)?;
        if hash != expected.as_slice() {
            return damaged("its hash does not fit");
        }
        if self.input.read(&mut [0])? != 0 {
            return damaged("something follows its end");
        }
        Ok(())
    }
}
