//! An ordered map of bytes that outlives the process, or does not: LMDB, or memory when there is no usable file.

pub(crate) mod lmdb;
pub(crate) mod memory;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

/// What one commit changes: a value to put, or `None` to delete the key.
pub(crate) type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Disk, quota or map are full; it may pass.
    #[error("{0}")]
    Full(String),
    /// The file is not what it should be: it must be closed, looked at, and perhaps replaced.
    #[error("{0}")]
    Damaged(String),
    /// The file's name is gone or names another file; what is open still works.
    #[error("{0}")]
    Unlinked(String),
    /// Anything else the system answered; it may pass.
    #[error("{0}")]
    Io(String),
}

/// A consistent view of the store.
pub(crate) trait Reader {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the keys of a range in order, or backwards, until the visitor breaks off.
    fn scan(&self, range: Range<Vec<u8>>, backwards: bool, visit: Visit<'_>) -> Result<(), StoreError>;
}

/// Reads see the last commit; one thread commits.
pub(crate) trait Store: Send + Sync {
    /// Runs a closure on a view that no commit changes meanwhile.
    fn read(&self, look: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>) -> Result<(), StoreError>;

    /// All or nothing, and durable when it returns, if the store is durable at all.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Whether the file is still there and whole, as far as can be told without touching its mapping.
    fn inspect(&self) -> Result<(), StoreError>;

    /// Bytes on disk, or in memory.
    fn bytes(&self) -> u64;

    fn is_durable(&self) -> bool;

    /// Lets go of the file, waiting a little for readers that are still at it.
    fn close(self: Box<Self>) {}
}

/// The range of every key there can be.
pub(crate) fn everything() -> Range<Vec<u8>> {
    vec![0]..vec![0xff; 8]
}

/// Gathers many records into commits of bounded size.
pub(crate) struct Filler<C> {
    commit: C,
    batch: Batch,
    bytes: usize,
}

impl<C: FnMut(&Batch) -> Result<(), StoreError>> Filler<C> {
    /// A commit's worth; large enough that commits do not count, small enough for a small machine.
    const COMMIT: usize = 4 << 20;

    pub(crate) fn new(commit: C) -> Self {
        Self { commit, batch: Batch::new(), bytes: 0 }
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.bytes += key.len() + value.len();
        self.batch.insert(key, Some(value));
        if self.bytes < Self::COMMIT {
            return Ok(());
        }
        self.bytes = 0;
        (self.commit)(&std::mem::take(&mut self.batch))
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        (self.commit)(&self.batch)
    }
}

/// Hands over all records of a store, in commits of bounded size.
pub(crate) fn copy(from: &dyn Store, commit: impl FnMut(&Batch) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let mut filler = Filler::new(commit);
    let mut filled = Ok(());
    from.read(&mut |reader| {
        reader.scan(everything(), false, &mut |key, value| {
            filled = filler.put(key.to_vec(), value.to_vec());
            if filled.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    })?;
    filled?;
    filler.finish()
}

/// Reads one key outside of any larger view.
pub(crate) fn get(store: &dyn Store, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let mut value = None;
    store.read(&mut |reader| {
        value = reader.get(key)?;
        Ok(())
    })?;
    Ok(value)
}
