//! Bundles, slots, trial, commit and rollback of the appliance's updates.
//!
//! Everything here is synchronous, works on a [`Disk`] and takes time and trust as arguments, so that PID 1, its unprivileged
//! children, a command line on any desktop and a replay of power cuts run the same code.

pub mod autoboot;
pub mod boot;
pub mod bundle;
pub mod cli;
pub mod digest;
pub mod disk;
pub mod envelope;
pub mod fat;
pub mod feed;
pub mod gate;
mod index;
pub mod install;
pub mod journal;
pub mod keys;
pub mod layout;
pub mod manifest;
pub mod mbr;
pub mod offline;
pub mod p1;
pub mod release;
pub mod schedule;
pub mod slot;
pub mod source;
pub mod state;
pub mod stick;
pub mod trust;
pub mod version;
#[cfg(unix)]
pub mod worker;

#[cfg(test)]
mod testing;

pub use digest::{Digest, KeyId};
pub use disk::{Disk, FileDisk, MemDisk, SECTOR, Shared, Window};
pub use keys::{PrivateKey, PublicKey};
pub use layout::{Layout, Slot};
pub use manifest::SlotManifest;
pub use release::Release;
pub use trust::Trust;
pub use version::Version;
