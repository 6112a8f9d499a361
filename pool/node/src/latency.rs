//! How long RPC calls take, as a histogram that costs a few atomic additions a call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

/// Upper bounds of the buckets in seconds; one more, without a bound, follows.
pub const LATENCY_BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Counts calls by duration.
#[derive(Debug, Default)]
pub struct Latency {
    /// Calls in each bucket alone, not cumulative.
    buckets: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// A histogram as Prometheus wants it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LatencySnapshot {
    /// Calls that took at most `LATENCY_BUCKETS[i]` seconds; the last entry counts them all (`+Inf`).
    pub cumulative: [u64; LATENCY_BUCKETS.len() + 1],
    /// Sum of all durations, seconds.
    pub sum_seconds: f64,
}

impl Latency {
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS.iter().position(|&bound| seconds <= bound).unwrap_or(LATENCY_BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Relaxed);
    }

    pub fn snapshot(&self) -> LatencySnapshot {
        let mut cumulative = [0; LATENCY_BUCKETS.len() + 1];
        let mut sum = 0;
        for (total, bucket) in cumulative.iter_mut().zip(&self.buckets) {
            sum += bucket.load(Relaxed);
            *total = sum;
        }
        LatencySnapshot { cumulative, sum_seconds: self.micros.load(Relaxed) as f64 / 1e6 }
    }
}

impl LatencySnapshot {
    /// The number of calls.
    pub fn count(&self) -> u64 {
        self.cumulative[LATENCY_BUCKETS.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_in_its_bucket_and_in_every_larger_one() {
        let latency = Latency::default();
        for millis in [0, 1, 2, 700, 9000] {
            latency.record(Duration::from_millis(millis));
        }
        let snapshot = latency.snapshot();
        assert_eq!(snapshot.cumulative, [2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 5]);
        assert_eq!(snapshot.count(), 5);
        assert!((snapshot.sum_seconds - 9.703).abs() < 1e-9);
    }
}
