//! Pins of a Raspberry Pi's header through rppal, by the registers behind `/dev/gpiomem0`.

use rppal::gpio::{Gpio, InputPin, OutputPin, Pin};

use super::{Button, HardwareError, Led};
use crate::Pull;

/// The header carries GPIO 0 to 27; rppal's registers end there, too.
const LAST: u32 = 27;

#[derive(Debug)]
pub(super) struct PinLed {
    pin: OutputPin,
    active_low: bool,
}

#[derive(Debug)]
pub(super) struct PinButton {
    pin: InputPin,
    active_low: bool,
}

/// Whether this is a board whose pins rppal knows.
pub(super) fn is_here() -> bool {
    Gpio::new().is_ok()
}

fn take(line: u32) -> Result<Pin, HardwareError> {
    if line > LAST {
        return Err(HardwareError::NotOnHeader(line));
    }
    let taken = Gpio::new().and_then(|gpio| gpio.get(line as u8));
    taken.map_err(|source| HardwareError::Header { line, source })
}

impl PinLed {
    pub fn open(line: u32, active_low: bool) -> Result<Self, HardwareError> {
        let pin = take(line)?;
        // Dark from the first moment on.
        let pin = if active_low { pin.into_output_high() } else { pin.into_output_low() };
        Ok(Self { pin, active_low })
    }
}

impl Led for PinLed {
    fn set(&mut self, lit: bool) -> Result<(), HardwareError> {
        self.pin.write((lit != self.active_low).into());
        Ok(())
    }
}

impl PinButton {
    pub fn open(line: u32, active_low: bool, pull: Pull) -> Result<Self, HardwareError> {
        let pin = take(line)?;
        let pin = match pull {
            Pull::Up => pin.into_input_pullup(),
            Pull::Down => pin.into_input_pulldown(),
            Pull::None => pin.into_input(),
        };
        Ok(Self { pin, active_low })
    }
}

impl Button for PinButton {
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        Ok(self.pin.is_high() != self.active_low)
    }
}
