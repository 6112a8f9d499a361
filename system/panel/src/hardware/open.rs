//! From settings to devices.

use std::path::Path;

use super::act::ActLed;
use super::chardev::{LineButton, LineLed};
#[cfg(all(feature = "rppal", target_arch = "aarch64"))]
use super::header;
use super::power_key::PowerKey;
use super::{Button, HardwareError, Led, NoLed, Retrying};
use crate::{LedSource, PanelConfig};

impl Led for Box<dyn Led> {
    fn set(&mut self, lit: bool) -> Result<(), HardwareError> {
        (**self).set(lit)
    }
}

impl Button for Box<dyn Button> {
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        (**self).pressed()
    }
}

/// The LED that is configured.
pub fn led(config: &PanelConfig) -> Box<dyn Led> {
    let config = config.clone();
    match config.led {
        LedSource::Act => Box::new(Retrying::new("ACT LED", move || {
            ActLed::open(Path::new("/sys/class/leds"), config.led_active_low)
        })),
        LedSource::Pin => Box::new(Retrying::new("status LED", move || open_led(&config))),
        LedSource::None => Box::new(NoLed),
    }
}

/// The button on its pin.
pub fn button(config: &PanelConfig) -> Box<dyn Button> {
    let config = config.clone();
    Box::new(Retrying::new("button", move || open_button(&config)))
}

pub fn power_key() -> Box<dyn Button> {
    Box::new(Retrying::new("power button", || PowerKey::open(Path::new("/sys/class/input"), Path::new("/dev/input"))))
}

fn open_led(config: &PanelConfig) -> Result<Box<dyn Led>, HardwareError> {
    let PanelConfig { led_pin: line, led_active_low: active_low, .. } = *config;
    #[cfg(all(feature = "rppal", target_arch = "aarch64"))]
    if on_header(config) {
        return Ok(Box::new(header::PinLed::open(line, active_low)?));
    }
    Ok(Box::new(LineLed::open(&config.chip, line, active_low)?))
}

fn open_button(config: &PanelConfig) -> Result<Box<dyn Button>, HardwareError> {
    let PanelConfig { button_pin: line, button_active_low: active_low, button_pull: pull, .. } = *config;
    #[cfg(all(feature = "rppal", target_arch = "aarch64"))]
    if on_header(config) {
        return Ok(Box::new(header::PinButton::open(line, active_low, pull)?));
    }
    Ok(Box::new(LineButton::open(&config.chip, line, active_low, pull)?))
}

/// Whether the pins meant are those of a Raspberry Pi's header and rppal can drive them; else the character device does.
#[cfg(all(feature = "rppal", target_arch = "aarch64"))]
fn on_header(config: &PanelConfig) -> bool {
    config.chip == crate::config::RASPBERRY_PI_5 && header::is_here()
}
