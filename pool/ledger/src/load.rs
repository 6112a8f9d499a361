//! From what is on disk to what is in memory, at start.

use std::collections::HashSet;
use std::ops::ControlFlow;

use serde::de::DeserializeOwned;

use crate::WorkerId;
use crate::chunk::Chunk;
use crate::directory::Entry;
use crate::intake::{Intake, MOST_NOTIFY};
use crate::key::{self, Key, meta};
use crate::record::{BestShare, BlockRow, Checkpoint, Format, NotifySample, WorkerRecord};
use crate::store::{Batch, Reader, Store, StoreError, everything};
use crate::tallies::ByWorker;
use crate::value::{self, Undecodable};

/// Why a whole file is not used all the same.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A later release made it; this one leaves it alone.
    Later(String),
    Store(StoreError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Later(what) => f.write_str(what),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) intake: Intake,
    pub(crate) blocks: HashSet<[u8; 32]>,
    /// Records passed over: of a later release, or not decodable.
    pub(crate) skipped: u64,
}

/// Reads what the ledger keeps in memory; gives an empty store its first records.
pub(crate) fn load(store: &dyn Store) -> Result<Loaded, Refusal> {
    let mut loaded = Err(Refusal::Later("nothing was read".into()));
    let mut fresh = false;
    store.read(&mut |reader| {
        let mut first = None;
        reader.scan(everything(), false, &mut |key, _| {
            first = Some(key.to_vec());
            ControlFlow::Break(())
        })?;
        fresh = first.is_none();
        loaded = if fresh { Ok(Loader::new(reader).empty()) } else { Loader::new(reader).load() };
        Ok(())
    })?;
    if fresh {
        store.commit(&first_records(&Checkpoint::default()))?;
    }
    loaded
}

/// What every ledger has from its first commit on; a ledger without them lost them.
pub(crate) fn first_records(checkpoint: &Checkpoint) -> Batch {
    Batch::from([
        (meta::FORMAT.to_vec(), Some(value::encode(meta::FORMAT, &Format::CURRENT))),
        (meta::CHECKPOINT.to_vec(), Some(value::encode(meta::CHECKPOINT, checkpoint))),
    ])
}

struct Loader<'a> {
    reader: &'a dyn Reader,
    skipped: u64,
}

impl<'a> Loader<'a> {
    fn new(reader: &'a dyn Reader) -> Self {
        Self { reader, skipped: 0 }
    }

    fn empty(self) -> Loaded {
        Loaded { intake: Intake::new(1, &Checkpoint::default()), blocks: HashSet::new(), skipped: self.skipped }
    }

    fn load(mut self) -> Result<Loaded, Refusal> {
        self.check_format()?;
        let workers: Vec<(Key, WorkerRecord)> = self.all(key::workers())?;
        let checkpoint = match self.one(meta::CHECKPOINT)? {
            Some(checkpoint) => checkpoint,
            None => self.rebuilt_checkpoint(&workers)?,
        };
        let after = workers
            .iter()
            .filter_map(|(key, _)| if let Key::Worker(id) = key { Some(id.0.saturating_add(1)) } else { None });
        let next_worker = self.one(meta::NEXT_WORKER)?.unwrap_or(1).max(after.max().unwrap_or(1));
        let mut intake = Intake::new(next_worker, &checkpoint);
        intake.bests = self.one::<Vec<BestShare>>(meta::BESTS)?.unwrap_or_default();
        let mut written_with: ByWorker<u64> = ByWorker::default();
        for (key, record) in workers {
            let Key::Worker(id) = key else { continue };
            written_with.insert(id, record.seq);
            intake.seq = intake.seq.max(record.seq);
            intake.restore(Entry::from_record(id, record));
        }
        self.replay(&mut intake, &checkpoint, &written_with)?;
        for (_, sample) in self.all::<NotifySample>(key::notify(0..u64::MAX))? {
            intake.notify.push_back(sample);
            if intake.notify.len() > MOST_NOTIFY {
                intake.notify.pop_front();
            }
        }
        let mut blocks = HashSet::new();
        for (_, block) in self.all::<BlockRow>(key::blocks())? {
            blocks.insert(block.hash);
            intake.height = intake.height.max(block.height);
            intake.count_block(&block.worker);
        }
        Ok(Loaded { intake, blocks, skipped: self.skipped })
    }

    fn check_format(&mut self) -> Result<(), Refusal> {
        let Some(bytes) = self.reader.get(meta::FORMAT)? else {
            return Err(StoreError::Damaged("it does not say what format it has".into()).into());
        };
        match value::decode::<Format>(meta::FORMAT, &bytes) {
            Ok(format) if format.is_usable() => Ok(()),
            Ok(format) => Err(Refusal::Later(format!("it has format {} of a later release", format.written_as))),
            Err(Undecodable::UnknownSchema(schema)) => {
                Err(Refusal::Later(format!("it has schema {schema} of a later release")))
            }
            Err(undecodable) => Err(StoreError::Damaged(undecodable.to_string()).into()),
        }
    }

    /// After a loss: what the tiers hold is taken to be everything that is on disk, so that nothing counts twice.
    fn rebuilt_checkpoint(&mut self, workers: &[(Key, WorkerRecord)]) -> Result<Checkpoint, StoreError> {
        let mut checkpoint = Checkpoint::default();
        for (_, record) in workers {
            checkpoint.pool.merge(&record.totals);
            checkpoint.seq = checkpoint.seq.max(record.seq);
        }
        self.reader.scan(key::raw(0..u64::MAX), false, &mut |key, _| {
            if let Some(Key::Raw { seq, .. }) = Key::parse(key) {
                checkpoint.seq = checkpoint.seq.max(seq);
            }
            ControlFlow::Continue(())
        })?;
        Ok(checkpoint)
    }

    /// Counts the raw shares that were committed after the last checkpoint.
    fn replay(
        &mut self,
        intake: &mut Intake,
        checkpoint: &Checkpoint,
        written_with: &ByWorker<u64>,
    ) -> Result<(), StoreError> {
        let skipped = &mut self.skipped;
        self.reader.scan(key::raw(0..u64::MAX), false, &mut |key, bytes| {
            let Some(Key::Raw { bucket, seq }) = Key::parse(key) else { return ControlFlow::Continue(()) };
            if seq > checkpoint.seq {
                let chunk = value::decode(key, bytes).and_then(|record| Chunk::from_record(bucket, record));
                match chunk {
                    Ok(chunk) => intake.replay(seq, bucket, &chunk, |id: WorkerId| {
                        written_with.get(&id).is_some_and(|&written| written >= seq)
                    }),
                    Err(_) => *skipped += 1,
                }
            }
            ControlFlow::Continue(())
        })
    }

    fn one<T: DeserializeOwned>(&mut self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.reader.get(key)? else { return Ok(None) };
        let decoded = value::decode(key, &bytes);
        self.skipped += u64::from(decoded.is_err());
        Ok(decoded.ok())
    }

    fn all<T: DeserializeOwned>(&mut self, range: std::ops::Range<Vec<u8>>) -> Result<Vec<(Key, T)>, StoreError> {
        let mut records = Vec::new();
        let skipped = &mut self.skipped;
        self.reader.scan(range, false, &mut |key, bytes| {
            match (Key::parse(key), value::decode(key, bytes)) {
                (Some(key), Ok(record)) => records.push((key, record)),
                _ => *skipped += 1,
            }
            ControlFlow::Continue(())
        })?;
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use warppool_events::{Bus, LedgerState};

    use super::*;
    use crate::store::lmdb::{DATA, LmdbStore};
    use crate::{Ledger, Options, check};

    /// A ledger on disk with one record put by hand.
    async fn ledger_with(key: &[u8], bytes: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(Options::new(dir.path(), Bus::new())).ledger;
        ledger.put_setting("a", "1").await.unwrap();
        ledger.close().await.unwrap();
        let store = LmdbStore::open(dir.path(), 1 << 30).unwrap();
        store.commit(&Batch::from([(key.to_vec(), Some(bytes.to_vec()))])).unwrap();
        Box::new(store).close();
        dir
    }

    #[tokio::test]
    async fn a_ledger_of_a_later_release_is_left_as_it_is_and_memory_is_used() {
        let later_format = value::encode(meta::FORMAT, &Format { written_as: 9, usable_from: 9 });
        let later_schema = value::with_schema(meta::FORMAT, 7, b"whatever");
        for bytes in [later_format, later_schema] {
            let dir = ledger_with(meta::FORMAT, &bytes).await;
            let before = std::fs::read(dir.path().join(DATA)).unwrap();
            let opened = Ledger::open(Options::new(dir.path(), Bus::new()));
            assert_eq!(opened.state, LedgerState::MemoryOnly);
            assert!(opened.message.contains("of a later release; update the pool"), "{}", opened.message);
            opened.ledger.put_setting("a", "2").await.unwrap();
            opened.ledger.close().await.unwrap();
            assert_eq!(std::fs::read(dir.path().join(DATA)).unwrap(), before);
        }
    }

    #[tokio::test]
    async fn a_format_that_the_next_release_writes_for_this_one_is_used() {
        let next = value::encode(meta::FORMAT, &Format { written_as: 2, usable_from: 1 });
        let dir = ledger_with(meta::FORMAT, &next).await;
        let opened = Ledger::open(Options::new(dir.path(), Bus::new()));
        assert_eq!(opened.state, LedgerState::Durable);
        assert_eq!(opened.ledger.setting("a").unwrap().as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn records_of_a_later_release_are_passed_over_counted_and_kept() {
        let worker = Key::Worker(WorkerId(5)).bytes();
        let unknown_key = b"zunknown".to_vec();
        let dir = ledger_with(&worker, &value::with_schema(&worker, 2, b"?")).await;
        let store = LmdbStore::open(dir.path(), 1 << 30).unwrap();
        let unknown = value::encode(&unknown_key, &1_u8);
        store.commit(&Batch::from([(unknown_key.clone(), Some(unknown.clone()))])).unwrap();
        Box::new(store).close();
        assert_eq!(check::walk(dir.path()).unwrap().unknown, 2);
        let opened = Ledger::open(Options::new(dir.path(), Bus::new()));
        assert_eq!(opened.state, LedgerState::Durable);
        assert_eq!(opened.ledger.stats().records_skipped, 1);
        assert!(opened.message.contains("1 records of a later release"), "{}", opened.message);
        opened.ledger.close().await.unwrap();
        let store = LmdbStore::open(dir.path(), 1 << 30).unwrap();
        assert_eq!(crate::store::get(&store, &unknown_key).unwrap(), Some(unknown));
    }

    #[tokio::test]
    async fn without_its_checkpoint_nothing_counts_twice() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(Options::new(dir.path(), Bus::new())).ledger;
        let worker = ledger.worker_id("a", "");
        let row = crate::ShareRow {
            at_ms: 1_700_000_000_000,
            worker,
            difficulty: 1.0,
            actual: 1.0,
            outcome: crate::Outcome::Accepted,
        };
        ledger.shares(&[row; 10]);
        ledger.close().await.unwrap();
        let store = LmdbStore::open(dir.path(), 1 << 30).unwrap();
        store.commit(&Batch::from([(meta::CHECKPOINT.to_vec(), None)])).unwrap();
        Box::new(store).close();
        let ledger = Ledger::open(Options::new(dir.path(), Bus::new())).ledger;
        assert_eq!(ledger.pool_totals().accepted, 10);
        assert_eq!(ledger.worker("a").unwrap().totals.accepted, 10);
        let day = ledger.hashrate(None, 0..u64::MAX, crate::Resolution::Day).unwrap();
        assert_eq!(day[0].tally.accepted, 10);
    }
}
