//! A session's hashrate from its accepted shares: an exponential average over the last minutes.

/// Seconds the average remembers, about.
const MEMORY: f64 = 300.0;
/// Hashes a share of difficulty 1 takes on average.
const HASHES: f64 = 4_294_967_296.0;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// Difficulty-weighted, decayed to `at`.
    work: f64,
    at: f64,
    /// When work was first sent; the time before does not count.
    since: f64,
}

impl Meter {
    /// Times are seconds of one monotonic clock.
    pub(crate) fn starting(now: f64) -> Self {
        Self { work: 0.0, at: now, since: now }
    }

    #[inline]
    pub(crate) fn add(&mut self, work: f64, now: f64) {
        if now > self.at {
            self.work *= ((self.at - now) / MEMORY).exp();
            self.at = now;
        }
        self.work += work;
    }

    /// Hashes a second.
    pub(crate) fn hashrate(&self, now: f64) -> f64 {
        let elapsed = (now - self.since).max(1.0);
        // A young session has not filled the memory yet.
        let span = MEMORY * (1.0 - (-elapsed / MEMORY).exp());
        self.work * ((self.at - now).min(0.0) / MEMORY).exp() / span * HASHES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_miner_is_measured_right_from_early_on_and_forgotten_when_gone() {
        let mut meter = Meter::starting(100.0);
        for n in 1..=2000 {
            let now = 100.0 + f64::from(n) * 2.0;
            meter.add(10.0, now);
            if n > 20 {
                let rate = meter.hashrate(now) / HASHES;
                assert!((rate - 5.0).abs() < 0.3, "{rate} work a second after {n} shares");
            }
        }
        assert!(meter.hashrate(4100.0 + 3600.0) / HASHES < 1e-4);
        assert_eq!(Meter::default().hashrate(50.0).to_bits(), 0f64.to_bits());
    }
}
