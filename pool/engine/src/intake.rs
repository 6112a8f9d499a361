//! Judged shares as they come from the connections: to the ledger, and into the pool's own counts.
//!
//! Everything here is memory under short locks; nothing waits for a disk.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use warppool_ledger::{Ledger, Reason, ShareRow};
use warppool_stratum::{Outcome, RefusedFor, ShareReport};

use crate::rolling::Rolling;
use crate::roster::{Roster, Worker};

/// All shares since start.
#[derive(Clone, Debug, Default)]
pub struct ShareCounts {
    pub accepted: u64,
    /// By [`RefusedFor`], in the order of [`RefusedFor::ALL`].
    pub refused: [u64; RefusedFor::ALL.len()],
    /// Accepted work, in shares of difficulty 1.
    pub work: f64,
}

impl ShareCounts {
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }
}

#[derive(Debug)]
pub struct Intake {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: ShareCounts,
    pace: Rolling,
}

/// A worker beat its own best share.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBest {
    pub worker: Arc<str>,
    pub difficulty: f64,
}

impl Default for Intake {
    fn default() -> Self {
        Self { started: Instant::now(), state: Mutex::default() }
    }
}

impl Intake {
    /// Seconds since start.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Takes in the shares of one read, which nearly always come from one worker. Gives new bests, if any.
    pub fn take(&self, reports: &[ShareReport], roster: &Roster, ledger: &Ledger) -> Vec<NewBest> {
        let now = self.now();
        let mut bests = Vec::new();
        for run in reports.chunk_by(|a, b| a.worker == b.worker) {
            let work = self.count(run, now);
            // Without a worker (not authorized) a share counts for the pool's totals alone.
            if let Some(worker) = roster.by_id(run[0].worker) {
                worker.worked(work, now);
                bests.extend(keep(run, &worker, ledger));
            }
        }
        bests
    }

    /// Adds a run to the pool's counts; gives the work accepted in it.
    fn count(&self, run: &[ShareReport], now: u64) -> f64 {
        let mut state = self.state.lock();
        let State { counts, pace } = &mut *state;
        let mut work = 0.0;
        for share in run {
            match share.outcome {
                Outcome::Accepted => {
                    counts.accepted += 1;
                    work += share.credited;
                }
                Outcome::Refused(reason) => counts.refused[reason as usize] += 1,
            }
        }
        counts.work += work;
        pace.add(work, now);
        work
    }

    pub fn counts(&self) -> ShareCounts {
        self.state.lock().counts.clone()
    }

    /// The whole pool's hashes per second over the last `minutes`.
    pub fn hashrate(&self, minutes: u64) -> f64 {
        let now = self.now();
        self.state.lock().pace.hashrate(minutes, now)
    }
}

/// Hands one worker's shares to the ledger; gives its new best share.
fn keep(run: &[ShareReport], worker: &Worker, ledger: &Ledger) -> Option<NewBest> {
    let id = worker.ledger_id(ledger);
    let rows: Vec<ShareRow> = run
        .iter()
        .map(|share| ShareRow {
            at_ms: share.at_ms,
            worker: id,
            difficulty: share.credited,
            actual: share.actual,
            outcome: outcome(share.outcome),
        })
        .collect();
    let best = ledger.shares(&rows).pop()?;
    Some(NewBest { worker: Arc::clone(&worker.name), difficulty: best.difficulty })
}

fn outcome(outcome: Outcome) -> warppool_ledger::Outcome {
    let reason = match outcome {
        Outcome::Accepted => return warppool_ledger::Outcome::Accepted,
        Outcome::Refused(reason) => reason,
    };
    warppool_ledger::Outcome::Rejected(match reason {
        RefusedFor::Stale | RefusedFor::UnknownJob => Reason::Stale,
        RefusedFor::Duplicate => Reason::Duplicate,
        RefusedFor::LowDifficulty => Reason::LowDifficulty,
        RefusedFor::Time => Reason::BadTime,
        RefusedFor::Version => Reason::BadVersion,
        RefusedFor::Unauthorized => Reason::Unauthorized,
        RefusedFor::NotSubscribed => Reason::NotSubscribed,
        RefusedFor::Malformed => Reason::Malformed,
    })
}
