//! The first partition of whatever bytes, and its one file: what is found lies in one sector; after a commit or a repair that
//! succeeded it is the slot that was asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_fuzz::{SECTOR, Sparse};
use warppool_ota::autoboot::{self, Autoboot};
use warppool_ota::{Disk, Slot, p1};

const MOST: u64 = 64 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = Autoboot::parse(bytes) {
        assert!(bytes.len() <= autoboot::LONGEST);
        assert_eq!(Autoboot::parse(file.text().as_bytes()), Ok(file));
    }
    let Some(disk) = Sparse::new(bytes, MOST) else { return };
    if let Ok(place) = p1::locate(&mut disk.clone()) {
        assert!(place.offset.is_multiple_of(SECTOR as u64) && place.offset + SECTOR as u64 <= disk.len());
        assert!((1..=autoboot::LONGEST).contains(&(place.len as usize)));
        let content = p1::read(&mut disk.clone()).expect("what was found is read");
        assert_eq!(content.len(), place.len as usize);
        assert_eq!(autoboot::read(&mut disk.clone()).ok(), Autoboot::parse(&content).ok());
    }
    for slot in Slot::BOTH {
        let mut committed = disk.clone();
        if autoboot::commit(&mut committed, slot).is_ok() {
            assert_eq!(autoboot::read(&mut committed).ok(), Some(Autoboot::new(slot)));
        }
        let mut repaired = disk.clone();
        if autoboot::repair(&mut repaired, slot).is_ok() {
            assert_eq!(autoboot::read(&mut repaired).ok(), Some(Autoboot::new(slot)));
            assert!(p1::is_alone(&mut repaired), "the firmware would find something else to boot");
        }
    }
});
