//! Tallies by bucket of time and worker: the shares that no tier holds yet.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use crate::{Resolution, Tally, WorkerId};

/// Buckets held at one time before the older ones are taken together: a day of five minutes.
const MOST_BUCKETS: usize = 288;

pub(crate) type ByWorker<T> = HashMap<WorkerId, T, BuildHasherDefault<IdHasher>>;

/// Worker ids are given one after the other by the pool itself: spreading their bits is hash enough.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// By the start of a five-minute bucket, then by worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tallies(BTreeMap<u64, ByWorker<Tally>>);

impl Tallies {
    pub(crate) fn add(&mut self, bucket: u64, worker: WorkerId, tally: &Tally) {
        self.0.entry(bucket).or_default().entry(worker).or_default().merge(tally);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (bucket, workers) in other.0 {
            for (worker, tally) in &workers {
                self.add(bucket, *worker, tally);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &ByWorker<Tally>)> {
        self.0.iter().map(|(bucket, workers)| (*bucket, workers))
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (u64, ByWorker<Tally>)> {
        self.0.into_iter()
    }

    /// The sums by bucket of a tier and worker.
    pub(crate) fn rolled_up(&self, tier: Resolution) -> Self {
        let mut sums = Self::default();
        for (bucket, workers) in self.iter() {
            for (worker, tally) in workers {
                sums.add(tier.bucket(bucket), *worker, tally);
            }
        }
        sums
    }

    /// Takes buckets together when they have become too many (a disk full for days): all but the newest day become hours,
    /// and when that is not enough, days. No count is lost.
    pub(crate) fn bound(&mut self) {
        for tier in [Resolution::Hour, Resolution::Day] {
            if self.0.len() <= MOST_BUCKETS {
                return;
            }
            let newest = self.0.keys().next_back().copied().unwrap_or(0);
            let recent = self.0.split_off(&newest.saturating_sub(Resolution::Hour.span_ms()));
            let old = std::mem::replace(self, Self(recent));
            self.merge(old.rolled_up(tier));
        }
    }

    #[cfg(test)]
    pub(crate) fn buckets(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.0.values().flat_map(HashMap::values).for_each(|tally| total.merge(tally));
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_full_for_a_month_costs_bounded_memory_and_no_count() {
        let mut tallies = Tallies::default();
        let one = Tally { accepted: 1, work: 2.0, ..Tally::default() };
        let span = Resolution::FiveMinutes.span_ms();
        for n in 0..30 * 288 {
            tallies.add(n * span, WorkerId(1), &one);
            tallies.bound();
            assert!(tallies.buckets() <= MOST_BUCKETS);
        }
        assert_eq!(tallies.total().accepted, 30 * 288);
        let newest = (30 * 288 - 1) * span;
        assert!(tallies.iter().any(|(bucket, _)| bucket == newest), "the newest keep their five minutes");
    }

    #[test]
    fn rolling_up_keeps_each_worker_apart() {
        let mut tallies = Tallies::default();
        for n in 0..24 {
            let tally = Tally { accepted: n, best: n as f64, ..Tally::default() };
            tallies.add(n * Resolution::FiveMinutes.span_ms(), WorkerId((n % 2) as u32), &tally);
        }
        let hours = tallies.rolled_up(Resolution::Hour);
        assert_eq!(hours.buckets(), 2);
        assert_eq!(hours.total(), tallies.total());
        let (_, first) = hours.iter().next().unwrap();
        assert_eq!(first[&WorkerId(0)].accepted, 10 + 8 + 6 + 4 + 2);
    }
}
