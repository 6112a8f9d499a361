//! Which sign the LED shows now: the button's before the answer to a press, before a celebration, before the state.

use embassy_time::{Duration, Instant};

use crate::gesture::Zone;
use crate::{Sign, State};

/// What there is to show.
#[derive(Debug)]
pub(crate) struct Display {
    state: State,
    /// When the state's pattern begins; ahead of now while something else is shown that ends by itself.
    state_from: Instant,
    /// When the last press was answered.
    acknowledged: Option<Instant>,
    celebrating: Option<Instant>,
    /// Since when the button is held, and what letting go would mean.
    held: Option<(Instant, Zone)>,
}

const ACKNOWLEDGEMENT: Duration = length(Sign::Acknowledged);
const CELEBRATION: Duration = length(Sign::BlockFound);

impl Display {
    pub fn new(state: State, now: Instant) -> Self {
        Self { state, state_from: now, acknowledged: None, celebrating: None, held: None }
    }

    /// Shows a state from its pattern's start; a state that is shown already goes on.
    pub fn set(&mut self, state: State, now: Instant) {
        if self.state != state {
            self.state = state;
            self.begin_state(now);
        }
    }

    pub fn celebrate(&mut self, now: Instant) {
        self.celebrating = Some(now);
        self.begin_state(now);
    }

    /// Answers a short press: whoever presses wants to see the state, so a celebration ends.
    pub fn acknowledge(&mut self, now: Instant) {
        self.celebrating = None;
        self.acknowledged = Some(now);
        self.begin_state(now);
    }

    /// Follows the button.
    pub fn hold(&mut self, held: Option<(Instant, Zone)>, now: Instant) {
        if self.held.is_some() && held.is_none() {
            self.begin_state(now);
        }
        self.held = held;
    }

    /// Whether a press that begins now can be meant as a yes: the question stands and nothing hides it.
    pub fn asks(&self, now: Instant) -> bool {
        self.sign(now).0 == Sign::State(State::WaitingForConfirmation)
    }

    /// Whether the LED is lit, and when that may change; `None`: not before something else happens.
    pub fn lit(&self, now: Instant) -> (bool, Option<Instant>) {
        let (sign, since) = self.sign(now);
        let (lit, left) = sign.pattern().at(now.saturating_duration_since(since));
        (lit, left.map(|left| now + left))
    }

    /// The sign to show, and when it began.
    fn sign(&self, now: Instant) -> (Sign, Instant) {
        if let Some((since, zone)) = self.held {
            return (Sign::from(zone), since + zone.begins());
        }
        if let Some(began) = running(self.acknowledged, ACKNOWLEDGEMENT, now) {
            return (Sign::Acknowledged, began);
        }
        if let Some(began) = running(self.celebrating, CELEBRATION, now) {
            return (Sign::BlockFound, began);
        }
        (Sign::State(self.state), self.state_from)
    }

    fn begin_state(&mut self, now: Instant) {
        let acknowledged = self.acknowledged.map_or(now, |began| began + ACKNOWLEDGEMENT);
        let celebrated = self.celebrating.map_or(now, |began| began + CELEBRATION);
        self.state_from = now.max(acknowledged).max(celebrated);
    }
}

impl From<Zone> for Sign {
    fn from(zone: Zone) -> Self {
        match zone {
            Zone::Press => Self::HeldPress,
            Zone::Restart => Self::HeldRestart,
            Zone::Cancel => Self::HeldCancel,
            Zone::Countdown => Self::Countdown,
            Zone::Reset => Self::HeldReset,
        }
    }
}

/// When it began, if it has not ended.
fn running(began: Option<Instant>, length: Duration, now: Instant) -> Option<Instant> {
    began.filter(|&began| now < began + length)
}

const fn length(sign: Sign) -> Duration {
    match sign.pattern().length() {
        Some(length) => length,
        None => panic!("what is shown before the state has an end"),
    }
}
