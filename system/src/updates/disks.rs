//! Partition 1 and the slots, as disks of `warppool_ota`.
//!
//! A worn disk can take minutes over a sector. Nothing here waits that long, and what has not answered counts as unknown: nothing is
//! decided by it, and nothing is written to it until it has.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use warppool_ota::boot::Health;
use warppool_ota::{FileDisk, Slot, Trust, autoboot, install, slot};

use crate::disk::BootDisk;
use crate::{aside, watchdog};

/// How long a look at a partition may take, and how long the few sectors that are written here.
const LOOK: Duration = Duration::from_secs(20);
const WRITE: Duration = Duration::from_mins(1);
const NO_ANSWER: &str = "the disk does not answer";

/// Partitions that somebody is at work on; one that has not come back stays here until it does.
static BUSY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn busy() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works on a partition away from this thread. `None`: it does not answer, now or from before.
fn ask<T: Send + 'static>(
    device: PathBuf,
    patience: Duration,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Option<T> {
    if !busy().insert(device.clone()) {
        return None;
    }
    let what = format!("update: {}", device.display());
    aside::wait(&what, patience, &mut watchdog::ping_from_main_thread, move || {
        let result = work(&device);
        busy().remove(&device);
        result
    })
}

pub fn read_autoboot(disk: &BootDisk) -> Result<autoboot::Autoboot, String> {
    let read = |p1: &Path| {
        let mut p1 = FileDisk::open_read_only(p1).map_err(|why| why.to_string())?;
        autoboot::read(&mut p1).map_err(|why| why.to_string())
    };
    ask(disk.partition(1), LOOK, read).unwrap_or_else(|| Err(NO_ANSWER.into()))
}

/// A first look: is it bootable, and what does its signed manifest say it is?
pub fn look(disk: &BootDisk, slot: Slot, trust: &Trust) -> Health {
    let trust = trust.clone();
    let look = move |device: &Path| match FileDisk::open_read_only(device) {
        Ok(mut device) => Health::of_look(&slot::look(&mut device, &trust)),
        Err(_) => Health::Damaged(None),
    };
    // Unknown: as one that cannot be judged, it is neither gone to nor moved away from, nor made unbootable.
    ask(disk.slot(slot), LOOK, look).unwrap_or(Health::Distrusted)
}

pub fn commit(disk: &BootDisk, slot: Slot) -> Result<(), String> {
    let commit = move |p1: &Path| {
        let mut p1 = FileDisk::open(p1).map_err(|why| why.to_string())?;
        autoboot::commit_or_repair(&mut p1, slot).map_err(|why| why.to_string())
    };
    ask(disk.partition(1), WRITE, commit).unwrap_or_else(|| Err(NO_ANSWER.into()))
}

pub fn repair(disk: &BootDisk, slot: Slot) -> Result<(), String> {
    let repair = move |p1: &Path| {
        let mut p1 = FileDisk::open(p1).map_err(|why| why.to_string())?;
        // It may only have been slow to answer.
        if autoboot::read(&mut p1).is_ok() {
            return Ok(());
        }
        autoboot::repair(&mut p1, slot).map_err(|why| why.to_string())
    };
    ask(disk.partition(1), WRITE, repair).unwrap_or_else(|| Err(NO_ANSWER.into()))
}

pub fn make_unbootable(disk: &BootDisk, slot: Slot) -> io::Result<()> {
    let write = |device: &Path| install::make_unbootable(&mut FileDisk::open(device)?);
    ask(disk.slot(slot), WRITE, write).unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, NO_ANSWER)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_partition_that_does_not_answer_is_left_alone_until_it_does() {
        let device = || PathBuf::from("/test/does-not-answer");
        let (answer, waits) = channel::<()>();
        let stuck = move |_: &Path| _ = waits.recv();
        assert_eq!(ask(device(), Duration::from_millis(50), stuck), None);
        assert_eq!(ask(device(), WRITE, |_| unreachable!("nothing is tried on it")), None::<()>);
        drop(answer);
        while busy().contains(&device()) {
            std::thread::yield_now();
        }
        assert_eq!(ask(device(), LOOK, |_| 7), Some(7));
    }
}
