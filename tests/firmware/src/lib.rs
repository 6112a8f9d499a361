//! A model of the Raspberry Pi 5's boot loader that refuses what the real one refuses.
//!
//! It reads a disk as the loader in the board's EEPROM does (partition table, `autoboot.txt`, `config.txt`), keeps the few
//! registers that survive a reset, and answers which partition boots with which files, or why nothing does. It shares no
//! code with the updater: a mistake about the boot flow has to be made twice to go unseen.

mod autoboot;
mod boot;
mod config;
mod disk;
mod eeprom;
mod fat;
mod mailbox;
mod mbr;
mod registers;

pub use boot::{Boot, Chosen, Files, Load, Outcome, Stuck, boot};
pub use config::Board;
pub use disk::{Disk, Unreadable};
pub use eeprom::{Date, Eeprom, LostTryboot, Zero};
pub use fat::{FatError, Volume};
pub use mailbox::{SET_REBOOT_FLAGS, TRYBOOT, request};
pub use mbr::{MbrError, Partition, Table};
pub use registers::{Firmware, Medium};
