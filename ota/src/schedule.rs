//! When the feed is asked next, and whether an update is installed now. Time is an argument.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// When an update is installed without being asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Automatic {
    #[default]
    Off,
    /// Between these hours of local time, `from` included, `until` not; the window may span midnight.
    Window {
        from: u8,
        until: u8,
    },
    AtOnce,
}

const HOUR: u64 = 3600;
/// After a failure the feed is asked again this soon, seconds.
const SOON: u64 = HOUR;

/// When the feed is to be asked next, Unix seconds.
///
/// Devices that were switched on together do not ask together: up to a quarter of the interval is added, decided by the device and
/// the last time. `every_hours` of 0 counts as 1.
pub fn next_check(last: Option<u64>, failed: bool, every_hours: u16, device: &str, now: u64) -> u64 {
    let interval = u64::from(every_hours.max(1)) * HOUR;
    // A clock that was wrong may have left a time in the future.
    let last = last.map(|last| last.min(now));
    let wait = if failed { SOON.min(interval) } else { interval };
    let hash = Digest::of(format!("{device} {}", last.unwrap_or(0)).as_bytes());
    let draw = u64::from(u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]]));
    let jitter = (wait / 4 * draw) >> 32;
    match last {
        Some(last) => last + wait + jitter,
        // The first time: within minutes, when network and clock have come up.
        None => now + jitter.min(10 * 60),
    }
}

/// When an update may be installed again without being asked for, after so many failures in a row of which the last was then: an hour,
/// and each time twice as long, up to a day. Unix seconds.
pub fn next_install(failures: u32, last: Option<u64>, now: u64) -> u64 {
    let (Some(last), 1..) = (last, failures) else { return now };
    let hours = 1 << (failures - 1).min(5);
    last.min(now) + HOUR * u64::min(hours, 24)
}

/// What stands in the way of installing, apart from the time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// A found block is not yet settled.
    pub block_pending: bool,
    /// This version itself is on trial.
    pub on_trial: bool,
    /// Something is being installed already.
    pub installing: bool,
}

impl Busy {
    pub fn any(self) -> bool {
        self.block_pending || self.on_trial || self.installing
    }
}

/// Whether an offered update is installed now. `hour` is that of local time, 0 to 23; `None` until the clock is trusted.
pub fn install_now(automatic: Automatic, busy: Busy, hour: Option<u8>) -> bool {
    if busy.any() {
        return false;
    }
    match (automatic, hour) {
        (Automatic::AtOnce, _) => true,
        (Automatic::Window { from, until }, Some(hour)) if from <= until => (from..until).contains(&hour),
        (Automatic::Window { from, until }, Some(hour)) => hour >= from || hour < until,
        (Automatic::Off, _) | (Automatic::Window { .. }, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_may_span_midnight_and_nothing_is_installed_while_a_block_is_pending() {
        let window = |from, until| Automatic::Window { from, until };
        for (automatic, hour, expected) in [
            (Automatic::Off, Some(3), false),
            (Automatic::AtOnce, Some(15), true),
            (Automatic::AtOnce, None, true),
            (window(2, 5), Some(1), false),
            (window(2, 5), Some(2), true),
            (window(2, 5), Some(4), true),
            (window(2, 5), Some(5), false),
            (window(22, 4), Some(23), true),
            (window(22, 4), Some(3), true),
            (window(22, 4), Some(4), false),
            (window(3, 3), Some(3), false),
            (window(2, 5), None, false),
        ] {
            assert_eq!(install_now(automatic, Busy::default(), hour), expected, "{automatic:?} at {hour:?}");
            for busy in [
                Busy { block_pending: true, ..Busy::default() },
                Busy { on_trial: true, ..Busy::default() },
                Busy { installing: true, ..Busy::default() },
            ] {
                assert!(!install_now(automatic, busy, hour));
            }
        }
    }

    #[test]
    fn an_installation_that_fails_is_tried_again_after_ever_longer_times() {
        let now = 1_800_000_000;
        let waits: Vec<u64> = (0..9).map(|failures| (next_install(failures, Some(now), now) - now) / HOUR).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 24, 24, 24]);
        assert_eq!(next_install(9, None, now), now);
        assert_eq!(
            next_install(1, Some(now + 999 * HOUR), now),
            now + HOUR,
            "a clock that was wrong is no reason to wait"
        );
    }

    #[test]
    fn checks_come_after_the_interval_spread_over_a_quarter_of_it() {
        let now = 1_800_000_000;
        let next: Vec<u64> = (0..200).map(|n| next_check(Some(now), false, 24, &n.to_string(), now) - now).collect();
        assert!(next.iter().all(|wait| (24 * HOUR..=30 * HOUR).contains(wait)));
        let (least, most) = (next.iter().min().unwrap(), next.iter().max().unwrap());
        assert!(most - least > 5 * HOUR, "devices are spread: {least} to {most}");
        assert_eq!(next_check(Some(now), false, 24, "a", now), next_check(Some(now), false, 24, "a", now + 5));
    }

    #[test]
    fn failure_no_last_time_and_a_last_time_in_the_future_do_not_put_it_off() {
        let now = 1_800_000_000;
        for (last, failed, latest) in [
            (Some(now), true, now + 5 * HOUR / 4),
            (None, false, now + 600),
            (Some(now + 999 * HOUR), false, now + 30 * HOUR),
        ] {
            let next = next_check(last, failed, 24, "a", now);
            assert!((now..=latest).contains(&next), "{last:?} {failed}: in {} s", next - now);
        }
        assert!(next_check(Some(now), false, 0, "a", now) >= now + HOUR);
    }
}
