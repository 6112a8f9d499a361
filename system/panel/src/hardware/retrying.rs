//! Hardware that is missing or fails: told once, left alone for a while, opened again.

use embassy_time::{Duration, Instant};
use tracing::{info, warn};

use super::{Button, HardwareError, Led};

/// A device is opened again at most this often; modules may still be on their way while the system boots.
const AGAIN: Duration = Duration::from_secs(2);

/// An LED or a button that opens itself when it is first used, and again after a failure.
pub struct Retrying<T> {
    name: &'static str,
    open: Box<dyn FnMut() -> Result<T, HardwareError>>,
    device: Option<T>,
    next_try: Option<Instant>,
    told: bool,
}

impl<T> std::fmt::Debug for Retrying<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retrying")
            .field("name", &self.name)
            .field("open", &self.device.is_some())
            .finish_non_exhaustive()
    }
}

impl<T> Retrying<T> {
    /// `name` stands in the log.
    pub fn new(name: &'static str, open: impl FnMut() -> Result<T, HardwareError> + 'static) -> Self {
        Self { name, open: Box::new(open), device: None, next_try: None, told: false }
    }

    fn with<R>(&mut self, use_it: impl FnOnce(&mut T) -> Result<R, HardwareError>) -> Result<R, HardwareError> {
        let now = Instant::now();
        let outcome = match &mut self.device {
            Some(device) => use_it(device),
            None if self.next_try.is_some_and(|at| now < at) => {
                return Err(HardwareError::Missing(self.name.to_owned()));
            }
            None => (self.open)().and_then(|device| {
                if self.told {
                    info!("{}: found", self.name);
                }
                use_it(self.device.insert(device))
            }),
        };
        if let Err(why) = &outcome {
            if !self.told {
                warn!("{}: {why}; going on without, and looking for it again", self.name);
            }
            self.told = true;
            self.device = None;
            self.next_try = Some(now + AGAIN);
        }
        outcome
    }
}

impl<T: Led> Led for Retrying<T> {
    fn set(&mut self, lit: bool) -> Result<(), HardwareError> {
        self.with(|led| led.set(lit))
    }
}

impl<T: Button> Button for Retrying<T> {
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        self.with(Button::pressed)
    }
}
