//! The hand-over partition of whatever bytes: an answer in bounded time that fits into its message; reading changes nothing, and
//! what was asked for is not found again once it has been erased.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_fuzz::Sparse;
use warppool_handover::{Finish, Outcome, Report, Standing, finish, read};

/// A FAT32 needs 33 MiB.
const MOST: u64 = 64 << 20;
const LONGEST_MESSAGE: usize = 256 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let Some(mut disk) = Sparse::new(bytes, MOST) else { return };
    let before = disk.clone();
    let outcome = read(&mut disk, &|_| true);
    let message = postcard::to_stdvec(&outcome).expect("plain data has a postcard form");
    assert!(message.len() <= LONGEST_MESSAGE);
    assert!(content(disk.clone()) == content(before), "reading has changed the partition");

    let Outcome::Asked { settings: Some(settings), factory_reset: false } = outcome else { return };
    let name = format!("{}.local", settings.hostname.clone().unwrap_or_default());
    let report = Report { version: "1.2.3".into(), name, addresses: Vec::new(), standing: Standing::Taken(settings) };
    let order = Finish { report: Some(report), erase_settings: true, ..Finish::default() };
    if finish(&mut disk, &order).is_ok_and(|done| done.settings_erased) {
        let left = read(&mut disk, &|_| true);
        assert!(!matches!(left, Outcome::Asked { settings: Some(_), .. }), "the settings were not erased");
    }
});

/// Where it was read to does not count.
fn content(mut disk: Sparse) -> Sparse {
    std::io::Seek::rewind(&mut disk).expect("a disk can be read from its start");
    disk
}
