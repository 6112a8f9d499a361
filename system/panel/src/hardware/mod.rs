//! LEDs and buttons of all kinds behind two small traits.

mod act;
mod chardev;
#[cfg(all(feature = "rppal", target_arch = "aarch64"))]
mod header;
pub(crate) mod open;
mod power_key;
mod retrying;

use std::io;
use std::path::{Path, PathBuf};

pub use retrying::Retrying;

/// One LED, lit or dark.
pub trait Led {
    fn set(&mut self, lit: bool) -> Result<(), HardwareError>;
}

/// One button.
pub trait Button {
    /// Whether it is held down at this moment, bounces and all.
    fn pressed(&mut self) -> Result<bool, HardwareError>;
}

/// Why an LED or a button cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardwareError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("there is no {0}")]
    Missing(String),
    #[error("GPIO line {line} cannot be used: {source}; look whether the chip has it and nothing else holds it")]
    Line { line: u32, source: gpiocdev::Error },
    #[error("pin {0} is not on the header, which has GPIO 0 to 27: correct the panel's settings")]
    NotOnHeader(u32),
    #[cfg(all(feature = "rppal", target_arch = "aarch64"))]
    #[error("GPIO {line} cannot be used: {source}")]
    Header { line: u32, source: rppal::gpio::Error },
    #[error("the kernel dropped key presses")]
    Dropped,
}

/// For [`crate::LedSource::None`].
struct NoLed;

impl Led for NoLed {
    fn set(&mut self, _lit: bool) -> Result<(), HardwareError> {
        Ok(())
    }
}

fn file_error(path: &Path, source: io::Error) -> HardwareError {
    HardwareError::File { path: path.to_owned(), source }
}
