//! The appliance in QEMU: boots what the loader model finds on the real disk image.
//!
//! QEMU has no Raspberry Pi 5. Here the model of the loader picks partition, kernel and initramfs from the disk image, QEMU's
//! `virt` machine runs them with the device tree's chosen node filled in, and every reset and power cut goes back to the model,
//! which keeps or loses its registers as the board does.

#![cfg(unix)]

mod console;
mod control;
mod error;
mod image;
mod machine;
mod mailbox;
mod network;
mod qemu;
mod setup;
mod tree;
mod writes;

pub use console::{Console, Line};
pub use error::Error;
pub use machine::{End, Machine};
pub use setup::{Attached, Bus, Setup};
pub use writes::{Write, read_writes};
