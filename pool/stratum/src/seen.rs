//! The shares seen, so that none counts twice: kept for the tip they belong to, and for the one before while shares for that
//! may still count.

use warppool_work::Duplicates;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Counts tips since start.
    tip: u64,
    newest: Duplicates,
    before: Duplicates,
}

impl Seen {
    /// Goes on to a newer tip. Never goes back: who looked at the board a while ago knows less, not more.
    pub(crate) fn follow(&mut self, tip: u64) {
        if tip > self.tip {
            self.before = if self.tip + 1 == tip { std::mem::take(&mut self.newest) } else { Duplicates::default() };
            self.newest.clear();
            self.tip = tip;
        }
    }

    /// Shares for the tip before `tip` have stopped counting.
    pub(crate) fn grace_is_over(&mut self, tip: u64) {
        if tip == self.tip {
            self.before.clear();
        }
    }

    /// Where a share for a job of this tip is looked for.
    pub(crate) fn of(&mut self, tip: u64) -> &mut Duplicates {
        if tip == self.tip { &mut self.newest } else { &mut self.before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: [u8; 32] = [7; 32];

    /// Whether a share seen for tip 1, and then one for tip 2, are still known after `then`.
    fn known(then: impl FnOnce(&mut Seen)) -> (bool, bool) {
        let mut seen = Seen::default();
        for tip in [1, 2] {
            seen.follow(tip);
            assert!(seen.of(tip).insert(&SHARE), "a tip begins without shares");
        }
        then(&mut seen);
        (!seen.of(1).insert(&SHARE), !seen.of(2).insert(&SHARE))
    }

    #[test]
    fn shares_are_known_for_the_newest_tip_and_the_one_before_until_its_grace_is_over() {
        assert_eq!(known(|_| {}), (true, true));
        assert_eq!(known(|seen| seen.grace_is_over(2)), (false, true));
    }

    #[test]
    fn an_outdated_look_at_the_board_forgets_nothing() {
        assert_eq!(known(|seen| seen.follow(1)), (true, true));
        // The grace of the tip before the one before.
        assert_eq!(known(|seen| seen.grace_is_over(1)), (true, true));
    }

    #[test]
    fn a_tip_left_out_forgets_all() {
        let mut seen = Seen::default();
        seen.follow(1);
        assert!(seen.of(1).insert(&SHARE));
        seen.follow(3);
        assert!(seen.of(2).insert(&SHARE));
        assert!(seen.of(3).insert(&SHARE));
    }
}
