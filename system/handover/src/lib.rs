//! The hand-over partition: what the owner writes on the card before the first boot.
//!
//! Two calls in an unprivileged child, because the partition's bytes are foreign: [`read`] gives a [`HandOver`] or
//! every fault with its line; PID 1 stores what follows from it ([`apply`]) and only then has [`finish`] erase the
//! secrets and leave a report.

pub mod apply;
mod fault;
mod finish;
mod model;
mod parse;
mod read;
mod report;
mod settings;
mod text;
mod values;
mod volume;

pub use fault::{Fault, MAX_FAULTS};
pub use finish::{Claim, Finish, Finished, finish};
pub use model::{Chain, HandOver, NodeAccess, Outcome, Secret};
pub use parse::parse;
pub use read::read;
pub use report::{Report, Standing};
pub use settings::{Applied, Automatic, Device, SettingsError, Ssh, SystemSettings, UpdateChannel, Updates};
pub use values::{SshKey, TimeZone, Url, ValueError};
pub use volume::{Disk, VolumeError};

/// What an image places on the partition as [`EXAMPLE_FILE`]: every key with a comment. As it is, it asks for nothing.
pub const EXAMPLE: &str = include_str!("../example.toml");
pub const EXAMPLE_FILE: &str = "warppool.example.toml";
/// What the owner writes.
pub const SETTINGS_FILE: &str = "warppool.toml";
/// Asks for a factory reset by being there.
pub const RESET_FILE: &str = "reset.txt";
/// What the device answers.
pub const RESULT_FILE: &str = "WARPPOOL-RESULT.txt";
/// The settings that were taken over, without their secrets.
pub const TAKEN_FILE: &str = "warppool.taken.toml";
/// The code with which a device that nobody owns is claimed.
pub const CLAIM_FILE: &str = "CLAIM-CODE.txt";
/// The largest `warppool.toml` that is read, bytes.
pub const MAX_FILE: usize = 64 * 1024;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
