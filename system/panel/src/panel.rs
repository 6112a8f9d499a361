//! The panel itself: reads the buttons, follows the orders, lights the LED, sleeps until something may change.

use embassy_futures::select::select;
use embassy_time::{Duration, Instant, Timer};
use tracing::{debug, info};

use crate::display::Display;
use crate::gesture::{Ending, Machine};
use crate::orders::{Inbox, News};
use crate::{Button, Led, State};

/// Two short presses of a power button that also serves as the panel's, so close together, power off.
const SECOND_PRESS: Duration = Duration::from_secs(2);

/// A button's level is read so often while it is up and at rest.
const SAMPLE_AT_REST: Duration = Duration::from_millis(20);
/// And so often while it settles or is held.
const SAMPLE_BUSY: Duration = Duration::from_millis(10);
/// A button that could not be read is tried again after so long.
const SAMPLE_FAILED: Duration = Duration::from_secs(1);
/// A power key's presses wait in the kernel until they are read.
const SAMPLE_POWER_KEY: Duration = Duration::from_millis(50);

/// What somebody meant by the button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gesture {
    /// A short press. The LED answers and shows the state; there is nothing else to do.
    ShowState,
    /// A short press that began while the LED showed [`State::WaitingForConfirmation`].
    Confirm,
    Restart,
    /// Let go where it means nothing, or a hold that was spoilt. Who waits for a confirmation may take it as a no.
    Cancelled,
    FactoryReset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelEvent {
    Gesture(Gesture),
    /// The power key was pressed (a wired button does the rest), or the power button twice in a row: power off.
    PowerKey,
}

/// LED and buttons with their machines.
pub struct Panel<E> {
    led: Box<dyn Led>,
    lit: Option<bool>,
    button: Option<Box<dyn Button>>,
    next_sample: Instant,
    gestures: Machine,
    /// A second short press powers off.
    second_press: bool,
    last_press: Option<Instant>,
    /// The press under way began while there was something to confirm.
    confirms: bool,
    power_key: Option<Box<dyn Button>>,
    power_key_down: bool,
    next_power_key: Instant,
    display: Display,
    events: E,
}

impl<E> std::fmt::Debug for Panel<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Panel")
            .field("display", &self.display)
            .field("gestures", &self.gestures)
            .finish_non_exhaustive()
    }
}

impl<E: FnMut(PanelEvent)> Panel<E> {
    /// A panel that shows [`State::Booting`] and hands what happens to `events`, which must not block.
    pub fn new(led: Box<dyn Led>, events: E) -> Self {
        let now = Instant::now();
        Self {
            led,
            lit: None,
            button: None,
            next_sample: now,
            gestures: Machine::new(now),
            second_press: false,
            last_press: None,
            confirms: false,
            power_key: None,
            power_key_down: false,
            next_power_key: now,
            display: Display::new(State::Booting, now),
            events,
        }
    }

    /// The button that makes gestures.
    #[must_use]
    pub fn with_button(mut self, button: Box<dyn Button>) -> Self {
        self.button = Some(button);
        self
    }

    /// The power button makes gestures, too, and powers off when it is pressed twice within two seconds.
    #[must_use]
    pub fn with_power_button(mut self, button: Box<dyn Button>) -> Self {
        self.second_press = true;
        self.with_button(button)
    }

    /// A power key beside the button: each press is a [`PanelEvent::PowerKey`].
    #[must_use]
    pub fn with_power_key(mut self, key: Box<dyn Button>) -> Self {
        self.power_key = Some(key);
        self
    }

    /// Runs until it is ordered to stop.
    pub async fn run(mut self, orders: Inbox) {
        loop {
            let now = Instant::now();
            let News { state, celebrate, stop } = orders.take();
            if stop {
                self.light(false);
                return;
            }
            if let Some(state) = state {
                self.display.set(state, now);
            }
            if celebrate {
                self.display.celebrate(now);
            }
            let sample = self.read_button(now);
            let key = self.read_power_key(now);
            let (lit, edge) = self.display.lit(now);
            self.light(lit);
            if let Some(wake) = [sample, key, edge].into_iter().flatten().min() {
                select(orders.filled(), Timer::at(wake)).await;
            } else {
                orders.filled().await;
            }
        }
    }

    fn light(&mut self, lit: bool) {
        // An LED that fails tells so itself; it is set again at the next occasion.
        if self.lit != Some(lit) {
            self.lit = self.led.set(lit).is_ok().then_some(lit);
        }
    }

    /// Reads the button when it is time to, and says when it is next.
    fn read_button(&mut self, now: Instant) -> Option<Instant> {
        let button = self.button.as_mut()?;
        if now >= self.next_sample {
            let was_held = self.gestures.held(now).is_some();
            let (ending, pause) = match button.pressed() {
                Ok(pressed) => {
                    let ending = self.gestures.sample(now, pressed);
                    (ending, if self.gestures.busy() { SAMPLE_BUSY } else { SAMPLE_AT_REST })
                }
                Err(_) => (self.gestures.lost(), SAMPLE_FAILED),
            };
            let held = self.gestures.held(now);
            if held.is_some() && !was_held {
                self.confirms = self.display.asks(now);
            }
            self.display.hold(held, now);
            if let Some(ending) = ending {
                self.finish(ending, now);
            }
            self.next_sample = next_tick(now, pause);
        }
        Some(self.next_sample)
    }

    /// A hold has ended.
    fn finish(&mut self, ending: Ending, now: Instant) {
        let last_press = self.last_press.take();
        let gesture = match ending {
            Ending::Press => {
                self.display.acknowledge(now);
                if self.confirms { Gesture::Confirm } else { Gesture::ShowState }
            }
            Ending::Restart => Gesture::Restart,
            Ending::Cancelled => Gesture::Cancelled,
            Ending::Reset => Gesture::FactoryReset,
        };
        if gesture == Gesture::ShowState && self.second_press {
            if last_press.is_some_and(|last| now - last <= SECOND_PRESS) {
                info!("power button: pressed twice");
                (self.events)(PanelEvent::PowerKey);
                return;
            }
            self.last_press = Some(now);
        }
        debug!(?gesture, "button");
        (self.events)(PanelEvent::Gesture(gesture));
    }

    /// Reads the power key when it is time to, and says when it is next.
    fn read_power_key(&mut self, now: Instant) -> Option<Instant> {
        let key = self.power_key.as_mut()?;
        if now >= self.next_power_key {
            let read = key.pressed();
            let down = *read.as_ref().unwrap_or(&false);
            if down && !self.power_key_down {
                info!("power key: pressed");
                (self.events)(PanelEvent::PowerKey);
            }
            self.power_key_down = down;
            self.next_power_key = next_tick(now, if read.is_ok() { SAMPLE_POWER_KEY } else { SAMPLE_FAILED });
        }
        Some(self.next_power_key)
    }
}

/// The next multiple of a pause: on one grid, what is sampled together wakes the thread once.
fn next_tick(now: Instant, pause: Duration) -> Instant {
    Instant::from_ticks((now.as_ticks() / pause.as_ticks() + 1) * pause.as_ticks())
}
