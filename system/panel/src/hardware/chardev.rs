//! Lines of any GPIO chip through the kernel's character device.

use gpiocdev::Request;
use gpiocdev::line::{Bias, Offset, Value};

use super::{Button, HardwareError, Led};
use crate::Pull;

/// What the kernel shows as the line's user.
const CONSUMER: &str = "warppool";

#[derive(Debug)]
pub(super) struct LineLed {
    request: Request,
    line: Offset,
}

#[derive(Debug)]
pub(super) struct LineButton {
    request: Request,
    line: Offset,
}

/// The device of a chip named by its path or by its label.
fn find_chip(chip: &str) -> Result<std::path::PathBuf, HardwareError> {
    if chip.starts_with('/') {
        return Ok(chip.into());
    }
    gpiocdev::chip::chips()
        .unwrap_or_default()
        .into_iter()
        .find(|path| {
            let info = gpiocdev::Chip::from_path(path).and_then(|chip| chip.info());
            info.is_ok_and(|info| info.label == chip || info.name == chip)
        })
        .ok_or_else(|| HardwareError::Missing(format!("GPIO chip {chip}")))
}

impl LineLed {
    pub fn open(chip: &str, line: Offset, active_low: bool) -> Result<Self, HardwareError> {
        let mut builder = Request::builder();
        builder.with_consumer(CONSUMER).on_chip(find_chip(chip)?).with_line(line).as_output(Value::Inactive);
        if active_low {
            builder.as_active_low();
        }
        let request = builder.request().map_err(|source| HardwareError::Line { line, source })?;
        Ok(Self { request, line })
    }
}

impl Led for LineLed {
    fn set(&mut self, lit: bool) -> Result<(), HardwareError> {
        let line = self.line;
        self.request.set_value(line, lit.into()).map_err(|source| HardwareError::Line { line, source })
    }
}

impl LineButton {
    pub fn open(chip: &str, line: Offset, active_low: bool, pull: Pull) -> Result<Self, HardwareError> {
        let chip = find_chip(chip)?;
        let build = |bias: Option<Bias>| {
            let mut builder = Request::builder();
            builder.with_consumer(CONSUMER).on_chip(&chip).with_line(line).as_input();
            if active_low {
                builder.as_active_low();
            }
            builder.with_bias(bias).request()
        };
        let bias = match pull {
            Pull::Up => Bias::PullUp,
            Pull::Down => Bias::PullDown,
            Pull::None => Bias::Disabled,
        };
        // Chips without resistors of their own refuse a bias; then there must be one outside.
        let request =
            build(Some(bias)).or_else(|_| build(None)).map_err(|source| HardwareError::Line { line, source })?;
        Ok(Self { request, line })
    }
}

impl Button for LineButton {
    fn pressed(&mut self) -> Result<bool, HardwareError> {
        let line = self.line;
        let value = self.request.value(line).map_err(|source| HardwareError::Line { line, source })?;
        Ok(value == Value::Active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_that_is_not_there_is_named_and_a_device_that_is_none_is_refused() {
        let cases =
            [("no-such-chip", "there is no GPIO chip no-such-chip"), ("/dev/null", "GPIO line 5 cannot be used")];
        for (chip, said) in cases {
            let led = LineLed::open(chip, 5, false).expect_err("is no chip").to_string();
            let button = LineButton::open(chip, 5, true, Pull::Up).expect_err("is no chip").to_string();
            assert!(led.starts_with(said) && button.starts_with(said), "{led}; {button}");
        }
    }
}
