//! What is done about a miner that sends nothing but refused shares: new work, then a reconnect, then the door.

use std::time::Duration;

/// Fewer rejects than this are bad luck, however long it takes.
const LEAST: u32 = 10;

/// What is due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    Nothing,
    /// Send the newest job again.
    Resend,
    /// Ask it to connect anew.
    Reconnect,
    /// Close, and shut it out for a while.
    Drop,
}

/// Rungs and when they come, counted from the first reject.
const RUNGS: [(Duration, Rung); 3] = [
    (Duration::from_mins(1), Rung::Resend),
    (Duration::from_mins(2), Rung::Reconnect),
    (Duration::from_mins(3), Rung::Drop),
];

/// One session's place on the ladder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ladder {
    since: Duration,
    rejects: u32,
    /// Rungs already taken.
    taken: u8,
}

impl Ladder {
    #[inline]
    pub(crate) fn accepted(&mut self) {
        if self.rejects != 0 {
            *self = Self::default();
        }
    }

    /// Duplicates are not counted here: some firmware repeats itself when the difficulty changes.
    pub(crate) fn refused(&mut self, now: Duration) -> Rung {
        if self.rejects == 0 {
            self.since = now;
        }
        self.rejects = self.rejects.saturating_add(1);
        match RUNGS.get(usize::from(self.taken)) {
            Some((after, rung)) if self.rejects >= LEAST && now >= self.since + *after => {
                self.taken += 1;
                *rung
            }
            _ => Rung::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn nothing_but_rejects_climbs_the_ladder_rung_by_rung() {
        let mut ladder = Ladder::default();
        let rungs: Vec<_> = (0..=200)
            .map(|second| (second, ladder.refused(seconds(1000 + second))))
            .filter(|(_, rung)| *rung != Rung::Nothing)
            .collect();
        assert_eq!(rungs, [(60, Rung::Resend), (120, Rung::Reconnect), (180, Rung::Drop)]);
    }

    #[test]
    fn one_good_share_steps_off() {
        let mut ladder = Ladder::default();
        for second in 0..600 {
            assert_eq!(ladder.refused(seconds(second)), Rung::Nothing);
            if second % 59 == 0 {
                ladder.accepted();
            }
        }
    }

    #[test]
    fn a_few_rejects_over_a_long_time_are_bad_luck() {
        let mut ladder = Ladder::default();
        for n in 0..u64::from(LEAST - 1) {
            assert_eq!(ladder.refused(seconds(n * 100)), Rung::Nothing);
        }
        assert_eq!(ladder.refused(seconds(1000)), Rung::Resend);
        assert_eq!(ladder.refused(seconds(1000)), Rung::Reconnect, "a rung is not skipped");
    }
}
