//! The durable store: one LMDB environment with its one unnamed database.
//!
//! Pages are 4 KiB on every machine, also where the kernel's are 16 KiB (a Raspberry Pi 5): LMDB writes whole pages, and a
//! memory card pays for each. The file moves between such machines.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, RoTxn, WithoutTls};

use super::{Batch, Reader, Store, StoreError, Visit};
use crate::pages;

/// The name LMDB gives its file within an environment's directory.
pub(crate) const DATA: &str = "data.mdb";

/// Least address space that is worth a ledger on disk.
const LEAST_MAP: usize = 64 << 20;

/// Readers at one time; one slot takes 64 bytes of the lock file.
const MAX_READERS: u32 = 1024;

pub(crate) struct LmdbStore {
    env: Env<WithoutTls>,
    db: Database<'static, Bytes, Bytes>,
    path: PathBuf,
    /// The open file, for looking at its size and place.
    file: File,
    /// The file's greatest length yet: LMDB never shortens it.
    longest: AtomicU64,
}

impl LmdbStore {
    /// Opens the environment in a directory, making an empty one where there is none.
    pub(crate) fn open(dir: &Path, map_size: u64) -> Result<Self, StoreError> {
        let path = dir.join(DATA);
        if !path.exists() {
            pages::write_empty(&path, map_size).map_err(|error| from_io(&error))?;
        }
        Self::open_as_found(dir, map_size)
    }

    /// Opens what is there; where nothing is, LMDB makes a file with the machine's own page size. Where so much address space
    /// is not to be had (a process limit), a smaller part is reserved.
    pub(crate) fn open_as_found(dir: &Path, map_size: u64) -> Result<Self, StoreError> {
        let path = dir.join(DATA);
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.max_readers(MAX_READERS);
        let mut reserved = usize::try_from(map_size).unwrap_or(1 << 30);
        let env = loop {
            options.map_size(reserved);
            // SAFETY: the file is mapped. It changes only through LMDB: the directory is the pool's own (0700) and locked
            // against a second process by the caller, and no flag that weakens LMDB's own locking is set.
            #[allow(unsafe_code)]
            match unsafe { options.open(dir) } {
                Err(heed::Error::Io(error)) if error.kind() == ErrorKind::OutOfMemory && reserved > LEAST_MAP => {
                    reserved = (reserved / 4).max(LEAST_MAP);
                }
                opened => break opened.map_err(from_heed)?,
            }
        };
        let reader = env.read_txn().map_err(from_heed)?;
        let db = env
            .open_databases_and_commit(reader, |opener, reader| {
                opener.open_database::<Bytes, Bytes>(reader, None).map(CommitOrAbort::<_, ()>::Commit)
            })
            .map_err(from_heed)?
            .commit()
            .flatten()
            .ok_or_else(|| StoreError::Damaged("it has no database".into()))?;
        let file = env.try_clone_inner_file().map_err(from_heed)?;
        let longest = AtomicU64::new(file.metadata().map_err(|error| from_io(&error))?.len());
        Ok(Self { env, db, path, file, longest })
    }
}

struct View<'a> {
    txn: RoTxn<'a, WithoutTls>,
    db: Database<'static, Bytes, Bytes>,
}

impl Reader for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get(&self.txn, key).map_err(from_heed)?.map(<[u8]>::to_vec))
    }

    fn scan(&self, range: Range<Vec<u8>>, backwards: bool, visit: Visit<'_>) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let bounds = (Bound::Included(range.start.as_slice()), Bound::Excluded(range.end.as_slice()));
        let mut visit = |item: heed::Result<(&[u8], &[u8])>| {
            let (key, value) = item.map_err(from_heed)?;
            Ok::<_, StoreError>(visit(key, value).is_continue())
        };
        if backwards {
            for item in self.db.rev_range(&self.txn, &bounds).map_err(from_heed)? {
                if !visit(item)? {
                    break;
                }
            }
        } else {
            for item in self.db.range(&self.txn, &bounds).map_err(from_heed)? {
                if !visit(item)? {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Store for LmdbStore {
    fn read(&self, look: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let txn = self.env.read_txn().map_err(from_heed)?;
        look(&View { txn, db: self.db })
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut txn = self.env.write_txn().map_err(from_heed)?;
        for (key, value) in batch {
            match value {
                Some(value) => self.db.put(&mut txn, key, value).map_err(from_heed)?,
                None => drop(self.db.delete(&mut txn, key).map_err(from_heed)?),
            }
        }
        txn.commit().map_err(from_heed)
    }

    fn inspect(&self) -> Result<(), StoreError> {
        let length = self.bytes();
        let longest = self.longest.fetch_max(length, Ordering::Relaxed);
        if length < longest {
            // The mapping must not be touched any more: a read beyond the file's end is a SIGBUS.
            return Err(StoreError::Damaged(format!("{} was cut to {length} of {longest} bytes", self.path.display())));
        }
        if is_same_file(&self.file, &self.path) {
            return Ok(());
        }
        Err(StoreError::Unlinked(format!(
            "{} was deleted or replaced while the pool was using it",
            self.path.display()
        )))
    }

    fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn close(self: Box<Self>) {
        let Self { env, path, file, .. } = *self;
        drop(file);
        if !env.prepare_for_closing().wait_timeout(Duration::from_secs(10)) {
            tracing::warn!(path = %path.display(), "a reader still holds the ledger file open");
        }
    }
}

#[cfg(unix)]
fn is_same_file(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() == named.dev() && open.ino() == named.ino(),
        _ => false,
    }
}

/// Elsewhere a mapped file cannot be deleted or replaced.
#[cfg(not(unix))]
fn is_same_file(_open: &File, path: &Path) -> bool {
    path.exists()
}

fn from_heed(error: heed::Error) -> StoreError {
    let message = error.to_string();
    match error {
        heed::Error::Io(error) => from_io(&error),
        heed::Error::Mdb(MdbError::MapFull) => {
            StoreError::Full("the space reserved for the ledger is used up; raise its map size".into())
        }
        // Many readers or a batch too large for one transaction pass; everything else is about the file.
        heed::Error::Mdb(MdbError::ReadersFull | MdbError::TxnFull) | heed::Error::EnvAlreadyOpened => {
            StoreError::Io(message)
        }
        heed::Error::Mdb(_) | heed::Error::Encoding(_) | heed::Error::Decoding(_) => StoreError::Damaged(message),
    }
}

pub(crate) fn from_io(error: &std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Full(error.to_string())
        }
        _ => StoreError::Io(error.to_string()),
    }
}
