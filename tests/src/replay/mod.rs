//! Power cuts, replayed: every write and flush of an update's steps is recorded on a disk of the real layout, every state in which a
//! cut can leave that disk is booted by the loader model, and the slot that comes up must verify.
//!
//! The steps are the real ones of `warppool-ota`; what boots is decided by `warppool-firmware`, which shares no code with them.

mod crash;
mod device;
mod judge;
mod log;
mod mend;
mod release;
mod states;
mod steps;
mod store;

pub use device::Device;
pub use log::{Event, Log};
pub use states::Depth;
pub use steps::{Releases, growth, install, run_steps};
