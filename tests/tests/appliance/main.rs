//! The appliance itself, booted in QEMU from a freshly made disk image: first boot, updates, power cuts, faults, network.
//!
//! `scripts/appliance` makes the image; its folder is named by `WARPPOOL_APPLIANCE`. Without it every test here says NOT RUN.

mod bench;
mod cuts;
mod faults;
mod first_boot;
mod guest;
mod kit;
mod network;
mod server;
mod updates;
