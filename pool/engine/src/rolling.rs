//! A worker's pace over the last hour, kept in memory by the minute.

use warppool_work::Difficulty;

const MINUTES: usize = 60;

/// Work accepted in each of the last sixty minutes. Times are seconds of the engine's monotonic clock.
#[derive(Clone, Debug)]
pub struct Rolling {
    work: [f64; MINUTES],
    /// The minute the newest slot stands for.
    minute: u64,
    /// When the first share came, seconds; a younger worker is not averaged over time it was not there.
    since: Option<u64>,
}

impl Default for Rolling {
    fn default() -> Self {
        Self { work: [0.0; MINUTES], minute: 0, since: None }
    }
}

impl Rolling {
    /// Adds accepted work, in shares of difficulty 1.
    pub fn add(&mut self, work: f64, now: u64) {
        self.advance(now / 60);
        self.since.get_or_insert(now);
        self.work[(self.minute % MINUTES as u64) as usize] += work;
    }

    /// Mean hashes per second over the last `minutes` (at most an hour), counting the running minute.
    pub fn hashrate(&mut self, minutes: u64, now: u64) -> f64 {
        self.advance(now / 60);
        let Some(since) = self.since else { return 0.0 };
        let minutes = minutes.clamp(1, MINUTES as u64 - 1);
        let slots = (0..=minutes).filter_map(|back| self.minute.checked_sub(back));
        let work: f64 = slots.map(|minute| self.work[(minute % MINUTES as u64) as usize]).sum();
        let span = (minutes * 60 + now % 60).min(now.saturating_sub(since)).max(1);
        // A single share says nothing of a pace: a span shorter than a minute is counted as one.
        work * hashes_of(Difficulty::ONE) / span.max(60) as f64
    }

    fn advance(&mut self, minute: u64) {
        let passed = minute.saturating_sub(self.minute).min(MINUTES as u64);
        for n in 1..=passed {
            self.work[((self.minute + n) % MINUTES as u64) as usize] = 0.0;
        }
        if passed == MINUTES as u64 {
            self.work = [0.0; MINUTES];
        }
        self.minute = self.minute.max(minute);
    }
}

/// Hashes it takes on average to find a share of a difficulty.
pub fn hashes_of(difficulty: Difficulty) -> f64 {
    difficulty.get() * 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHES: f64 = 4_294_967_296.0;

    #[track_caller]
    fn about(value: f64, expected: f64) {
        assert!((value - expected).abs() <= expected * 0.02 + 1e-9, "{value} is not about {expected}");
    }

    #[test]
    fn a_steady_worker_has_its_rate_over_every_span() {
        let mut rolling = Rolling::default();
        (0..7200).for_each(|second| rolling.add(3.0, second));
        for minutes in [1, 5, 30, 59, 500] {
            about(rolling.hashrate(minutes, 7199), 3.0 * HASHES);
        }
    }

    #[test]
    fn a_worker_that_left_fades_and_is_forgotten_after_an_hour() {
        let mut rolling = Rolling::default();
        (0..600).for_each(|second| rolling.add(1.0, second));
        about(rolling.hashrate(5, 599 + 301), 0.0);
        assert!(rolling.hashrate(59, 1200) > 0.4 * HASHES);
        about(rolling.hashrate(59, 600 + 3600), 0.0);
    }

    #[test]
    fn a_newcomer_is_measured_over_the_time_it_is_here() {
        let mut rolling = Rolling::default();
        (5000..5120).for_each(|second| rolling.add(2.0, second));
        about(rolling.hashrate(59, 5119), 2.0 * HASHES);
    }
}
