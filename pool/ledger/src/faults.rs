//! Tests of the writer on a store that fails as told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use warppool_events::{Bus, LedgerState};

use crate::open::open_on;
use crate::store::memory::MemoryStore;
use crate::store::{Batch, Reader, Store, StoreError};
use crate::{Clock, Ledger, LedgerError, Options, Outcome, Resolution, ShareRow, WorkerId};

const NOW: u64 = 1_699_999_200_000;

const SOUND: u8 = 0;
const FULL: u8 = 1;
/// The commit reaches the disk, and an error is told all the same.
const LATE: u8 = 2;
const DAMAGED: u8 = 3;

#[derive(Clone, Default)]
struct Fault(Arc<AtomicU8>);

impl Fault {
    fn set(&self, fault: u8) {
        self.0.store(fault, Ordering::Relaxed);
    }
}

struct Faulty {
    inner: MemoryStore,
    fault: Fault,
}

impl Store for Faulty {
    fn read(&self, look: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.inner.read(look)
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        match self.fault.0.load(Ordering::Relaxed) {
            FULL => Err(StoreError::Full("no space left on device".into())),
            LATE => self.inner.commit(batch).and(Err(StoreError::Io("input/output error".into()))),
            DAMAGED => Err(StoreError::Damaged("page not found".into())),
            _ => self.inner.commit(batch),
        }
    }

    fn inspect(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

fn open(dir: &std::path::Path) -> (Ledger, Fault, Bus) {
    let (fault, bus) = (Fault::default(), Bus::new());
    let options =
        Options { commit_every: Duration::from_hours(1), clock: Clock::new(|| NOW), ..Options::new(dir, bus.clone()) };
    let store = Faulty { inner: MemoryStore::default(), fault: fault.clone() };
    (open_on(options, Box::new(store)), fault, bus)
}

fn share(worker: WorkerId) -> ShareRow {
    ShareRow { at_ms: NOW, worker, difficulty: 2.0, actual: 3.0, outcome: Outcome::Accepted }
}

/// What the ledger says of today, by every way of asking.
fn counted(ledger: &Ledger, worker: WorkerId) -> [u64; 3] {
    let today = ledger.hashrate(Some(worker), 0..u64::MAX, Resolution::Day).unwrap();
    let workers: u64 = ledger.workers().iter().map(|worker| worker.totals.accepted).sum();
    [today.first().map_or(0, |bucket| bucket.tally.accepted), workers, ledger.pool_totals().accepted]
}

#[tokio::test]
async fn a_full_disk_is_told_once_and_everything_owed_is_written_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, fault, bus) = open(dir.path());
    let worker = ledger.worker_id("a", "");
    fault.set(FULL);
    for n in 1..=5 {
        ledger.shares(&[share(worker)]);
        assert!(matches!(ledger.flush().await, Err(LedgerError::NotDurable(_))));
        assert!(ledger.put_setting("n", &n.to_string()).await.is_err());
        assert_eq!(ledger.setting("n").unwrap(), Some(n.to_string()));
        assert_eq!(counted(&ledger, worker), [n; 3]);
    }
    assert_eq!(ledger.stats().state, LedgerState::StatisticsPaused);
    assert_eq!((ledger.stats().owed, ledger.stats().raw_rows_skipped), (1, 5));
    fault.set(SOUND);
    ledger.flush().await.unwrap();
    assert_eq!(counted(&ledger, worker), [5; 3]);
    assert_eq!((ledger.stats().state, ledger.stats().owed), (LedgerState::Durable, 0));
    assert_eq!(bus.recent(99).len(), 2, "paused once, resumed once");
}

#[tokio::test]
async fn a_commit_that_was_told_to_fail_but_reached_the_disk_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, fault, _) = open(dir.path());
    let worker = ledger.worker_id("a", "");
    fault.set(FULL);
    ledger.shares(&[share(worker)]);
    assert!(ledger.flush().await.is_err());
    // The next commit is a checkpoint, as the last one failed.
    fault.set(LATE);
    ledger.shares(&[share(worker)]);
    let _ = ledger.flush().await;
    fault.set(SOUND);
    ledger.shares(&[share(worker)]);
    ledger.flush().await.unwrap();
    assert_eq!(counted(&ledger, worker), [3; 3]);
}

#[tokio::test]
async fn damage_found_while_writing_moves_everything_in_memory_to_another_ledger() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing can be made where a file is: memory is what is left.
    let folder = dir.path().join("file");
    std::fs::write(&folder, "").unwrap();
    let (ledger, fault, bus) = open(&folder);
    let worker = ledger.worker_id("a", "");
    ledger.shares(&[share(worker)]);
    fault.set(DAMAGED);
    ledger.put_setting("a", "1").await.unwrap();
    assert_eq!(ledger.stats().state, LedgerState::MemoryOnly);
    assert!(format!("{:?}", bus.recent(9)).contains("page not found"));
    ledger.shares(&[share(worker)]);
    ledger.flush().await.unwrap();
    assert_eq!(counted(&ledger, worker), [2; 3]);
    assert_eq!(ledger.setting("a").unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn readers_see_every_share_once_while_checkpoints_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, fault, _) = open(dir.path());
    let worker = ledger.worker_id("a", "");
    let reader = ledger.clone();
    let done = Arc::new(AtomicU8::new(0));
    let is_done = Arc::clone(&done);
    let reading = std::thread::spawn(move || {
        let mut last = 0;
        while is_done.load(Ordering::Relaxed) == 0 {
            // A share more than once, or not at all, would show as a step back or a number never reached.
            let [today, ..] = counted(&reader, worker);
            let counted_since = reader.pool_totals().accepted;
            assert!(last <= today && today <= counted_since, "{last}, {today}, {counted_since}");
            last = today;
        }
    });
    for n in 0..2000 {
        ledger.shares(&[share(worker)]);
        // A failure makes the next commit a checkpoint.
        fault.set(if n % 2 == 0 { FULL } else { SOUND });
        let _ = ledger.flush().await;
    }
    done.store(1, Ordering::Relaxed);
    reading.join().unwrap();
    assert_eq!(counted(&ledger, worker), [2000; 3]);
}
