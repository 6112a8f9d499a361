//! The board's activity LED through sysfs, taken from the kernel's own trigger.

use std::fs;
use std::path::{Path, PathBuf};

use super::{HardwareError, Led, file_error};

/// What kernels of the Raspberry Pi call it, the newer name first.
const NAMES: [&str; 2] = ["ACT", "led0"];

#[derive(Debug)]
pub(super) struct ActLed {
    brightness: PathBuf,
    /// What is written for the brightest.
    full: String,
    /// Some kernels light it at brightness 0.
    inverted: bool,
}

impl ActLed {
    /// Opens the LED below `leds`, which is `/sys/class/leds`.
    pub fn open(leds: &Path, inverted: bool) -> Result<Self, HardwareError> {
        let led = NAMES
            .iter()
            .map(|name| leds.join(name))
            .find(|led| led.is_dir())
            .ok_or_else(|| HardwareError::Missing(format!("LED {} in {}", NAMES.join(" or "), leds.display())))?;
        write(&led.join("trigger"), "none")?;
        let full =
            fs::read_to_string(led.join("max_brightness")).map_or_else(|_| "1".to_owned(), |max| max.trim().to_owned());
        Ok(Self { brightness: led.join("brightness"), full, inverted })
    }
}

impl Led for ActLed {
    fn set(&mut self, lit: bool) -> Result<(), HardwareError> {
        write(&self.brightness, if lit == self.inverted { "0" } else { &self.full })
    }
}

fn write(path: &Path, value: &str) -> Result<(), HardwareError> {
    // Not `fs::write`, which would make the file where it is missing.
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|why| file_error(path, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leds(name: &str) -> tempfile::TempDir {
        let leds = tempfile::tempdir().expect("a folder");
        let led = leds.path().join(name);
        fs::create_dir(&led).expect("made");
        for (file, content) in [("trigger", "[mmc0] none"), ("brightness", "7"), ("max_brightness", "255\n")] {
            fs::write(led.join(file), content).expect("written");
        }
        leds
    }

    #[track_caller]
    fn case(name: &str, inverted: bool, lit: bool, written: &str) {
        let leds = leds(name);
        ActLed::open(leds.path(), inverted).expect("is there").set(lit).expect("is set");
        let read = |file| fs::read_to_string(leds.path().join(name).join(file)).expect("readable");
        assert!(read("brightness").starts_with(written), "{name} inverted={inverted} lit={lit}");
        assert!(read("trigger").starts_with("none"));
    }

    #[test]
    fn the_led_is_taken_from_its_trigger_and_set_to_its_brightest_or_to_nothing() {
        case("ACT", false, true, "255");
        case("ACT", false, false, "0");
        case("led0", true, true, "0");
        case("led0", true, false, "255");
    }

    #[test]
    fn a_board_without_such_an_led_is_said_to_have_none() {
        let leds = leds("input3::capslock");
        let why = ActLed::open(leds.path(), false).expect_err("there is none").to_string();
        assert!(why.starts_with("there is no LED ACT or led0"), "{why}");
    }
}
