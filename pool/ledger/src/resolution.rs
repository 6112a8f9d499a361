//! The tiers that shares are rolled up into, and the buckets of time in each.

/// Length of the finest roll-up.
pub(crate) const FIVE_MINUTES_MS: u64 = 5 * 60 * 1000;

/// A tier of rolled-up shares. Buckets begin at whole multiples of its length since the Unix epoch (days are UTC days).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    FiveMinutes,
    Hour,
    Day,
}

impl Resolution {
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// Length of a bucket in milliseconds.
    pub const fn span_ms(self) -> u64 {
        match self {
            Self::FiveMinutes => FIVE_MINUTES_MS,
            Self::Hour => 12 * FIVE_MINUTES_MS,
            Self::Day => 24 * 12 * FIVE_MINUTES_MS,
        }
    }

    /// Start of the bucket that holds a moment.
    pub const fn bucket(self, at_ms: u64) -> u64 {
        at_ms - at_ms % self.span_ms()
    }

    /// The tier that shows a span in a readable number of points: up to 288 of five minutes, 336 of an hour, then days.
    pub fn for_span(span_ms: u64) -> Self {
        if span_ms <= Self::Day.span_ms() {
            Self::FiveMinutes
        } else if span_ms <= 14 * Self::Day.span_ms() {
            Self::Hour
        } else {
            Self::Day
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarser_buckets_are_made_of_whole_finer_ones() {
        let at = 1_700_000_123_456;
        for pair in Resolution::ALL.windows(2) {
            assert_eq!(pair[1].span_ms() % pair[0].span_ms(), 0);
            assert_eq!(pair[1].bucket(pair[0].bucket(at)), pair[1].bucket(at));
        }
        assert_eq!(Resolution::Day.span_ms(), 86_400_000);
    }

    #[test]
    fn a_longer_span_is_shown_coarser() {
        let day = Resolution::Day.span_ms();
        let cases = [
            (day / 4, Resolution::FiveMinutes),
            (day, Resolution::FiveMinutes),
            (day + 1, Resolution::Hour),
            (7 * day, Resolution::Hour),
            (90 * day, Resolution::Day),
        ];
        for (span, tier) in cases {
            assert_eq!(Resolution::for_span(span), tier, "{span}");
        }
    }
}
