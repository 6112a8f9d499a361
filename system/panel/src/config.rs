//! Which LED and which button, on which pins. The defaults need no wiring: the board's ACT LED and its power button.

use serde::{Deserialize, Serialize};

/// The panel's part of the system's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PanelConfig {
    pub led: LedSource,
    /// Line of the LED: on a Raspberry Pi the BCM number, 17 by default (pin 11 of the header).
    pub led_pin: u32,
    /// The LED is lit by a low level; for the ACT LED: its brightness is inverted, as some kernels have it.
    pub led_active_low: bool,
    pub button: ButtonSource,
    /// Line of the button: on a Raspberry Pi the BCM number, 27 by default (pin 13 of the header).
    pub button_pin: u32,
    /// The button pulls its line low, as one between pin and ground does.
    pub button_active_low: bool,
    pub button_pull: Pull,
    /// The GPIO chip of both lines: its label, or the path of its device.
    pub chip: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedSource {
    /// The board's own activity LED.
    Act,
    Pin,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ButtonSource {
    /// The board's power button makes the gestures; pressed twice it powers off.
    Power,
    /// A button on a pin; the power button powers off.
    Pin,
    /// No gestures; the power button powers off.
    None,
}

/// The resistor inside the chip that holds a line while nothing drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    Up,
    Down,
    None,
}

/// The chip of a Raspberry Pi 5's header; its number moved between kernels, its label did not.
pub(crate) const RASPBERRY_PI_5: &str = "pinctrl-rp1";

impl Default for PanelConfig {
    fn default() -> Self {
        Self {
            led: LedSource::Act,
            led_pin: 17,
            led_active_low: false,
            button: ButtonSource::Power,
            button_pin: 27,
            button_active_low: true,
            button_pull: Pull::Up,
            chip: RASPBERRY_PI_5.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_needs_no_wiring() {
        let config: PanelConfig = toml::from_str("").expect("empty is valid");
        assert_eq!((config.led, config.button), (LedSource::Act, ButtonSource::Power));
        assert_eq!(config, PanelConfig::default());
    }

    #[test]
    fn every_setting_can_be_written_and_read_back() {
        let written = "led = \"pin\"\nled-pin = 5\nled-active-low = true\nbutton = \"pin\"\nbutton-pin = 6\n\
                       button-active-low = false\nbutton-pull = \"down\"\nchip = \"/dev/gpiochip0\"\n";
        let config: PanelConfig = toml::from_str(written).expect("valid");
        assert_eq!((config.led_pin, config.button_pull, config.chip.as_str()), (5, Pull::Down, "/dev/gpiochip0"));
        assert_eq!(toml::to_string(&config).expect("serializes"), written);
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let why = toml::from_str::<PanelConfig>("led-pim = 5").expect_err("is refused").to_string();
        assert!(why.contains("led-pim"), "{why}");
    }
}
