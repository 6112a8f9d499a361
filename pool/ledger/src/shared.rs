//! What callers, readers and the writer have in common.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Mutex, RwLock};
use warppool_events::{Event, LedgerState};

use crate::intake::Intake;
use crate::key::Key;
use crate::store::{Batch, Store, StoreError};
use crate::{LedgerError, Options};

pub(crate) struct Shared {
    pub(crate) options: Options,
    /// `None` once the ledger is closed. Swapped only by the writer.
    pub(crate) store: RwLock<Option<Box<dyn Store>>>,
    pub(crate) intake: Mutex<Intake>,
    /// What must not be lost and is not on disk yet.
    pub(crate) owed: Mutex<Owed>,
    /// The hashes of all blocks known.
    pub(crate) blocks: Mutex<HashSet<[u8; 32]>>,
    pub(crate) status: Mutex<Status>,
    pub(crate) is_clock_trusted: AtomicBool,
    pub(crate) counters: Counters,
    /// Held as long as the directory is this ledger's own.
    pub(crate) lock: Mutex<Option<File>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) state: LedgerState,
    pub(crate) message: String,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) failed_commits: AtomicU64,
    pub(crate) last_commit_at_ms: AtomicU64,
    pub(crate) last_commit_us: AtomicU64,
    pub(crate) skipped_records: AtomicU64,
    pub(crate) audit_seq: AtomicU64,
}

impl Shared {
    /// Runs a closure on the store, which stays the same meanwhile.
    pub(crate) fn with_store<T>(
        &self,
        run: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, LedgerError> {
        let store = self.store.read();
        let store = store.as_ref().ok_or(LedgerError::Closed)?;
        run(store.as_ref()).map_err(|error| LedgerError::Unreadable(error.to_string()))
    }

    /// Tells a state that is new.
    pub(crate) fn enter(&self, state: LedgerState, message: &str) {
        let is_news = self.status.lock().state != state;
        if is_news {
            self.announce(state, message);
        }
    }

    /// Tells a state and what happened, also when the state is the same as before.
    pub(crate) fn announce(&self, state: LedgerState, message: &str) {
        *self.status.lock() = Status { state, message: message.to_owned() };
        match state {
            LedgerState::Durable => tracing::info!("ledger: {message}"),
            LedgerState::StatisticsPaused | LedgerState::MemoryOnly => tracing::warn!("ledger: {message}"),
        }
        self.options.bus.send(Event::LedgerState { state, message: message.to_owned() });
    }
}

/// A value to put, or `None` to delete the key.
pub(crate) type Change = Option<Vec<u8>>;

/// Changes that are to be durable, as readers already see them.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    records: BTreeMap<Vec<u8>, (u64, Change)>,
    next: u64,
}

/// Most records owed while the disk is full. Beyond that the oldest audit rows go; nothing else does.
const MOST_OWED: usize = 20_000;

impl Owed {
    pub(crate) fn put(&mut self, key: Vec<u8>, change: Change) {
        self.next += 1;
        self.records.insert(key, (self.next, change));
        if self.records.len() > MOST_OWED {
            let oldest = self.records.keys().find(|key| matches!(Key::parse(key), Some(Key::Audit { .. }))).cloned();
            oldest.and_then(|key| self.records.remove(&key));
        }
    }

    /// The owed value of a key, or that its deletion is owed, if anything is.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Change> {
        self.records.get(key).map(|(_, change)| change)
    }

    pub(crate) fn range(&self, range: std::ops::Range<Vec<u8>>) -> Vec<(Vec<u8>, Change)> {
        self.records.range(range).map(|(key, (_, value))| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// All that is owed now, and the mark by which to settle it.
    pub(crate) fn batch(&self) -> (Batch, u64) {
        (self.records.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect(), self.next)
    }

    /// Everything up to the mark is on disk; what changed since is still owed.
    pub(crate) fn settle(&mut self, mark: u64) {
        self.records.retain(|_, (number, _)| *number > mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_while_it_was_written_is_still_owed() {
        let mut owed = Owed::default();
        owed.put(b"a".to_vec(), Some(vec![1]));
        owed.put(b"b".to_vec(), Some(vec![1]));
        let (batch, mark) = owed.batch();
        owed.put(b"b".to_vec(), Some(vec![2]));
        owed.settle(mark);
        assert_eq!(batch.len(), 2);
        assert_eq!((owed.get(b"a"), owed.get(b"b")), (None, Some(&Some(vec![2]))));
    }

    #[test]
    fn a_flood_of_audit_rows_costs_bounded_memory_and_no_setting() {
        let mut owed = Owed::default();
        let setting = Key::Setting("accounts".into()).bytes();
        owed.put(setting.clone(), Some(vec![1]));
        for seq in 0..MOST_OWED as u32 + 100 {
            owed.put(Key::Audit { at_ms: 1, seq }.bytes(), Some(vec![0]));
        }
        assert_eq!(owed.len(), MOST_OWED);
        assert!(owed.get(&setting).is_some());
        assert!(owed.get(&Key::Audit { at_ms: 1, seq: 0 }.bytes()).is_none(), "the oldest went");
    }
}
