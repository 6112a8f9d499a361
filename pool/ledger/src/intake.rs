//! Where shares arrive: counted at once in memory, and kept raw until the next commit takes them away.
//!
//! Everything here happens under one lock that is never held over I/O, so a caller waits for memory only. A share costs a
//! look-up, an addition and a push; when the writer falls behind, raw rows are no longer kept, counts always are.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::chunk::{Chunk, MAX_ROWS};
use crate::directory::{Directory, Due, Entry};
use crate::record::{Best, BestShare, Checkpoint, NotifySample, VardiffState, WorkerRecord};
use crate::resolution::FIVE_MINUTES_MS;
use crate::tallies::Tallies;
use crate::{Caps, Outcome, ShareRow, Tally, WorkerId};

/// Lines in the pool's list of best shares.
pub(crate) const MOST_BESTS: usize = 100;
/// Block-notify times kept.
pub(crate) const MOST_NOTIFY: usize = 1000;
/// No bucket runs.
const NONE: u64 = u64::MAX;
/// Times are taken to lie before the year 10000.
const LAST_MS: u64 = 253_402_300_799_999;

/// A worker's share that beat all its shares before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewBest {
    pub worker: WorkerId,
    pub difficulty: f64,
}

#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) workers: Directory,
    pub(crate) next_worker: u32,
    next_worker_due: bool,
    forgotten: Vec<WorkerId>,

    /// Start of the running bucket: its tallies are with the workers, not yet in `pending`.
    bucket: u64,
    running: Vec<usize>,
    /// Shares that no checkpoint holds yet.
    pending: Tallies,
    /// Shares of the checkpoint that is being written.
    folding: Option<Arc<Tallies>>,
    /// The last checkpoint written.
    pub(crate) generation: u64,
    /// All shares ever, but for the running bucket.
    pool: Tally,

    /// Shares since the last commit, one by one, and how many were not kept so.
    raw: Vec<ShareRow>,
    is_raw_full: bool,
    extra: Tallies,
    raw_skipped: u64,
    /// The last commit group, and its rows while it is being written.
    pub(crate) seq: u64,
    committing: Option<Arc<Vec<ShareRow>>>,

    /// The pool's best shares, the best first.
    pub(crate) bests: Vec<BestShare>,
    bests_due: bool,
    pub(crate) notify: VecDeque<NotifySample>,
    notify_new: Vec<NotifySample>,
    notify_old: Vec<NotifySample>,
    /// The height that is being mined.
    pub(crate) height: u32,
}

/// Beyond any difficulty there can be (2^256 / 2^32 is 3e67).
const MOST_DIFFICULTY: f64 = 1e70;

/// What one commit takes out of the intake.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) seq: u64,
    pub(crate) height: u32,
    pub(crate) rows: Arc<Vec<ShareRow>>,
    pub(crate) extra: Tallies,
    pub(crate) workers: Vec<(WorkerId, WorkerRecord)>,
    pub(crate) forgotten: Vec<WorkerId>,
    pub(crate) next_worker: Option<u32>,
    pub(crate) fold: Option<Fold>,
}

/// What a checkpoint takes besides.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) tallies: Arc<Tallies>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) bests: Option<Vec<BestShare>>,
    pub(crate) notify_new: Vec<NotifySample>,
    pub(crate) notify_old: Vec<NotifySample>,
}

/// The shares a reader must add to what is on disk, and what it must find there for the sum to be right.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    pub(crate) generation: u64,
    pub(crate) pending: Tallies,
    pub(crate) folding: Option<Arc<Tallies>>,
}

impl Intake {
    pub(crate) fn new(next_worker: u32, checkpoint: &Checkpoint) -> Self {
        Self {
            workers: Directory::default(),
            next_worker,
            next_worker_due: false,
            forgotten: Vec::new(),
            bucket: NONE,
            running: Vec::new(),
            pending: Tallies::default(),
            folding: None,
            generation: checkpoint.generation,
            pool: checkpoint.pool,
            raw: Vec::new(),
            is_raw_full: false,
            extra: Tallies::default(),
            raw_skipped: checkpoint.raw_skipped,
            seq: checkpoint.seq,
            committing: None,
            bests: Vec::new(),
            bests_due: false,
            notify: VecDeque::new(),
            notify_new: Vec::new(),
            notify_old: Vec::new(),
            height: 0,
        }
    }

    /// Counts shares. Whatever they say, the sums stay finite.
    pub(crate) fn add_all(&mut self, rows: &[ShareRow]) -> Vec<NewBest> {
        let mut news = Vec::new();
        for row in rows {
            let row = ShareRow {
                at_ms: row.at_ms.min(LAST_MS),
                difficulty: sound(row.difficulty),
                actual: sound(row.actual),
                ..*row
            };
            self.add(&row, &mut news);
        }
        news
    }

    #[inline]
    fn add(&mut self, row: &ShareRow, news: &mut Vec<NewBest>) {
        let bucket = row.at_ms - row.at_ms % FIVE_MINUTES_MS;
        if bucket != self.bucket && (self.bucket == NONE || bucket > self.bucket) {
            self.settle();
            self.bucket = bucket;
        }
        if self.raw.len() < MAX_ROWS {
            self.raw.push(*row);
        } else {
            self.skip_raw();
        }
        let Some(place) = self.workers.place(row.worker) else { return self.add_aside(bucket, row) };
        if bucket == self.bucket {
            let entry = self.workers.at(place);
            entry.running.add(row);
            if !entry.is_running {
                entry.is_running = true;
                self.running.push(place);
            }
        } else {
            self.workers.at(place).totals.add(row);
            self.add_aside(bucket, row);
        }
        let entry = self.workers.at(place);
        entry.last_seen_ms = entry.last_seen_ms.max(row.at_ms);
        entry.set_due(Due::Checkpoint);
        if row.outcome == Outcome::Accepted {
            let best = Best { difficulty: row.actual, at_ms: row.at_ms, height: self.height };
            if entry.improve(best) {
                news.push(NewBest { worker: row.worker, difficulty: row.actual });
            }
            if row.actual > self.least_of_bests() {
                self.enter_bests(place, best);
            }
        }
    }

    /// A share of another bucket than the running one (a clock that jumped), or of a worker that was forgotten.
    fn add_aside(&mut self, bucket: u64, row: &ShareRow) {
        let mut tally = Tally::default();
        tally.add(row);
        self.pool.merge(&tally);
        self.pending.add(bucket, row.worker, &tally);
        if self.is_raw_full {
            self.extra.add(bucket, row.worker, &tally);
        }
    }

    /// From here until the next commit shares are counted by bucket and worker instead of being kept one by one.
    fn skip_raw(&mut self) {
        self.raw_skipped += 1;
        if !self.is_raw_full {
            let bucket = self.bucket;
            self.settle();
            self.bucket = bucket;
            self.is_raw_full = true;
        }
    }

    /// Ends the running bucket: its tallies go where they belong.
    fn settle(&mut self) {
        for place in self.running.drain(..) {
            let entry = self.workers.at(place);
            let tally = std::mem::take(&mut entry.running);
            entry.is_running = false;
            entry.totals.merge(&tally);
            let id = entry.id;
            self.pool.merge(&tally);
            self.pending.add(self.bucket, id, &tally);
            if self.is_raw_full {
                self.extra.add(self.bucket, id, &tally);
            }
        }
        self.bucket = NONE;
    }

    fn least_of_bests(&self) -> f64 {
        if self.bests.len() < MOST_BESTS { 0.0 } else { self.bests.last().map_or(0.0, |line| line.best.difficulty) }
    }

    fn enter_bests(&mut self, place: usize, best: Best) {
        let worker = self.workers.at(place).name.clone();
        let rank = self.bests.partition_point(|line| line.best.difficulty >= best.difficulty);
        self.bests.insert(rank, BestShare { worker, best });
        self.bests.truncate(MOST_BESTS);
        self.bests_due = true;
    }

    /// Finds a worker or makes it, forgetting another one where the caps ask for it.
    pub(crate) fn worker_id(&mut self, name: &str, agent: &str, now_ms: u64, caps: Caps) -> WorkerId {
        if let Some(id) = self.workers.see(name, agent, now_ms) {
            return id;
        }
        if let Some(surplus) = self.workers.surplus(name, caps) {
            // Places move when one is removed: none may be running.
            self.settle();
            self.workers.remove(surplus);
            self.forgotten.push(surplus);
        }
        let id = WorkerId(self.next_worker);
        self.next_worker = self.next_worker.wrapping_add(1);
        self.next_worker_due = true;
        self.workers.create(id, name, agent, now_ms);
        id
    }

    pub(crate) fn set_vardiff(&mut self, worker: WorkerId, state: VardiffState) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.vardiff = Some(state);
            entry.set_due(Due::Checkpoint);
        }
    }

    pub(crate) fn add_notify(&mut self, sample: NotifySample) {
        self.notify.push_back(sample);
        self.notify_new.push(sample);
        while self.notify.len() > MOST_NOTIFY {
            self.notify_old.extend(self.notify.pop_front());
        }
    }

    pub(crate) fn pool(&self) -> Tally {
        let mut pool = self.pool;
        self.workers.iter().filter(|entry| entry.is_running).for_each(|entry| pool.merge(&entry.running));
        pool
    }

    pub(crate) fn raw_skipped(&self) -> u64 {
        self.raw_skipped
    }

    /// What is not in the tiers on disk.
    pub(crate) fn overlay(&mut self) -> Overlay {
        self.settle();
        Overlay { generation: self.generation, pending: self.pending.clone(), folding: self.folding.clone() }
    }

    /// Rows that may not be on disk, and the last commit group that surely is.
    pub(crate) fn raw_overlay(&self, wanted: impl Fn(&ShareRow) -> bool) -> (u64, Vec<ShareRow>) {
        let settled = if self.committing.is_some() { self.seq - 1 } else { self.seq };
        let rows = self.committing.iter().flat_map(|rows| rows.iter()).chain(&self.raw);
        (settled, rows.filter(|row| wanted(row)).copied().collect())
    }

    /// Takes what the next commit writes; `None` when there is nothing to write.
    pub(crate) fn cut(&mut self, fold: bool) -> Option<Group> {
        self.settle();
        let due = if fold { Due::Checkpoint } else { Due::Commit };
        let has_due = self.workers.iter().any(|entry| entry.due >= due) || !self.forgotten.is_empty();
        let has_fold = fold && (!self.pending.is_empty() || !self.notify_new.is_empty());
        if self.raw.is_empty() && self.extra.is_empty() && !has_due && !has_fold {
            return None;
        }
        self.seq += 1;
        let seq = self.seq;
        self.is_raw_full = false;
        let rows = Arc::new(std::mem::take(&mut self.raw));
        self.committing = Some(Arc::clone(&rows));
        let mut workers = Vec::new();
        for entry in self.workers.iter_mut().filter(|entry| entry.due >= due) {
            entry.due = Due::No;
            workers.push((entry.id, entry.record(seq)));
        }
        let fold = fold.then(|| {
            let tallies = Arc::new(std::mem::take(&mut self.pending));
            self.folding = Some(Arc::clone(&tallies));
            Fold {
                tallies,
                checkpoint: Checkpoint {
                    generation: self.generation + 1,
                    seq,
                    pool: self.pool,
                    raw_skipped: self.raw_skipped,
                },
                bests: std::mem::take(&mut self.bests_due).then(|| self.bests.clone()),
                notify_new: std::mem::take(&mut self.notify_new),
                notify_old: std::mem::take(&mut self.notify_old),
            }
        });
        Some(Group {
            seq,
            height: self.height,
            rows,
            extra: std::mem::take(&mut self.extra),
            workers,
            forgotten: std::mem::take(&mut self.forgotten),
            next_worker: std::mem::take(&mut self.next_worker_due).then_some(self.next_worker),
            fold,
        })
    }

    /// The group is on disk.
    pub(crate) fn committed(&mut self, group: &Group) {
        self.committing = None;
        if let Some(fold) = &group.fold {
            self.folding = None;
            self.generation = fold.checkpoint.generation;
        }
    }

    /// The group is not on disk: what must not be lost comes back, the raw rows are given up.
    pub(crate) fn give_back(&mut self, group: Group) {
        self.committing = None;
        self.raw_skipped += group.rows.len() as u64;
        for (id, _) in group.workers {
            if let Some(entry) = self.workers.get_mut(id) {
                entry.set_due(Due::Commit);
            }
        }
        self.forgotten.extend(group.forgotten);
        self.next_worker_due |= group.next_worker.is_some();
        if let Some(fold) = group.fold {
            self.folding = None;
            self.pending.merge(Arc::unwrap_or_clone(fold.tallies));
            self.bests_due |= fold.bests.is_some();
            self.notify_new.splice(..0, fold.notify_new);
            self.notify_old.splice(..0, fold.notify_old);
            let surplus = self.notify_new.len().saturating_sub(MOST_NOTIFY);
            self.notify_new.drain(..surplus);
        }
        self.pending.bound();
    }

    /// Counts the shares of a chunk that no checkpoint holds: the process ended before one was written. `is_in_totals` says
    /// whether a worker's record is from a later commit than the chunk.
    pub(crate) fn replay(&mut self, seq: u64, bucket: u64, chunk: &Chunk, is_in_totals: impl Fn(WorkerId) -> bool) {
        self.seq = self.seq.max(seq);
        let one_by_one = chunk.rows.iter().map(|row| {
            let mut tally = Tally::default();
            tally.add(row);
            (row.worker, tally, row.at_ms)
        });
        let taken_together = chunk.extra.iter().map(|(worker, tally)| (*worker, *tally, bucket));
        for (worker, tally, at_ms) in one_by_one.chain(taken_together) {
            self.pool.merge(&tally);
            self.pending.add(bucket, worker, &tally);
            let Some(place) = self.workers.place(worker) else { continue };
            let entry = self.workers.at(place);
            entry.set_due(Due::Checkpoint);
            if !is_in_totals(worker) {
                entry.totals.merge(&tally);
                entry.last_seen_ms = entry.last_seen_ms.max(at_ms);
            }
            let best = Best { difficulty: tally.best, at_ms, height: chunk.height };
            entry.improve(best);
            if tally.best > self.least_of_bests() {
                self.enter_bests(place, best);
            }
        }
        self.raw_skipped += chunk.extra.iter().map(|(_, tally)| tally.accepted + tally.rejected_total()).sum::<u64>();
    }

    /// Everything is to be written again, into a fresh ledger.
    pub(crate) fn mark_all(&mut self) {
        self.workers.iter_mut().for_each(|entry| entry.set_due(Due::Commit));
        self.next_worker_due = true;
        self.bests_due = true;
    }

    pub(crate) fn count_block(&mut self, worker: &str) {
        if let Some(id) = self.workers.named(worker).map(|entry| entry.id) {
            self.workers.get_mut(id).expect("it was just found").blocks_found += 1;
        }
    }

    pub(crate) fn restore(&mut self, entry: Entry) {
        self.workers.insert(entry);
    }
}

/// A difficulty that can be summed for ever: negative numbers and what is no number count nothing.
#[inline]
fn sound(difficulty: f64) -> f64 {
    if difficulty > 0.0 { difficulty.min(MOST_DIFFICULTY) } else { 0.0 }
}
