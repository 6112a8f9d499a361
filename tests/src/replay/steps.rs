//! The steps whose power cuts are replayed, each done once for real.

use std::io::Write;
use std::ops::Range;

use warppool_ota::gate::Baseline;
use warppool_ota::state::TrialRecord;
use warppool_ota::{Layout, Slot, autoboot, mbr};

use super::device::Device;
use super::judge::{Failure, Judge, Tally};
use super::log::{Event, Log};
use super::mend::{Booted, settle, thorough};
use super::release::{Release, trust};
use super::states::{Depth, Kind};

/// The releases in play: two that share their base system, and two of other bases.
#[derive(Debug)]
pub struct Releases {
    pub old: Release,
    pub now: Release,
    pub point: Release,
    pub major: Release,
}

impl Releases {
    pub fn new() -> Self {
        Self { old: Release::new(0, 1), now: Release::new(1, 2), point: Release::new(2, 2), major: Release::new(3, 3) }
    }

    pub fn judge(&self) -> Judge {
        Judge::new(&[&self.old, &self.now, &self.point, &self.major])
    }
}

impl Default for Releases {
    fn default() -> Self {
        Self::new()
    }
}

fn slots() -> Vec<Range<u64>> {
    Slot::BOTH.map(|slot| Layout::default().slot(slot).bytes()).to_vec()
}

fn p1() -> Vec<Range<u64>> {
    vec![Layout::default().boot.bytes()]
}

fn p1_and_slots() -> Vec<Range<u64>> {
    [p1(), slots()].concat()
}

/// All steps with the depth at which each is cut.
fn all(releases: &Releases) -> Vec<(Log, Depth)> {
    let Releases { old, now, point, major } = releases;
    let mut logs = vec![
        (
            update("update into an empty slot, from A", Device::flashed(Slot::A, Some(now), None), point, Slot::A),
            Depth::EverySector,
        ),
        (
            update(
                "update over an old version, from B",
                Device::flashed(Slot::B, Some(old), Some(now)),
                major,
                Slot::B,
            ),
            Depth::EverySector,
        ),
        (
            update(
                "update over an old version, from A",
                Device::flashed(Slot::A, Some(now), Some(old)),
                major,
                Slot::A,
            ),
            Depth::Every(16),
        ),
    ];
    logs.extend(resumed(now, old, point).into_iter().map(|log| (log, Depth::Every(16))));
    for from in Slot::BOTH {
        logs.push((rollback(now, point, from), Depth::EverySector));
        logs.push((give_way(now, point, from), Depth::EverySector));
    }
    logs.extend(repairs(now, old).into_iter().map(|log| (log, Depth::EverySector)));
    for (committed, damaged) in [(Slot::A, Slot::B), (Slot::B, Slot::A), (Slot::A, Slot::A), (Slot::B, Slot::B)] {
        logs.push((scrub(now, now, committed, damaged), Depth::Every(16)));
        logs.push((scrub(now, old, committed, damaged), Depth::Every(16)));
    }
    logs.push((growth(now), Depth::EverySector));
    logs
}

/// Judges all steps, prints the table and gives the sum.
pub fn run_steps(releases: &Releases) -> Result<Tally, Failure> {
    let judge = releases.judge();
    let mut sum = Tally::default();
    println!("{}", heading());
    for (log, depth) in all(releases) {
        let tally = judge.step(&log, depth)?;
        println!("{}", row(&log.name, &tally));
        sum.add(&tally);
    }
    println!("{}", row("all", &sum));
    Ok(sum)
}

fn heading() -> String {
    let columns = Kind::ALL.map(Kind::name).into_iter().chain(["states", "boots", "mended", "walk", "cut"]);
    columns.fold(format!("{:<66}", "crash states of"), |line, column| format!("{line}{column:>9}"))
}

/// Walk: boots that only a walking loader gets through. Cut: boots that need the power to be cut first.
fn row(name: &str, tally: &Tally) -> String {
    let kinds = Kind::ALL.map(|kind| tally.states.get(&kind).copied().unwrap_or_default());
    let columns = kinds.into_iter().chain([tally.total(), tally.boots, tally.mended, tally.need_walk, tally.need_cut]);
    columns.fold(format!("{name:<66}"), |line, count| format!("{line}{count:>9}"))
}

/// The whole of an update: install, arm, trial, commit.
pub fn update(name: &str, mut device: Device, release: &Release, running: Slot) -> Log {
    let target = running.other();
    device.install(release, running);
    let trial =
        TrialRecord { slot: target, version: release.version.clone(), started: false, baseline: Baseline::default() };
    device.save(|state| state.trial = Some(trial));
    device.arm(true);
    // The restart: the loader uses the flag up and starts the trial.
    device.arm(false);
    device.save(|state| state.trial.as_mut().unwrap().started = true);
    commit(&mut device, target);
    device.save(|state| state.trial = None);
    device.take_log(name, &p1_and_slots())
}

/// The install alone, into slot A: the one that a walking loader would start first.
pub fn install(now: &Release, old: &Release, release: &Release) -> Log {
    let mut device = Device::flashed(Slot::B, Some(old), Some(now));
    device.install(release, Slot::B);
    device.take_log("install", &slots())
}

fn commit(device: &mut Device, slot: Slot) {
    device.save(|state| state.autoboot = Some(slot));
    autoboot::commit(&mut device.p1(), slot).unwrap();
}

/// Installs that were cut at a quarter, in the middle and near the end, and begin again.
fn resumed(now: &Release, old: &Release, release: &Release) -> Vec<Log> {
    let cut = install(now, old, release);
    let resume = |percent: usize| {
        let mut store = cut.before.clone();
        for event in &cut.events[..cut.events.len() * percent / 100] {
            if let Event::Write { offset, data } = event {
                store.write(*offset, data).unwrap();
            }
        }
        let mut device = Device::new(store, cut.state.clone());
        device.install(release, Slot::B);
        device.take_log(&format!("install again after a cut at {percent} %"), &slots())
    };
    [25, 50, 90].map(resume).into()
}

/// The other slot, whole, is committed because the owner says so.
fn rollback(now: &Release, point: &Release, from: Slot) -> Log {
    let mut device = Device::flashed(from, Some(now), Some(point));
    commit(&mut device, from.other());
    device.take_log(&format!("rollback from {from}"), &p1())
}

/// A committed version that keeps dying gives way to the other slot.
fn give_way(now: &Release, point: &Release, from: Slot) -> Log {
    let mut device = Device::flashed(from, Some(now), Some(point));
    mend(&mut device, from, 3, false);
    device.take_log(&format!("giving way from {from}"), &p1())
}

/// Partition 1 is brought back: in place, and anew.
fn repairs(now: &Release, old: &Release) -> Vec<Log> {
    let places = [
        ("repair of autoboot.txt's sector", Place::File),
        ("repair of partition 1 without a boot sector", Place::BootSector),
        ("repair of partition 1 without a root directory", Place::Root),
        ("repair of an autoboot.txt that another system wrote", Place::Longer),
    ];
    let mut logs = Vec::new();
    for (name, place) in places {
        for committed in Slot::BOTH {
            let mut device = Device::flashed(committed, Some(now), Some(old));
            spoil_p1(&mut device, place);
            // A loader that walks starts slot A, whichever was committed.
            mend(&mut device, Slot::A, 0, false);
            let log = device.take_log(&format!("{name}, {committed} committed"), &p1());
            assert!(log.written() > 0, "{name} writes nothing");
            logs.push(Log { lost_p1: true, ..log });
        }
    }
    logs
}

#[derive(Clone, Copy)]
enum Place {
    BootSector,
    Root,
    File,
    /// The file has another length than it should.
    Longer,
}

fn spoil_p1(device: &mut Device, place: Place) {
    let start = Layout::default().boot.bytes().start;
    let file = warppool_ota::p1::locate(&mut device.p1()).unwrap().offset;
    // The root directory ends where the file begins: 512 entries of 32 bytes.
    let at = match place {
        Place::BootSector => 0,
        Place::Root => file - 512 * 32,
        Place::File => file,
        Place::Longer => return rewrite_autoboot(device),
    };
    device.spoil(start + at, &[0xff; 512]);
}

/// Adds a comment to the file as an editor on a PC would, so that it has another length.
fn rewrite_autoboot(device: &mut Device) {
    let mut p1 = vec![0; (Layout::default().boot.sectors * 512) as usize];
    let start = Layout::default().boot.bytes().start;
    device.store().read(start, &mut p1).unwrap();
    {
        let volume = fatfs::FileSystem::new(std::io::Cursor::new(&mut p1), fatfs::FsOptions::new()).unwrap();
        let mut file = volume.root_dir().open_file("autoboot.txt").unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
        file.write_all("# seen by a PC\n".repeat(40).as_bytes()).unwrap();
    }
    device.spoil(start, &p1);
}

/// A slot with a flipped bit is found and mended: from the committed one, or by moving away from it first.
fn scrub(now: &Release, other: &Release, committed: Slot, damaged: Slot) -> Log {
    let (a, b) = if committed == Slot::A { (now, other) } else { (other, now) };
    let mut device = Device::flashed(committed, Some(a), Some(b));
    let at = kernel(&device, damaged);
    device.spoil(at, &[0xee; 512]);
    mend(&mut device, committed, 0, true);
    let name = format!(
        "scrub: {committed} committed, {damaged} damaged, {}",
        if now.version == other.version { "same" } else { "other" }
    );
    let log = device.take_log(&name, &p1_and_slots());
    assert!(log.written() > 0, "{name} writes nothing");
    Log { damaged: Some(damaged), ..log }
}

/// Where a slot's kernel begins, in bytes of the disk.
fn kernel(device: &Device, slot: Slot) -> u64 {
    let mut volume = warppool_ota::fat::Volume::open(device.slot(slot)).unwrap();
    let file = volume.find("kernel.img").unwrap();
    Layout::default().slot(slot).bytes().start + volume.pieces(&file).unwrap()[0].start
}

/// What a boot mends, recorded.
fn mend(device: &mut Device, running: Slot, deaths: u32, scrubbed: bool) {
    let trust = trust();
    let health = |slot| {
        let mut window = device.slot(slot);
        if scrubbed {
            thorough(&mut window, &trust)
        } else {
            warppool_ota::boot::Health::of_look(&warppool_ota::slot::look(&mut window, &trust))
        }
    };
    let (slot_a, slot_b) = (health(Slot::A), health(Slot::B));
    let own = if running == Slot::A { &slot_a } else { &slot_b };
    let running_version = own.version().unwrap().clone();
    let booted = Booted {
        partition: Some(running.partition()),
        tryboot: false,
        running: running_version,
        deaths,
        slot_a,
        slot_b,
    };
    let disk = device.disk.clone();
    let mut state = device.state.clone();
    settle(&disk, &trust, booted, &mut state, &mut |state| {
        disk.lock().events.push(Event::Saved(Box::new(state.clone())));
    })
    .unwrap();
    device.state = state;
}

/// The data partition takes the rest of a larger card.
pub fn growth(now: &Release) -> Log {
    let mut device = Device::flashed(Slot::A, Some(now), None);
    assert!(matches!(mbr::grow(&mut device.disk.clone()).unwrap(), mbr::Growth::Grown { .. }));
    let layout = Layout::default();
    let sector = |number: u32| u64::from(number) * 512..(u64::from(number) + 1) * 512;
    let records = [0, layout.extended.start, layout.data.start - warppool_ota::layout::ALIGN].map(sector);
    Log { grows: true, ..device.take_log("growth of the data partition", &records) }
}
