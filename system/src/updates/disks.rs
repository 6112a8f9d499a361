//! Partition 1 and the slots, as disks of `warppool_ota`.

use std::io;

use warppool_ota::boot::Health;
use warppool_ota::{FileDisk, Slot, Trust, autoboot, install, slot};

use crate::disk::BootDisk;

/// Partition 1, for writing.
pub fn p1(disk: &BootDisk) -> io::Result<FileDisk> {
    FileDisk::open(&disk.partition(1))
}

pub fn read_autoboot(disk: &BootDisk) -> Result<autoboot::Autoboot, String> {
    let mut p1 = FileDisk::open_read_only(&disk.partition(1)).map_err(|why| why.to_string())?;
    autoboot::read(&mut p1).map_err(|why| why.to_string())
}

/// A first look: is it bootable, and what does its signed manifest say it is?
pub fn look(disk: &BootDisk, slot: Slot, trust: &Trust) -> Health {
    match FileDisk::open_read_only(&disk.slot(slot)) {
        Ok(mut device) => Health::of_look(&slot::look(&mut device, trust)),
        Err(_) => Health::Damaged(None),
    }
}

pub fn commit(disk: &BootDisk, slot: Slot) -> Result<(), String> {
    let mut p1 = p1(disk).map_err(|why| why.to_string())?;
    autoboot::commit(&mut p1, slot).map_err(|why| why.to_string())
}

pub fn repair(disk: &BootDisk, slot: Slot) -> Result<(), String> {
    let mut p1 = p1(disk).map_err(|why| why.to_string())?;
    autoboot::repair(&mut p1, slot).map_err(|why| why.to_string())
}

pub fn make_unbootable(disk: &BootDisk, slot: Slot) -> io::Result<()> {
    install::make_unbootable(&mut FileDisk::open(&disk.slot(slot))?)
}
