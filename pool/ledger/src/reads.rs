//! The handle: what comes out. What is on disk and what is not yet are read as one, so that answers are current.
//!
//! Lists of workers, bests and sums come from memory. The rest may wait for the disk: from async code, use a blocking task.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;
use warppool_events::LedgerState;

use crate::chunk::Chunk;
use crate::intake::Overlay;
use crate::key::{self, Key, meta};
use crate::ledger::{Ledger, setting_key};
use crate::record::{AuditRow, BestShare, BlockRow, Checkpoint, NotifySample, NotifySummary, TierRecord, VardiffState};
use crate::store::{self, Reader, StoreError};
use crate::tallies::Tallies;
use crate::{LedgerError, Resolution, ShareRow, Tally, Worker, WorkerId, value};

/// Buckets and rows given in one answer.
const MOST_BUCKETS: usize = 10_000;
const MOST_RAW: usize = 100_000;
/// Looks at the disk before an answer is given that a checkpoint may have overtaken.
const MOST_LOOKS: usize = 8;

/// The shares in one bucket of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub start_ms: u64,
    pub span_ms: u64,
    pub tally: Tally,
}

/// How the ledger itself does.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    pub state: LedgerState,
    pub message: String,
    pub is_clock_trusted: bool,
    /// Size of the file, or of what is held in memory.
    pub bytes: u64,
    pub commits: u64,
    pub failed_commits: u64,
    /// 0 before the first.
    pub last_commit_at_ms: u64,
    pub last_commit_us: u64,
    /// Shares counted but not kept one by one: too many at a time, or the disk was full.
    pub raw_rows_skipped: u64,
    /// Records of a later release.
    pub records_skipped: u64,
    /// Changes that are to be durable and are not yet.
    pub owed: usize,
    pub workers: usize,
}

impl Ledger {
    /// All workers remembered, in no order.
    pub fn workers(&self) -> Vec<Worker> {
        self.shared().intake.lock().workers.iter().map(crate::directory::Entry::worker).collect()
    }

    pub fn worker(&self, name: &str) -> Option<Worker> {
        self.shared().intake.lock().workers.named(name).map(crate::directory::Entry::worker)
    }

    pub fn vardiff(&self, worker: WorkerId) -> Option<VardiffState> {
        self.shared().intake.lock().workers.get(worker).and_then(|entry| entry.vardiff)
    }

    /// All shares since the ledger began, also those of workers forgotten since.
    pub fn pool_totals(&self) -> Tally {
        self.shared().intake.lock().pool()
    }

    /// The pool's hundred best shares, the best first.
    pub fn best_shares(&self) -> Vec<BestShare> {
        self.shared().intake.lock().bests.clone()
    }

    /// The last thousand block-notify times, the oldest first.
    pub fn notify_samples(&self) -> Vec<NotifySample> {
        self.shared().intake.lock().notify.iter().copied().collect()
    }

    pub fn notify_summary(&self) -> NotifySummary {
        NotifySummary::of(self.shared().intake.lock().notify.iter())
    }

    /// The shares of the pool or of one worker by bucket, the oldest first; buckets without shares are left out. Takes
    /// every bucket that begins before the span's end and ends after its start.
    pub fn hashrate(
        &self,
        worker: Option<WorkerId>,
        span: Range<u64>,
        resolution: Resolution,
    ) -> Result<Vec<Bucket>, LedgerError> {
        let first = resolution.bucket(span.start);
        let end = span.end;
        let mut found: BTreeMap<u64, Tally> = BTreeMap::new();
        for look in 1..=MOST_LOOKS {
            let overlay = self.shared().intake.lock().overlay();
            found.clear();
            let mut on_disk = Checkpoint::default();
            self.shared().with_store(|store| {
                store.read(&mut |reader| {
                    on_disk = checkpoint(reader)?;
                    reader.scan(key::tier(resolution, first..end), true, &mut |key, bytes| {
                        let record = value::decode::<TierRecord>(key, bytes);
                        if let (Some(Key::Tier(_, bucket)), Ok(TierRecord { total, workers })) =
                            (Key::parse(key), record)
                            && let Some(tally) = pick(worker, total, workers)
                        {
                            found.insert(bucket, tally);
                        }
                        if found.len() < MOST_BUCKETS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                    })
                })
            })?;
            let Some(missing) = overlay.missing_from(on_disk.generation, look == MOST_LOOKS) else { continue };
            for (bucket, workers) in missing.iter().flat_map(|tallies| tallies.rolled_up(resolution).into_iter()) {
                if (first..end).contains(&bucket) {
                    let mut total = Tally::default();
                    for tally in workers.values() {
                        total.merge(tally);
                    }
                    if let Some(tally) = pick(worker, total, workers) {
                        found.entry(bucket).or_default().merge(&tally);
                    }
                }
            }
            break;
        }
        let span_ms = resolution.span_ms();
        Ok(found.into_iter().map(|(start_ms, tally)| Bucket { start_ms, span_ms, tally }).collect())
    }

    /// The raw shares of the pool or of one worker since a moment, the oldest first. At most the newest 100,000.
    pub fn raw_shares(&self, worker: Option<WorkerId>, since_ms: u64) -> Result<Vec<ShareRow>, LedgerError> {
        let wanted = |row: &ShareRow| row.at_ms >= since_ms && worker.is_none_or(|worker| row.worker == worker);
        let (settled, mut rows) = self.shared().intake.lock().raw_overlay(wanted);
        let range = key::raw(Resolution::FiveMinutes.bucket(since_ms)..u64::MAX);
        self.shared().with_store(|store| {
            store.read(&mut |reader| {
                reader.scan(range.clone(), true, &mut |key, bytes| {
                    let Some(Key::Raw { bucket, seq }) = Key::parse(key) else { return ControlFlow::Continue(()) };
                    if seq <= settled {
                        let chunk = value::decode(key, bytes).and_then(|record| Chunk::from_record(bucket, record));
                        rows.extend(chunk.unwrap_or_default().rows.into_iter().filter(wanted));
                    }
                    if rows.len() < MOST_RAW { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })
            })
        })?;
        rows.sort_by_key(|row| row.at_ms);
        rows.drain(..rows.len().saturating_sub(MOST_RAW));
        Ok(rows)
    }

    /// The newest blocks, the highest first.
    pub fn blocks(&self, most: usize) -> Result<Vec<BlockRow>, LedgerError> {
        self.newest(key::blocks(), most)
    }

    /// The newest audit rows within a span of time, the newest first.
    pub fn audit_rows(&self, span: Range<u64>, most: usize) -> Result<Vec<AuditRow>, LedgerError> {
        self.newest(key::audit(span), most)
    }

    pub fn setting(&self, name: &str) -> Result<Option<String>, LedgerError> {
        let key = setting_key(name)?;
        let owed = self.shared().owed.lock().get(&key).cloned();
        let bytes = match owed {
            Some(owed) => owed,
            None => self.shared().with_store(|store| store::get(store, &key))?,
        };
        Ok(bytes.and_then(|bytes| value::decode(&key, &bytes).ok()))
    }

    /// All settings by name.
    pub fn settings(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        let records = self.merged(key::settings(), usize::MAX)?;
        let settings = records.into_iter().filter_map(|(key, bytes)| match Key::parse(&key)? {
            Key::Setting(name) => Some((name, value::decode(&key, &bytes).ok()?)),
            _ => None,
        });
        Ok(settings.collect())
    }

    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let status = shared.status.lock().clone();
        let bytes = shared.with_store(|store| Ok(store.bytes())).unwrap_or(0);
        let (raw_rows_skipped, workers) = {
            let intake = shared.intake.lock();
            (intake.raw_skipped(), intake.workers.len())
        };
        let counters = &shared.counters;
        Stats {
            state: status.state,
            message: status.message,
            is_clock_trusted: shared.is_clock_trusted.load(Ordering::Relaxed),
            bytes,
            commits: counters.commits.load(Ordering::Relaxed),
            failed_commits: counters.failed_commits.load(Ordering::Relaxed),
            last_commit_at_ms: counters.last_commit_at_ms.load(Ordering::Relaxed),
            last_commit_us: counters.last_commit_us.load(Ordering::Relaxed),
            raw_rows_skipped,
            records_skipped: counters.skipped_records.load(Ordering::Relaxed),
            owed: shared.owed.lock().len(),
            workers,
        }
    }

    fn newest<T: DeserializeOwned>(&self, range: Range<Vec<u8>>, most: usize) -> Result<Vec<T>, LedgerError> {
        let records = self.merged(range, most)?;
        let newest = records.iter().rev().filter_map(|(key, bytes)| value::decode(key, bytes).ok());
        Ok(newest.take(most).collect())
    }

    /// The last records of a range, with what is owed laid over what is on disk.
    fn merged(&self, range: Range<Vec<u8>>, most: usize) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LedgerError> {
        let owed = self.shared().owed.lock().range(range.clone());
        let mut records = BTreeMap::new();
        let enough = most.saturating_add(owed.len());
        self.shared().with_store(|store| {
            store.read(&mut |reader| {
                reader.scan(range.clone(), true, &mut |key, bytes| {
                    if records.len() >= enough {
                        return ControlFlow::Break(());
                    }
                    records.insert(key.to_vec(), bytes.to_vec());
                    ControlFlow::Continue(())
                })
            })
        })?;
        for (key, bytes) in owed {
            match bytes {
                Some(bytes) => records.insert(key, bytes),
                None => records.remove(&key),
            };
        }
        Ok(records)
    }
}

/// A bucket's tally for one worker, or for all.
fn pick(worker: Option<WorkerId>, total: Tally, workers: impl IntoIterator<Item = (WorkerId, Tally)>) -> Option<Tally> {
    match worker {
        None => Some(total),
        Some(wanted) => workers.into_iter().find(|(id, _)| *id == wanted).map(|(_, tally)| tally),
    }
}

fn checkpoint(reader: &dyn Reader) -> Result<Checkpoint, StoreError> {
    let bytes = reader.get(meta::CHECKPOINT)?;
    Ok(bytes.and_then(|bytes| value::decode(meta::CHECKPOINT, &bytes).ok()).unwrap_or_default())
}

impl Overlay {
    /// The shares that a store with this many checkpoints does not hold; `None` when it has overtaken what was seen in
    /// memory, and both must be looked at again.
    fn missing_from(&self, generation: u64, is_last_look: bool) -> Option<Vec<&Tallies>> {
        let folding = self.folding.as_deref();
        if generation <= self.generation || is_last_look {
            Some(folding.into_iter().chain([&self.pending]).collect())
        } else if generation == self.generation + 1 && folding.is_some() {
            Some(vec![&self.pending])
        } else {
            None
        }
    }
}
