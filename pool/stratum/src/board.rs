//! The jobs miners may answer, as one snapshot: replaced as a whole when a job is published, read without a lock.

use std::sync::Arc;
use std::time::Duration;

use warppool_work::{Difficulty, Freshness, Job, JobBook, JobId, STALE_GRACE};

use crate::notify::Prepared;

#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    book: JobBook<Prepared>,
    /// Counts tips since start; 0 before the first job.
    tip: u64,
    tip_since: Duration,
    /// The newest job's, unless it is below 1.
    most_difficulty: Option<Difficulty>,
    /// Of the job before the newest.
    former: Option<Prepared>,
}

/// A job found on the board.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted<'a> {
    pub(crate) job: &'a Arc<Job>,
    pub(crate) prepared: &'a Prepared,
    pub(crate) stale: bool,
}

impl Board {
    /// The board with one more job.
    #[must_use]
    pub(crate) fn with(&self, job: Arc<Job>, now: Duration) -> Self {
        let mut next = self.clone();
        if self.book.newest().is_none_or(|(newest, _)| newest.prev_hash != job.prev_hash) {
            next.tip += 1;
            next.tip_since = now;
        }
        next.most_difficulty = Difficulty::new(job.network_target.difficulty()).ok().filter(|d| *d >= Difficulty::ONE);
        next.former = self.newest().map(|(_, prepared)| prepared.clone());
        let prepared = Arc::new(Prepared::new(&job, next.tip));
        next.book.push(job, prepared, now);
        next
    }

    /// Gives back the coinbases of the job before the newest; they are built again for who still sends shares for it.
    pub(crate) fn forget_former(&self) {
        self.former.iter().for_each(Prepared::forget);
    }

    pub(crate) fn newest(&self) -> Option<(&Arc<Job>, &Prepared)> {
        self.book.newest().map(|(job, prepared)| (job, &**prepared))
    }

    pub(crate) fn get(&self, id: JobId, now: Duration) -> Option<Posted<'_>> {
        let (job, prepared, freshness) = self.book.get(id, now)?;
        // The grace after a new tip is for work on the one before, not for any older.
        let ancient = prepared.tip() + 1 < self.tip && !self.on_tip(job);
        Some(Posted { job, prepared, stale: freshness == Freshness::Stale || ancient })
    }

    fn on_tip(&self, job: &Job) -> bool {
        self.book.newest().is_some_and(|(newest, _)| newest.prev_hash == job.prev_hash)
    }

    pub(crate) fn tip(&self) -> u64 {
        self.tip
    }

    /// Whether shares for the tip before this one have stopped counting.
    pub(crate) fn grace_is_over(&self, now: Duration) -> bool {
        now >= self.tip_since + STALE_GRACE
    }

    /// What no session's difficulty may exceed, since every block is to be heard of. `None` on chains below difficulty 1:
    /// they are for tests, and nearly every hash is a block there.
    pub(crate) fn most_difficulty(&self) -> Option<Difficulty> {
        self.most_difficulty
    }
}
