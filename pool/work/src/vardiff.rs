//! Variable difficulty: gives each miner work it finishes at a steady pace.
//!
//! An exponential average of the work done per second is compared with the difficulty in force. Outside the hysteresis band the
//! difficulty moves to where a share takes the target time, by at most one step's factor at once. Times are seconds of any
//! monotonic clock of the caller's.

use serde::{Deserialize, Serialize};

use crate::Difficulty;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VardiffSettings {
    pub enabled: bool,
    /// Wished time between shares, seconds.
    pub target_seconds: f64,
    pub min: Difficulty,
    pub max: Difficulty,
    /// Relative deviation that is left alone: 0.3 keeps a difficulty between 70 % and 130 % of the ideal one.
    pub hysteresis: f64,
    /// Largest factor of one change.
    pub max_step: f64,
    /// Shares after which the difficulty is looked at.
    pub retarget_shares: u32,
    /// Shares the average remembers, about.
    pub window: u32,
}

impl Default for VardiffSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            target_seconds: 10.0,
            min: Difficulty::new(1e-6).expect("above zero"),
            max: Difficulty::new(1e15).expect("above zero"),
            hysteresis: 0.3,
            max_step: 4.0,
            retarget_shares: 8,
            window: 16,
        }
    }
}

/// What outlives a connection and a restart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VardiffState {
    pub difficulty: Difficulty,
    /// Work per second, in shares of difficulty 1; zero while unknown.
    pub rate: f64,
}

/// The difficulty of one worker's session.
#[derive(Clone, Debug, PartialEq)]
pub struct Vardiff {
    settings: VardiffSettings,
    state: VardiffState,
    /// The operator or miner asked for just this difficulty.
    fixed: bool,
    since: f64,
    work: f64,
    shares: u32,
}

impl Vardiff {
    /// Starts at `difficulty` (clamped), knowing nothing of the miner.
    pub fn new(settings: VardiffSettings, difficulty: Difficulty, now: f64) -> Self {
        Self::resume(settings, VardiffState { difficulty, rate: 0.0 }, now)
    }

    /// Goes on where an earlier session of the worker ended.
    pub fn resume(settings: VardiffSettings, state: VardiffState, now: f64) -> Self {
        let difficulty = state.difficulty.clamp(settings.min, settings.max).rounded_for_miners();
        let rate = if state.rate.is_finite() && state.rate > 0.0 { state.rate } else { 0.0 };
        let state = VardiffState { difficulty, rate };
        Self { settings, state, fixed: false, since: now, work: 0.0, shares: 0 }
    }

    /// Holds just this difficulty from now on, whatever the pace (`d=` in a password). Clamped.
    pub fn fix(&mut self, difficulty: Difficulty, now: f64) {
        *self = Self { fixed: true, ..Self::new(self.settings, difficulty, now) };
    }

    pub fn difficulty(&self) -> Difficulty {
        self.state.difficulty
    }

    pub fn state(&self) -> VardiffState {
        self.state
    }

    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// An accepted share that was asked for at `credited`. Gives the new difficulty when it changes.
    pub fn on_share(&mut self, credited: Difficulty, now: f64) -> Option<Difficulty> {
        self.work += credited.get();
        self.shares += 1;
        if self.shares < self.settings.retarget_shares { None } else { self.retarget(now) }
    }

    /// Called from time to time, so that a miner for which the difficulty is too high is not waited for for ever.
    pub fn on_tick(&mut self, now: f64) -> Option<Difficulty> {
        // A silence of this length happens to a well-served miner once in e^8 = 3000 shares.
        if now - self.since < 8.0 * self.settings.target_seconds { None } else { self.retarget(now) }
    }

    fn retarget(&mut self, now: f64) -> Option<Difficulty> {
        if self.fixed || !self.settings.enabled {
            return None;
        }
        // A burst within a moment is no reason to divide by nothing; a millisecond bounds the rate.
        let elapsed = (now - self.since).max(1e-3);
        self.state.rate = if self.shares == 0 {
            // Nothing at all: the miner is at most about as fast as one share in this time would have been.
            let bound = self.state.difficulty.get() / elapsed;
            if self.state.rate > 0.0 { self.state.rate.min(bound) } else { bound }
        } else {
            let sample = self.work / elapsed;
            let weight = f64::from(self.shares) / f64::from(self.shares + self.settings.window);
            if self.state.rate > 0.0 { self.state.rate + weight * (sample - self.state.rate) } else { sample }
        };
        (self.since, self.work, self.shares) = (now, 0.0, 0);

        let current = self.state.difficulty.get();
        let ideal = self.state.rate * self.settings.target_seconds;
        if (ideal / current - 1.0).abs() <= self.settings.hysteresis {
            return None;
        }
        let step = self.settings.max_step.max(1.0);
        let next = Difficulty::new(ideal.clamp(current / step, current * step))
            .ok()?
            .clamp(self.settings.min, self.settings.max)
            .rounded_for_miners();
        (next != self.state.difficulty).then(|| {
            self.state.difficulty = next;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn d(value: f64) -> Difficulty {
        Difficulty::new(value).unwrap()
    }

    /// Mines steadily (no luck involved) for some seconds, with a tick every five; returns the number of changes.
    fn mine(vardiff: &mut Vardiff, rate: f64, from: f64, seconds: f64) -> usize {
        let (mut now, mut changes, mut tick, mut done) = (from, 0, from + 5.0, 0.0);
        while now < from + seconds {
            let next_share = now + (vardiff.difficulty().get() - done).max(0.0) / rate;
            let change = if next_share <= tick {
                (now, done) = (next_share, 0.0);
                vardiff.on_share(vardiff.difficulty(), now)
            } else {
                done += (tick - now) * rate;
                (now, tick) = (tick, tick + 5.0);
                vardiff.on_tick(now)
            };
            changes += usize::from(change.is_some());
        }
        changes
    }

    #[test]
    fn every_kind_of_machine_arrives_at_the_wished_pace_and_stays() {
        let settings = VardiffSettings::default();
        // Shares of difficulty 1 a second: from a NerdMiner's 50 kH/s to a rental's 100 PH/s.
        for hashrate in [5e4, 2e6, 1e12, 9e13, 6e14, 1e17] {
            let rate = hashrate / 2f64.powi(32);
            for start in [1e-3, 1.0, 1000.0, 1e6] {
                let mut vardiff = Vardiff::new(settings, d(start), 0.0);
                mine(&mut vardiff, rate, 0.0, 20_000.0);
                let pace = vardiff.difficulty().get() / rate;
                assert!((5.0..20.0).contains(&pace), "{hashrate} from {start}: a share in {pace} s");
                assert_eq!(mine(&mut vardiff, rate, 20_000.0, 3_600.0), 0, "{hashrate}: no more changes");
            }
        }
    }

    #[test]
    fn one_change_is_at_most_one_step() {
        let mut vardiff = Vardiff::new(VardiffSettings::default(), d(1000.0), 0.0);
        let changed = (1..=8).find_map(|n| vardiff.on_share(d(1000.0), f64::from(n) * 0.01));
        assert_eq!(changed, Some(d(4000.0)));
    }

    #[test]
    fn small_deviations_are_left_alone() {
        let mut vardiff = Vardiff::new(VardiffSettings::default(), d(1000.0), 0.0);
        for n in 1..200 {
            assert_eq!(vardiff.on_share(d(1000.0), f64::from(n) * 12.5), None, "25 % off is within hysteresis");
        }
    }

    #[test]
    fn a_silent_miner_is_stepped_down_until_the_minimum() {
        let settings = VardiffSettings { min: d(0.5), ..VardiffSettings::default() };
        let mut vardiff = Vardiff::new(settings, d(1e6), 0.0);
        for n in 1..2000 {
            vardiff.on_tick(f64::from(n) * 10.0);
        }
        assert_eq!(vardiff.difficulty(), d(0.5));
    }

    #[test]
    fn limits_hold_and_a_fixed_difficulty_stays() {
        let settings = VardiffSettings { min: d(10.0), max: d(20.0), ..VardiffSettings::default() };
        assert_eq!(Vardiff::new(settings, d(1.0), 0.0).difficulty(), d(10.0));
        let mut vardiff = Vardiff::new(settings, d(1000.0), 0.0);
        assert_eq!(vardiff.difficulty(), d(20.0));
        vardiff.fix(d(15.0), 0.0);
        assert_eq!(mine(&mut vardiff, 1e9, 0.0, 0.001), 0);
        assert_eq!(vardiff.difficulty(), d(15.0));
    }

    #[test]
    fn a_reconnecting_worker_goes_on_where_it_was() {
        let settings = VardiffSettings::default();
        let mut first = Vardiff::new(settings, d(1.0), 0.0);
        mine(&mut first, 1000.0, 0.0, 5_000.0);
        let again = Vardiff::resume(settings, first.state(), 9_000.0);
        assert_eq!(again.difficulty(), first.difficulty());
        assert_eq!(again.state(), first.state());
    }

    proptest! {
        #[test]
        fn whatever_comes_difficulty_stays_within_limits(
            steps in prop::collection::vec((any::<bool>(), 0.0..1e4f64), 1..200), start in 1e-6..1e12f64
        ) {
            let settings = VardiffSettings { min: d(0.001), max: d(1e9), ..VardiffSettings::default() };
            let mut vardiff = Vardiff::new(settings, d(start), 0.0);
            let mut now = 0.0;
            for (share, pause) in steps {
                now += pause;
                let credited = vardiff.difficulty();
                let _ = if share { vardiff.on_share(credited, now) } else { vardiff.on_tick(now) };
                prop_assert!(vardiff.difficulty() >= settings.min && vardiff.difficulty() <= settings.max);
            }
        }
    }
}
