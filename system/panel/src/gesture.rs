//! What a press means: how long the button was held, and that nothing but a deliberate hold does harm.
//!
//! The machine is fed samples of the level. What cannot be known counts as cancelled: a level that was there at the start, samples
//! too far apart (the machine stood still), a contact that chatters, a button that never comes up.

use embassy_time::{Duration, Instant};

/// A level counts once it has stayed for so long.
const DEBOUNCE: Duration = Duration::from_millis(30);
/// Held for so long and let go: restart.
const RESTART_FROM: Duration = Duration::from_secs(3);
/// Held for so long and let go: nothing.
const CANCEL_FROM: Duration = Duration::from_secs(6);
/// From here the LED counts down; let go before its end: nothing.
pub(crate) const COUNTDOWN_FROM: Duration = Duration::from_secs(10);
/// The countdown has ended; let go: factory reset. Only letting go resets, so a stuck button never does.
pub(crate) const RESET_FROM: Duration = Duration::from_secs(15);
/// Held for so long, the button is stuck, and nothing happens until it has come up.
const STUCK_FROM: Duration = Duration::from_secs(25);
/// Samples further apart than this say nothing about the time between.
const MAX_GAP: Duration = Duration::from_millis(500);
/// More changes of level than this within one hold are a bad contact, not a finger.
const MAX_FLICKERS: u8 = 10;

/// What letting go would mean now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    Press,
    Restart,
    Cancel,
    Countdown,
    Reset,
}

impl Zone {
    fn of(held: Duration) -> Self {
        match held {
            held if held < RESTART_FROM => Self::Press,
            held if held < CANCEL_FROM => Self::Restart,
            held if held < COUNTDOWN_FROM => Self::Cancel,
            held if held < RESET_FROM => Self::Countdown,
            _ => Self::Reset,
        }
    }

    /// How long the button is held when this zone begins.
    pub(crate) const fn begins(self) -> Duration {
        match self {
            Self::Press => Duration::from_ticks(0),
            Self::Restart => RESTART_FROM,
            Self::Cancel => CANCEL_FROM,
            Self::Countdown => COUNTDOWN_FROM,
            Self::Reset => RESET_FROM,
        }
    }
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Press,
    Restart,
    Cancelled,
    Reset,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing counts until the button is seen up: at the start, and after a hold that was spoilt.
    Ignoring,
    Up,
    Held {
        since: Instant,
        flickers: u8,
    },
}

/// Turns samples of a level into endings.
#[derive(Debug)]
pub(crate) struct Machine {
    stage: Stage,
    /// The level last sampled, and since when it is so.
    level: Option<(bool, Instant)>,
    sampled: Instant,
}

impl Machine {
    pub fn new(now: Instant) -> Self {
        Self { stage: Stage::Ignoring, level: None, sampled: now }
    }

    /// Takes the level (`true`: pressed) at `now`.
    pub fn sample(&mut self, now: Instant, pressed: bool) -> Option<Ending> {
        let gap = now - self.sampled;
        self.sampled = now;
        if gap > MAX_GAP {
            return self.lost();
        }
        let since = match self.level {
            Some((level, since)) if level == pressed => since,
            known => {
                self.level = Some((pressed, now));
                if known.is_some() && self.flickered() {
                    return self.lost();
                }
                now
            }
        };
        let settled = now - since >= DEBOUNCE;
        match self.stage {
            Stage::Ignoring if settled && !pressed => self.stage = Stage::Up,
            Stage::Up if settled && pressed => self.stage = Stage::Held { since, flickers: 0 },
            Stage::Held { since: pressed_at, .. } if settled && !pressed => {
                self.stage = Stage::Up;
                return Some(ending(since - pressed_at));
            }
            Stage::Held { since: pressed_at, .. } if pressed && now - pressed_at >= STUCK_FROM => return self.lost(),
            _ => {}
        }
        None
    }

    /// The level is not known any more: a hold is over, without effect.
    pub fn lost(&mut self) -> Option<Ending> {
        let held = matches!(self.stage, Stage::Held { .. });
        self.stage = Stage::Ignoring;
        self.level = None;
        held.then_some(Ending::Cancelled)
    }

    /// Since when the button is held, and what letting go would mean.
    pub fn held(&self, now: Instant) -> Option<(Instant, Zone)> {
        let Stage::Held { since, .. } = self.stage else { return None };
        // While it is not clear whether the button came up, the moment it may have done so is what counts.
        let until = match self.level {
            Some((false, up)) => up,
            _ => now,
        };
        Some((since, Zone::of(until - since)))
    }

    /// Whether a level is settling or the button is held, so that samples should come fast.
    pub fn busy(&self) -> bool {
        !matches!((self.stage, self.level), (Stage::Up, Some((false, _))))
    }

    /// Counts a change of level within a hold; says whether it was one too many.
    fn flickered(&mut self) -> bool {
        let Stage::Held { flickers, .. } = &mut self.stage else { return false };
        *flickers += 1;
        *flickers > MAX_FLICKERS
    }
}

fn ending(held: Duration) -> Ending {
    match Zone::of(held) {
        Zone::Press => Ending::Press,
        Zone::Restart => Ending::Restart,
        Zone::Cancel | Zone::Countdown => Ending::Cancelled,
        Zone::Reset => Ending::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples every 10 ms the levels that hold until the given milliseconds; returns the endings with their times.
    fn play(until: &[(u64, bool)]) -> Vec<(u64, Ending)> {
        let mut machine = Machine::new(Instant::from_millis(0));
        let mut endings = Vec::new();
        let mut now = 0;
        for &(end, pressed) in until {
            while now < end {
                endings.extend(machine.sample(Instant::from_millis(now), pressed).map(|ending| (now, ending)));
                now += 10;
            }
        }
        endings
    }

    #[track_caller]
    fn hold(ms: u64, expected: Ending) {
        let endings = play(&[(1000, false), (1000 + ms, true), (2000 + ms, false)]);
        assert_eq!(endings, [(1000 + ms + 30, expected)], "held for {ms} ms");
    }

    #[test]
    fn how_long_the_button_is_held_says_what_letting_go_means() {
        hold(40, Ending::Press);
        hold(200, Ending::Press);
        hold(2_990, Ending::Press);
        hold(3_000, Ending::Restart);
        hold(5_990, Ending::Restart);
        hold(6_000, Ending::Cancelled);
        hold(9_990, Ending::Cancelled);
        hold(10_000, Ending::Cancelled);
        hold(14_990, Ending::Cancelled);
        hold(15_000, Ending::Reset);
        hold(24_990, Ending::Reset);
    }

    #[test]
    fn a_button_that_never_comes_up_is_given_up_and_ignored_until_it_does() {
        assert_eq!(play(&[(1000, false), (3_600_000, true)]), [(26_000, Ending::Cancelled)]);
        let again = [(1000, false), (60_000, true), (61_000, false), (61_200, true), (62_000, false)];
        assert_eq!(play(&again), [(26_000, Ending::Cancelled), (61_230, Ending::Press)]);
    }

    #[test]
    fn a_level_present_at_the_start_is_ignored_until_it_is_gone() {
        assert_eq!(play(&[(20_000, true), (30_000, false)]), []);
        assert_eq!(
            play(&[(20_000, true), (21_000, false), (21_100, true), (22_000, false)]),
            [(21_130, Ending::Press)]
        );
    }

    #[test]
    fn bounces_at_both_ends_change_nothing() {
        let bounced = [
            (1000, false),
            (1010, true),
            (1020, false),
            (1030, true),
            (1040, false),
            (4100, true),
            (4110, false),
            (4120, true),
            (4130, false),
            (5000, true),
            (5010, false),
            (6000, false),
        ];
        // Held from 1040 to 5000.
        assert_eq!(play(&bounced), [(5030, Ending::Restart)]);
    }

    #[test]
    fn pulses_shorter_than_the_debounce_time_are_nothing() {
        let mut pulses = vec![(1000, false)];
        for n in 0..1000 {
            pulses.extend([(1020 + n * 100, true), (1100 + n * 100, false)]);
        }
        assert_eq!(play(&pulses), []);
    }

    #[test]
    fn a_contact_that_chatters_while_held_is_cancelled_once_and_then_ignored() {
        let mut chatter = vec![(1000, false), (2000, true)];
        for n in 0..800 {
            chatter.extend([(2010 + n * 20, false), (2020 + n * 20, true)]);
        }
        chatter.extend([(18_100, true), (19_000, false)]);
        let endings = play(&chatter);
        assert_eq!(endings.len(), 1, "{endings:?}");
        assert_eq!(endings[0].1, Ending::Cancelled);
    }

    #[test]
    fn a_hold_across_a_standstill_is_cancelled_whatever_its_length() {
        let mut machine = Machine::new(Instant::from_millis(0));
        for now in (0..=1000).step_by(10) {
            assert_eq!(machine.sample(Instant::from_millis(now), now >= 500), None);
        }
        // The button came up during the standstill, or did not: nobody knows.
        assert_eq!(machine.sample(Instant::from_millis(17_000), true), Some(Ending::Cancelled));
        for now in (17_010..60_000).step_by(10) {
            assert_eq!(machine.sample(Instant::from_millis(now), now < 20_000), None);
        }
    }

    #[test]
    fn a_level_that_cannot_be_read_cancels_a_hold() {
        let mut machine = Machine::new(Instant::from_millis(0));
        for now in (0..16_000).step_by(10) {
            machine.sample(Instant::from_millis(now), now >= 500);
        }
        assert_eq!(machine.lost(), Some(Ending::Cancelled));
        assert_eq!(machine.lost(), None);
    }
}
