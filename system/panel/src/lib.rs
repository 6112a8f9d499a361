//! The appliance's status LED and button: what the LED shows in each state, and what a press of the button means.
//!
//! [`spawn`] runs a [`Panel`] on a thread of its own. Patterns and gestures are functions of time alone, so the tests play whole
//! days in virtual time; hardware that is missing or fails is told once, tried again, and never stops anything.
#![cfg(target_os = "linux")]

#[cfg(all(feature = "std", feature = "mock"))]
compile_error!("embassy-time allows one time driver per program: take the feature `std` or `mock`, not both");

mod config;
mod display;
mod gesture;
mod handle;
mod hardware;
mod orders;
mod panel;
mod pattern;
mod sign;

pub use config::{ButtonSource, LedSource, PanelConfig, Pull};
pub use handle::{PanelHandle, spawn};
pub use hardware::{Button, HardwareError, Led, Retrying};
pub use orders::{Inbox, Orders, orders};
pub use panel::{Gesture, Panel, PanelEvent};
pub use pattern::{Pattern, Step};
pub use sign::{Row, Sign, State};
