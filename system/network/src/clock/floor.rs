//! The time before anybody has told it: a Pi without a battery starts in 1970. Pure helpers; PID 1 does the rest.

use std::time::Duration;

/// A clock that is off by no more than this is brought right little by little, so that nothing sees a jump.
pub const MAX_SLEW: Duration = Duration::from_millis(400);

/// A saved time further than this (ten years) after the build is a damaged file.
const MAX_LEAD: u64 = 10 * 365 * 24 * 3600;

/// How the clock is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Set at once; microseconds to add.
    Step(i64),
    /// Run faster or slower for a while; microseconds to add.
    Slew(i64),
}

/// A large offset is a step; a small one is too before the clock was ever set, because nothing relies on it yet.
pub fn correction(microseconds: i64, trusted: bool) -> Correction {
    if trusted && microseconds.unsigned_abs() <= MAX_SLEW.as_micros() as u64 {
        Correction::Slew(microseconds)
    } else {
        Correction::Step(microseconds)
    }
}

/// The earliest that it can be, Unix seconds: when this version was built, or the last time that was saved.
pub fn floor(built: u64, saved: Option<u64>) -> u64 {
    saved.filter(|saved| *saved <= built.saturating_add(MAX_LEAD)).map_or(built, |saved| saved.max(built))
}

/// The content of the file that keeps the last known time.
pub fn saved_text(now: u64) -> String {
    format!("{now}\n")
}

/// Reads it back.
pub fn parse_saved(text: &str) -> Option<u64> {
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_begin_before_the_build_nor_before_it_was_last_seen() {
        let cases = [
            (1000, None, 1000),
            (1000, Some(900), 1000),
            (1000, Some(5000), 5000),
            (1000, Some(u64::MAX), 1000),
            (u64::MAX, Some(5), u64::MAX),
        ];
        for (built, saved, want) in cases {
            assert_eq!(floor(built, saved), want, "{built} {saved:?}");
        }
    }

    #[test]
    fn a_saved_time_comes_back_and_rubbish_does_not() {
        assert_eq!(parse_saved(&saved_text(1_790_000_000)), Some(1_790_000_000));
        for rubbish in ["", "\0\0\0\0", "-5", "12 34", "99999999999999999999999"] {
            assert_eq!(parse_saved(rubbish), None, "{rubbish:?}");
        }
    }

    #[test]
    fn only_a_trusted_clock_is_moved_gently() {
        assert_eq!(correction(300_000, true), Correction::Slew(300_000));
        assert_eq!(correction(-300_000, true), Correction::Slew(-300_000));
        assert_eq!(correction(300_000, false), Correction::Step(300_000));
        assert_eq!(correction(-500_000, true), Correction::Step(-500_000));
        assert_eq!(correction(i64::MIN, true), Correction::Step(i64::MIN));
    }
}
