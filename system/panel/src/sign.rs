//! The table: all that the LED can show, with its pattern and what it means. The book's page and picture are written from it.
//!
//! One LED, brightness only, told apart without a stopwatch: lit with winks, the pool works; dark with counted flashes, it needs
//! somebody; even blinking, it is busy and wants its power left on; long and short together, it waits for something.

use crate::Pattern;

/// How the appliance is, as PID 1 says with [`crate::PanelHandle::set`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    #[default]
    Booting,
    NeedsSetup,
    /// The pool works and has miners.
    Mining,
    /// The pool works; no miner is connected.
    NoMiners,
    NodeUnreachable,
    Updating,
    /// A new version runs and is not committed yet.
    Trial,
    SafeMode,
    Fault,
    /// A claim or a downgrade waits for a press.
    WaitingForConfirmation,
    RestartPending,
    ShuttingDown,
}

/// All that the LED can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    State(State),
    BlockFound,
    /// The answer to a short press; the state follows.
    Acknowledged,
    /// The button is held, and letting go is a short press.
    HeldPress,
    /// Letting go restarts.
    HeldRestart,
    /// Letting go does nothing.
    HeldCancel,
    /// On the way to a factory reset; letting go does nothing yet.
    Countdown,
    /// Letting go resets.
    HeldReset,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    /// What one sees.
    pub look: &'static str,
    /// What it means and what to do.
    pub meaning: &'static str,
    pub pattern: Pattern,
}

impl State {
    pub const ALL: [Self; 12] = [
        Self::Mining,
        Self::NoMiners,
        Self::Trial,
        Self::NeedsSetup,
        Self::NodeUnreachable,
        Self::SafeMode,
        Self::Fault,
        Self::Booting,
        Self::Updating,
        Self::WaitingForConfirmation,
        Self::RestartPending,
        Self::ShuttingDown,
    ];
}

impl Sign {
    /// What is shown while nobody touches the button, in the order of the book.
    pub fn untouched() -> impl Iterator<Item = Self> {
        State::ALL.into_iter().map(Self::State).chain([Self::BlockFound])
    }

    /// What the button brings up, from a short press to a long one.
    pub const TOUCHED: [Self; 6] =
        [Self::Acknowledged, Self::HeldPress, Self::HeldRestart, Self::HeldCancel, Self::Countdown, Self::HeldReset];

    pub const fn pattern(self) -> Pattern {
        self.row().pattern
    }

    pub const fn row(self) -> Row {
        match self {
            Self::State(state) => state.row(),
            Self::BlockFound => Row {
                name: "Block found",
                look: "bursts of five flickers for ten seconds, then the state again",
                meaning: "The pool has found a block.",
                pattern: Pattern::times(8, &[80, -80, 80, -80, 80, -80, 80, -80, 80, -530]),
            },
            Self::Acknowledged => Row {
                name: "Press seen",
                look: "three flickers, a moment dark, then the state from its start",
                meaning: "The answer to a short press.",
                pattern: Pattern::times(1, &[-100, 100, -100, 100, -100, 100, -700]),
            },
            Self::HeldPress => Row {
                name: "Held, up to 3 s",
                look: "lit",
                meaning: "Letting go shows the state, or confirms what waits for it.",
                pattern: Pattern::forever(&[1000]),
            },
            Self::HeldRestart => Row {
                name: "Held, 3 to 6 s",
                look: "one long, one short",
                meaning: "Letting go restarts.",
                // Dark first, so that the three seconds' end is seen at once.
                pattern: Pattern::forever(&[-200, 150, -450, 600]),
            },
            Self::HeldCancel => Row {
                name: "Held, 6 to 10 s",
                look: "dark",
                meaning: "Letting go does nothing.",
                pattern: Pattern::forever(&[-1000]),
            },
            Self::Countdown => Row {
                name: "Held, 10 to 15 s",
                look: "blinking ever faster",
                meaning: "The countdown to a factory reset; letting go does nothing yet.",
                pattern: Pattern::times(
                    1,
                    &[
                        400, -400, 320, -320, 260, -260, 220, -220, 180, -180, 150, -150, 120, -120, 120, -120, 120,
                        -120, 100, -100, 100, -100, 100, -100, 80, -80, 80, -80, 80, -80, 70, -70,
                    ],
                ),
            },
            Self::HeldReset => Row {
                name: "Held, 15 to 25 s",
                look: "lit",
                meaning: "Letting go now resets to the factory state. Held longer, the button counts as stuck and does nothing.",
                pattern: Pattern::forever(&[1000]),
            },
        }
    }
}

impl State {
    const fn row(self) -> Row {
        match self {
            // The winks come early in a pattern, so that a press is answered soon.
            Self::Mining => Row {
                name: "Mining",
                look: "lit, one wink every 3 s",
                meaning: "All is well: the pool works and has miners.",
                pattern: Pattern::forever(&[600, -200, 2200]),
            },
            Self::NoMiners => Row {
                name: "No miners",
                look: "lit, two winks every 3 s",
                meaning: "The pool works and no miner is connected: point one at `warppool.local:3333`.",
                pattern: Pattern::forever(&[600, -200, 300, -200, 1700]),
            },
            Self::Trial => Row {
                name: "Trial",
                look: "lit, three winks every 3 s",
                meaning: "A new version mines on trial; it stays when it proves well, else the old one comes back. Nothing to do.",
                pattern: Pattern::forever(&[600, -200, 300, -200, 300, -200, 1200]),
            },
            Self::NeedsSetup => Row {
                name: "Needs set-up",
                look: "dark, two flashes every 3 s",
                meaning: "It does not know your node yet: put a `warppool.toml` on the drive `WARPPOOL`.",
                pattern: Pattern::forever(&[200, -300, 200, -2300]),
            },
            Self::NodeUnreachable => Row {
                name: "Node unreachable",
                look: "dark, three flashes every 3 s",
                meaning: "No Bitcoin node answers; miners keep their job. Look at the node; `warppool ota status` says more.",
                pattern: Pattern::forever(&[200, -300, 200, -300, 200, -1800]),
            },
            Self::SafeMode => Row {
                name: "Safe mode",
                look: "dark, four flashes every 3.5 s",
                meaning: "After too many failures the pool mines with the last good settings and keeps its statistics in memory. \
                          `warppool ota status` says why.",
                pattern: Pattern::forever(&[200, -300, 200, -300, 200, -300, 200, -1800]),
            },
            Self::Fault => Row {
                name: "Fault",
                look: "SOS: three short, three long, three short",
                meaning: "Something is broken that somebody has to mend. `WARPPOOL-RESULT.txt` or `warppool ota status` says what.",
                pattern: Pattern::forever(&[
                    200, -200, 200, -200, 200, -500, 600, -200, 600, -200, 600, -500, 200, -200, 200, -200, 200, -1500,
                ]),
            },
            Self::Booting => Row {
                name: "Booting",
                look: "even and slow: a second lit, a second dark",
                meaning: "The device starts. Wait.",
                pattern: Pattern::forever(&[1000, -1000]),
            },
            Self::Updating => Row {
                name: "Updating",
                look: "even and quick: two blinks a second",
                meaning: "An update is being written. Wait, and leave the power on.",
                pattern: Pattern::forever(&[250, -250]),
            },
            Self::WaitingForConfirmation => Row {
                name: "Waiting for a press",
                look: "two short, one long",
                meaning: "A claim or a change to an older version waits: press the button if it was you who asked.",
                pattern: Pattern::forever(&[150, -200, 150, -200, 700, -600]),
            },
            Self::RestartPending => Row {
                name: "Restart pending",
                look: "one long, one short",
                meaning: "The device restarts as soon as it may.",
                pattern: Pattern::forever(&[600, -200, 150, -450]),
            },
            Self::ShuttingDown => Row {
                name: "Shutting down",
                look: "four flashes, each shorter, then dark",
                meaning: "The device stops. Once the LED has stayed dark for ten seconds the power may go.",
                pattern: Pattern::times(1, &[1200, -300, 800, -300, 400, -300, 150, -300]),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::gesture::{COUNTDOWN_FROM, RESET_FROM};

    /// Lit and dark times in order, neighbours joined, each told only as short or long, from its first edge on.
    fn looks(pattern: Pattern) -> Vec<(bool, bool)> {
        let mut joined: Vec<(bool, u32)> = Vec::new();
        for step in pattern.steps() {
            match joined.last_mut() {
                Some(last) if last.0 == step.lit => last.1 += step.ms,
                _ => joined.push((step.lit, step.ms)),
            }
        }
        if pattern.times.is_none() && joined.len() > 1 && joined[0].0 == joined[joined.len() - 1].0 {
            joined[0].1 += joined.pop().expect("not empty").1;
        }
        let classes: Vec<_> = joined.iter().map(|&(lit, ms)| (lit, ms > 350)).collect();
        // Whoever looks does not know where it begins.
        (0..classes.len()).map(|turn| [&classes[turn..], &classes[..turn]].concat()).min().expect("a pattern has steps")
    }

    #[test]
    fn no_two_states_look_alike_to_somebody_without_a_stopwatch() {
        let mut seen = HashSet::new();
        for sign in Sign::untouched() {
            assert!(seen.insert(looks(sign.pattern())), "{} looks like another", sign.row().name);
        }
    }

    #[test]
    fn every_state_is_in_the_table_once() {
        let distinct: HashSet<_> = State::ALL.into_iter().collect();
        assert_eq!(distinct.len(), State::ALL.len());
        // A state that is added must be added to ALL: this match stops the build until somebody looks here.
        for state in State::ALL {
            match state {
                State::Booting
                | State::NeedsSetup
                | State::Mining
                | State::NoMiners
                | State::NodeUnreachable
                | State::Updating
                | State::Trial
                | State::SafeMode
                | State::Fault
                | State::WaitingForConfirmation
                | State::RestartPending
                | State::ShuttingDown => {}
            }
        }
    }

    #[test]
    fn every_step_is_long_enough_to_be_seen_and_every_cycle_short_enough_to_wait_for() {
        for sign in Sign::untouched().chain(Sign::TOUCHED) {
            let Row { name, pattern, .. } = sign.row();
            assert!(pattern.steps().all(|step| step.ms >= 70), "{name}");
            assert!(pattern.cycle().as_millis() <= 8000, "{name}");
        }
    }

    #[test]
    fn the_countdown_gets_faster_all_the_way_and_fills_its_time() {
        let pattern = Sign::Countdown.pattern();
        assert!(pattern.steps().is_sorted_by(|a, b| a.ms >= b.ms));
        assert_eq!(pattern.length(), Some(RESET_FROM - COUNTDOWN_FROM));
    }

    #[test]
    fn a_celebration_lasts_some_seconds_and_ends() {
        let length = Sign::BlockFound.pattern().length().expect("it ends").as_millis();
        assert!((8_000..=12_000).contains(&length), "{length} ms");
    }
}
