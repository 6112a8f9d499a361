//! The jobs miners may still answer: kept by age, so that a late block is never thrown away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::{Job, JobId};

/// How long an old job is kept. A share for it no longer counts, but a block might still be one.
pub const KEEP: Duration = Duration::from_mins(10);
/// How long after a new tip shares for the old one still count.
pub const STALE_GRACE: Duration = Duration::from_secs(5);
/// Most jobs kept, whatever their age.
const MOST: usize = 256;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// On the current tip, or its tip went less than [`STALE_GRACE`] ago.
    Current,
    Stale,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    job: Arc<Job>,
    /// What the server keeps beside the job (prepared lines, coinbases).
    extra: Arc<T>,
    issued: Duration,
}

/// Jobs by id, newest last. Times are from any monotonic clock of the caller's.
#[derive(Clone, Debug)]
pub struct JobBook<T> {
    entries: VecDeque<Entry<T>>,
    /// When the current tip's first job came.
    tip_since: Duration,
}

impl<T> Default for JobBook<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), tip_since: Duration::ZERO }
    }
}

impl<T> JobBook<T> {
    /// Adds a job and forgets those older than [`KEEP`], except the newest.
    pub fn push(&mut self, job: Arc<Job>, extra: Arc<T>, now: Duration) {
        if self.entries.back().is_none_or(|newest| newest.job.prev_hash != job.prev_hash) {
            self.tip_since = now;
        }
        self.entries.push_back(Entry { job, extra, issued: now });
        // A job is out of use from when the next one came; it is kept so long after that.
        while self.entries.len() > MOST || self.entries.get(1).is_some_and(|next| next.issued + KEEP < now) {
            self.entries.pop_front();
        }
    }

    pub fn newest(&self) -> Option<(&Arc<Job>, &Arc<T>)> {
        self.entries.back().map(|entry| (&entry.job, &entry.extra))
    }

    /// A job still kept, and whether shares for it count. Looks at the newest first.
    pub fn get(&self, id: JobId, now: Duration) -> Option<(&Arc<Job>, &Arc<T>, Freshness)> {
        let newest = self.entries.back()?;
        let entry = self.entries.iter().rev().find(|entry| entry.job.id == id)?;
        let current = entry.job.prev_hash == newest.job.prev_hash || now < self.tip_since + STALE_GRACE;
        Some((&entry.job, &entry.extra, if current { Freshness::Current } else { Freshness::Stale }))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
