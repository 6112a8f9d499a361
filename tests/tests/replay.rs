//! Every state in which a power cut can leave the disk boots into a slot that verifies; and steps done wrongly are noticed.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use warppool_ota::{Disk, Layout, Slot, autoboot, install, p1};
use warppool_tests::replay::{self, Depth, Device, Event, Log, Releases};

#[test]
fn replay_every_crash_state_boots_a_verified_slot() {
    let sum = replay::run_steps(&Releases::new()).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{} crash states, none without a verified slot", sum.total());
    assert!(sum.total() > 20_000);
}

/// A step done wrongly.
type Mistake = fn(&Releases) -> Log;

/// Each of these is a way in which updaters have gone wrong, or in which ours could. Were one not noticed, the replay above would
/// prove nothing about it.
#[test]
fn replay_notices_steps_that_are_done_wrongly() {
    let releases = Releases::new();
    let judge = releases.judge();
    let wrong: [(&str, Mistake); 14] = [
        ("the boot sector is not cleared first", boot_sector_stays),
        ("nothing is flushed between clearing and writing", |releases| without_flushes(releases, 0..2)),
        ("nothing is flushed before what makes it bootable", |releases| without_flushes(releases, 2..4)),
        ("the boot sector is not held back", |releases| without_flushes(releases, 3..4)),
        ("what makes it bootable is written first", late_first),
        ("a chunk is written without a look at its hash", garbage_chunk),
        ("the slot is committed before it is written", committed_first),
        ("autoboot.txt moves to another cluster, unflushed", commit_elsewhere),
        ("autoboot.txt is truncated and written again", commit_by_truncation),
        ("autoboot.txt names a slot that holds nothing", commit_to_nothing),
        ("a damaged slot is cleared before the move away from it", clear_before_move),
        ("the partition table grows from the inside", growth_inside_out),
        ("the data partition moves while it grows", growth_moves),
        ("something is written beside the slot", stray_write),
    ];
    for (what, make) in wrong {
        match judge.step(&make(&releases), Depth::Every(16)) {
            Ok(tally) => panic!("{what}: not noticed in {} states", tally.total()),
            Err(failure) => println!("{what}: {}", failure.what),
        }
    }
}

/// The same steps done right are fine, so that it is the mistake that is noticed.
#[test]
fn replay_finds_no_fault_with_the_steps_the_mistakes_were_made_in() {
    let releases = Releases::new();
    let judge = releases.judge();
    for log in [right(&releases), move_and_clear(&releases, false), replay::growth(&releases.now)] {
        judge.step(&log, Depth::Every(16)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

fn right(releases: &Releases) -> Log {
    replay::install(&releases.now, &releases.old, &releases.major)
}

fn offset(event: &Event) -> Option<u64> {
    if let Event::Write { offset, .. } = event { Some(*offset) } else { None }
}

/// Where slot A, the target of [`right`], begins.
fn target() -> u64 {
    Layout::default().slot_a.bytes().start
}

fn boot_sector_stays(releases: &Releases) -> Log {
    let mut log = right(releases);
    for event in &mut log.events {
        match event {
            Event::Write { offset, data } if *offset == target() && data.iter().all(|byte| *byte == 0) => {
                (*offset, *data) = (*offset + 512, data[512..].into());
            }
            _ => {}
        }
    }
    log.events.retain(|event| !matches!(event, Event::Write { data, .. } if data.is_empty()));
    log
}

/// Leaves out flushes, by their number.
fn without_flushes(releases: &Releases, which: std::ops::Range<usize>) -> Log {
    let mut log = right(releases);
    let mut number = 0..;
    log.events.retain(|event| !matches!(event, Event::Flush) || !which.contains(&number.next().unwrap()));
    log
}

fn late_first(releases: &Releases) -> Log {
    let mut log = right(releases);
    let flushes: Vec<usize> = (0..log.events.len()).filter(|at| matches!(log.events[*at], Event::Flush)).collect();
    // Boot sector cleared, leads cleared, chunks written, late ones written, boot sector written.
    assert_eq!(flushes.len(), 5);
    let late: Vec<Event> = log.events.drain(flushes[2] + 1..).collect();
    let before = flushes[1] + 1;
    log.events.splice(before..before, late);
    log
}

fn garbage_chunk(releases: &Releases) -> Log {
    let mut log = right(releases);
    let large = |event: &&mut Event| matches!(event, Event::Write { data, .. } if data.len() == 256 * 1024);
    let Some(Event::Write { data, .. }) = log.events.iter_mut().find(large) else { panic!("no large write") };
    *data = Arc::from(vec![0x5a; data.len()]);
    log
}

fn committed_first(releases: &Releases) -> Log {
    let mut device = Device::flashed(Slot::B, Some(&releases.old), Some(&releases.now));
    autoboot::commit(&mut device.p1(), Slot::A).unwrap();
    device.install(&releases.major, Slot::B);
    device.take_log("install", &everything())
}

/// Where any step may write.
fn everything() -> [std::ops::Range<u64>; 3] {
    let layout = Layout::default();
    [layout.boot.bytes(), layout.slot_a.bytes(), layout.slot_b.bytes()]
}

/// A commit that writes a second cluster, its place in the FAT and the directory entry, and flushes at the end.
fn commit_elsewhere(releases: &Releases) -> Log {
    let mut device = Device::flashed(Slot::A, Some(&releases.now), Some(&releases.point));
    let mut p1 = device.p1();
    let place = p1::locate(&mut p1).unwrap().offset;
    let cluster = 4 * 512;
    let (mut fat, mut root, mut text) = ([0; 512], [0; 512], [0; 512]);
    p1.read_at(4 * 512, &mut fat).unwrap();
    p1.read_at(place - 512 * 32, &mut root).unwrap();
    assert_eq!(&root[..8], b"AUTOBOOT");
    fat[6..8].copy_from_slice(&[0xff, 0xff]);
    root[26] = 3;
    let new = autoboot::Autoboot::new(Slot::B).text();
    text[..new.len()].copy_from_slice(new.as_bytes());
    for (at, sector) in [(4 * 512, fat), (place - 512 * 32, root), (place + cluster, text)] {
        p1.write_at(at, &sector).unwrap();
    }
    p1.flush().unwrap();
    assert_eq!(autoboot::read(&mut p1).unwrap().committed, Slot::B);
    device.take_log("commit", &everything())
}

/// A commit as an ordinary program does it: the file is emptied, then written.
fn commit_by_truncation(releases: &Releases) -> Log {
    let mut device = Device::flashed(Slot::A, Some(&releases.now), Some(&releases.point));
    let mut p1 = device.p1();
    let place = p1::locate(&mut p1).unwrap().offset;
    let mut root = [0; 512];
    p1.read_at(place - 512 * 32, &mut root).unwrap();
    let whole = root;
    root[26..32].fill(0);
    p1.write_at(place - 512 * 32, &root).unwrap();
    p1.flush().unwrap();
    let mut text = [0; 512];
    let new = autoboot::Autoboot::new(Slot::B).text();
    text[..new.len()].copy_from_slice(new.as_bytes());
    p1.write_at(place, &text).unwrap();
    p1.write_at(place - 512 * 32, &whole).unwrap();
    p1.flush().unwrap();
    device.take_log("commit", &everything())
}

fn commit_to_nothing(releases: &Releases) -> Log {
    let mut device = Device::flashed(Slot::A, Some(&releases.now), None);
    autoboot::commit(&mut device.p1(), Slot::B).unwrap();
    device.take_log("commit", &everything())
}

fn clear_before_move(releases: &Releases) -> Log {
    move_and_clear(releases, true)
}

fn move_and_clear(releases: &Releases, clear_first: bool) -> Log {
    let mut device = Device::flashed(Slot::A, Some(&releases.now), Some(&releases.now));
    let clear = |device: &Device| install::make_unbootable(&mut device.slot(Slot::A)).unwrap();
    let commit = |device: &mut Device| {
        device.save(|state| state.autoboot = Some(Slot::B));
        autoboot::commit(&mut device.p1(), Slot::B).unwrap();
    };
    if clear_first {
        clear(&device);
        commit(&mut device);
    } else {
        commit(&mut device);
        clear(&device);
    }
    device.take_log("move to the other slot", &everything())
}

fn growth_inside_out(releases: &Releases) -> Log {
    let mut log = replay::growth(&releases.now);
    let writes = log.events.iter().filter(|event| offset(event).is_some()).rev().cloned();
    log.events = writes.flat_map(|write| [write, Event::Flush]).collect();
    log
}

fn growth_moves(releases: &Releases) -> Log {
    let mut log = replay::growth(&releases.now);
    let Some(Event::Write { data, .. }) = log.events.iter_mut().rev().find(|event| offset(event).is_some()) else {
        panic!("no write")
    };
    let mut bytes = data.to_vec();
    bytes[446 + 8] += 1;
    *data = bytes.into();
    log
}

fn stray_write(releases: &Releases) -> Log {
    let mut log = right(releases);
    let offset = Layout::default().data.bytes().start;
    log.events.push(Event::Write { offset, data: Arc::new([0; 512]) });
    log
}
