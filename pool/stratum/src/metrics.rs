//! What the server counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::limits::TurnedAway;
use crate::pool::{Outcome, Reason, RefusedFor, ShareReport};

/// Counts since start, and what is now.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Connections now, without TLS and with it.
    pub plain: usize,
    pub tls: usize,
    /// Connections now that have a worker and get jobs.
    pub mining: usize,
    /// Of those, how many have been without a job for longer than the keep-alive.
    pub silent: usize,
    /// Connections let in.
    pub connects: u64,
    pub turned_away: Vec<(TurnedAway, u64)>,
    pub disconnects: Vec<(Reason, u64)>,
    pub authorized: u64,
    pub authorize_refused: u64,
    pub authorize_limited: u64,
    pub accepted: u64,
    pub refused: Vec<(RefusedFor, u64)>,
    /// Work accepted, in shares of difficulty 1.
    pub work: f64,
    pub blocks: u64,
    pub broadcasts: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connects: AtomicU64,
    pub(crate) authorized: AtomicU64,
    pub(crate) authorize_refused: AtomicU64,
    pub(crate) authorize_limited: AtomicU64,
    pub(crate) blocks: AtomicU64,
    pub(crate) broadcasts: AtomicU64,
    accepted: AtomicU64,
    /// The bits of a double.
    work: AtomicU64,
    refused: [AtomicU64; RefusedFor::ALL.len()],
    turned_away: [AtomicU64; TurnedAway::ALL.len()],
    disconnects: [AtomicU64; Reason::ALL.len()],
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn turned_away(&self, cause: TurnedAway) {
        Self::count(&self.turned_away[cause as usize]);
    }

    pub(crate) fn disconnected(&self, reason: Reason) {
        Self::count(&self.disconnects[reason as usize]);
    }

    pub(crate) fn refused(&self, reason: RefusedFor) {
        Self::count(&self.refused[reason as usize]);
    }

    /// Once for all shares of a read.
    pub(crate) fn shares(&self, shares: &[ShareReport]) {
        let (mut accepted, mut work) = (0, 0.0);
        for share in shares {
            match share.outcome {
                Outcome::Accepted => {
                    accepted += 1;
                    work += share.credited;
                }
                Outcome::Refused(reason) => self.refused(reason),
            }
        }
        if accepted > 0 {
            self.accepted.fetch_add(accepted, Relaxed);
            let add = |bits| Some((f64::from_bits(bits) + work).to_bits());
            let _ = self.work.fetch_update(Relaxed, Relaxed, add);
        }
    }

    /// All but what is counted from living connections.
    pub(crate) fn snapshot(&self) -> Metrics {
        fn read<T: Copy>(names: &[T], counts: &[AtomicU64]) -> Vec<(T, u64)> {
            names.iter().zip(counts).map(|(name, count)| (*name, count.load(Relaxed))).collect()
        }
        Metrics {
            connects: self.connects.load(Relaxed),
            turned_away: read(&TurnedAway::ALL, &self.turned_away),
            disconnects: read(&Reason::ALL, &self.disconnects),
            authorized: self.authorized.load(Relaxed),
            authorize_refused: self.authorize_refused.load(Relaxed),
            authorize_limited: self.authorize_limited.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: read(&RefusedFor::ALL, &self.refused),
            work: f64::from_bits(self.work.load(Relaxed)),
            blocks: self.blocks.load(Relaxed),
            broadcasts: self.broadcasts.load(Relaxed),
            ..Metrics::default()
        }
    }
}
