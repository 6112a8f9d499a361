//! A pattern: lit and dark for so many milliseconds, again and again or a number of times.
//!
//! Whether the LED is lit follows from the time since the pattern began and from nothing else: a late wake-up never shifts it.

use embassy_time::Duration;

/// Lit or dark for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub lit: bool,
    /// Milliseconds.
    pub ms: u32,
}

/// Steps in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Milliseconds: above zero lit, below zero dark.
    steps: &'static [i32],
    /// How often they are shown; dark afterwards. `None`: for ever.
    pub times: Option<u32>,
}

impl Pattern {
    pub(crate) const fn forever(steps: &'static [i32]) -> Self {
        Self { steps, times: None }
    }

    pub(crate) const fn times(times: u32, steps: &'static [i32]) -> Self {
        Self { steps, times: Some(times) }
    }

    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.iter().map(|&ms| Step { lit: ms > 0, ms: ms.unsigned_abs() })
    }

    /// All steps once.
    pub(crate) const fn cycle(&self) -> Duration {
        let mut ms = 0;
        let mut at = 0;
        while at < self.steps.len() {
            ms += self.steps[at].unsigned_abs() as u64;
            at += 1;
        }
        Duration::from_millis(ms)
    }

    /// From the first step to the last, where there is a last.
    pub const fn length(&self) -> Option<Duration> {
        match self.times {
            Some(times) => Some(Duration::from_millis(self.cycle().as_millis() * times as u64)),
            None => None,
        }
    }

    /// Whether the LED is lit `elapsed` after the pattern began, and how long until the next step; `None` once it has ended.
    pub fn at(&self, elapsed: Duration) -> (bool, Option<Duration>) {
        if self.length().is_some_and(|length| elapsed >= length) {
            return (false, None);
        }
        let mut within = elapsed.as_micros() % self.cycle().as_micros();
        for step in self.steps() {
            let length = u64::from(step.ms) * 1000;
            if within < length {
                return (step.lit, Some(Duration::from_micros(length - within)));
            }
            within -= length;
        }
        (false, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(pattern: Pattern, elapsed_ms: u64, lit: bool, left_ms: Option<u64>) {
        let expected = (lit, left_ms.map(Duration::from_millis));
        assert_eq!(pattern.at(Duration::from_millis(elapsed_ms)), expected, "after {elapsed_ms} ms");
    }

    #[test]
    fn the_time_since_the_start_says_whether_the_led_is_lit() {
        let blink = Pattern::forever(&[200, -300]);
        case(blink, 0, true, Some(200));
        case(blink, 199, true, Some(1));
        case(blink, 200, false, Some(300));
        case(blink, 499, false, Some(1));
        case(blink, 500, true, Some(200));
        case(blink, 500 * 86_400 * 365 + 250, false, Some(250));
    }

    #[test]
    fn a_pattern_of_so_many_times_ends_dark() {
        let twice = Pattern::times(2, &[100, -50]);
        assert_eq!(twice.length(), Some(Duration::from_millis(300)));
        case(twice, 150, true, Some(100));
        case(twice, 299, false, Some(1));
        case(twice, 300, false, None);
        case(twice, 1_000_000, false, None);
    }
}
