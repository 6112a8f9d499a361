//! Boots a state of the disk with every loader that matters, and judges what comes up, what it mends, and the boot after that.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use warppool_firmware::{
    Board, Boot, Eeprom, Firmware, Load, Medium, Outcome, SET_REBOOT_FLAGS, TRYBOOT, Table, Volume, Zero, boot, request,
};
use warppool_ota::boot::{Health, Mode};
use warppool_ota::slot::{Look, look, verify};
use warppool_ota::{Layout, Slot, Trust, Version, Window, autoboot, mbr};

use super::crash::{Crash, Reads};
use super::log::Log;
use super::mend::{Booted, Settled, settle, thorough};
use super::release::{Release, trust};
use super::states::{Depth, Kind, Spec, States};
use super::store::Shared;

/// The loaders: two that walk, before and after fatal errors reset the board, and two that do not, in both readings of "partition 0".
const LOADERS: [Eeprom; 4] = [
    Eeprom::current(),
    Eeprom::floor(),
    Eeprom { zero: Zero::FirstBootable, ..Eeprom::released(2025, 8, 12) },
    Eeprom::oldest(),
];

/// What was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// States by kind.
    pub states: BTreeMap<Kind, usize>,
    pub boots: usize,
    /// Boots after which something was mended.
    pub mended: usize,
    /// Boots that only a loader that walks the partitions gets through: its `autoboot.txt` cannot be read.
    pub need_walk: usize,
    /// Boots with the tryboot flag set and `autoboot.txt` lost, which need the power to be cut.
    pub need_cut: usize,
    /// Boots of a slot that was damaged before the step, as it was.
    pub as_before: usize,
}

impl Tally {
    /// All states.
    pub fn total(&self) -> usize {
        self.states.values().sum()
    }

    fn count(&mut self, kind: Kind) {
        *self.states.entry(kind).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, count) in &other.states {
            *self.states.entry(*kind).or_default() += count;
        }
        self.boots += other.boots;
        self.mended += other.mended;
        self.need_walk += other.need_walk;
        self.need_cut += other.need_cut;
        self.as_before += other.as_before;
    }
}

/// A state without a verified slot.
#[derive(Clone, Debug)]
pub struct Failure {
    pub step: String,
    pub state: String,
    pub loader: String,
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, state, loader, what } = self;
        write!(formatter, "{step}: {what}\n  {state}\n  {loader}")
    }
}

/// What the releases in play contain.
#[derive(Debug)]
pub struct Judge {
    trust: Trust,
    layout: Layout,
    releases: HashMap<Version, BTreeMap<String, Vec<u8>>>,
    p1: Vec<u64>,
}

/// What is known already, and from which bytes.
///
/// A state that differs from one judged before only where neither loader nor boot has read is not judged again: they are
/// deterministic, and would read the same and do the same.
#[derive(Debug, Default)]
struct Known {
    /// By the identity of an unchanged slot.
    looks: Answers<Look>,
    sound: Answers<Result<Version, String>>,
    plain: Mutex<HashMap<Plain, Arc<OnceLock<Option<Reads>>>>>,
}

/// An answer about a slot, and what it was read from.
type Answers<T> = Mutex<HashMap<u64, (T, Reads)>>;

/// A state without anything special: window, writes of it, epoch, and whether partition 1 is gone.
type Plain = (usize, usize, usize, bool);

impl Judge {
    pub fn new(releases: &[&Release]) -> Self {
        let releases = releases.iter().map(|release| (release.version.clone(), release.files.clone())).collect();
        Self { trust: trust(), layout: Layout::default(), releases, p1: p1_sectors() }
    }

    /// Judges every state of a step; the first that fails ends it.
    pub fn step(&self, log: &Log, depth: Depth) -> Result<Tally, Failure> {
        let failure =
            |what: String| Failure { step: log.name.clone(), state: String::new(), loader: String::new(), what };
        if let Some(offset) = log.stray() {
            return Err(failure(format!("it writes at byte {offset}, where it has nothing to write")));
        }
        let states = States::of(log, depth, &self.p1);
        let known = Known::default();
        let (next, stop) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let work = || {
            let mut tally = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(spec) = states.specs.get(number).filter(|_| number < stop.load(Ordering::Relaxed)) else {
                    return Ok(tally);
                };
                let case = Case { judge: self, log, states: &states, spec, known: &known };
                if let Err(failure) = case.judge(&mut tally) {
                    stop.fetch_min(number, Ordering::Relaxed);
                    return Err((number, failure));
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let results: Vec<Result<Tally, (usize, Failure)>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let mut tally = Tally::default();
        let mut failures = Vec::new();
        for result in results {
            match result {
                Ok(part) => tally.add(&part),
                Err(failure) => failures.push(failure),
            }
        }
        match failures.into_iter().min_by_key(|(number, _)| *number) {
            Some((_, failure)) => Err(failure),
            None => Ok(tally),
        }
    }

    /// What a slot holds, if every file is as it should be: by the updater's reading and by the model's.
    fn sound(&self, crash: &Crash, slot: Slot) -> Result<Version, String> {
        let verdict = verify(&mut self.window(crash, slot), &self.trust);
        let version = match verdict.manifest {
            Some(manifest) if verdict.damage.is_empty() => manifest.version,
            _ => return Err(format!("slot {slot} does not verify: {:?}", verdict.damage)),
        };
        let files = self.releases.get(&version).ok_or_else(|| format!("nobody made version {version}"))?;
        let partition =
            Table::read(crash).map_err(|why| why.to_string())?.get(slot.partition()).ok_or("no such partition")?;
        let volume = Volume::open(crash, partition).map_err(|why| why.to_string())?;
        for (name, bytes) in files {
            let read = volume.read(name).map_err(|why| why.to_string())?;
            if read.as_ref() != Some(bytes) {
                return Err(format!("{name} of slot {slot} verifies, but the model reads something else"));
            }
        }
        Ok(version)
    }

    fn window(&self, crash: &Crash, slot: Slot) -> Window<Crash> {
        Window::new(crash.clone(), self.layout.slot(slot).bytes()).unwrap()
    }
}

/// One state of one step.
struct Case<'a> {
    judge: &'a Judge,
    log: &'a Log,
    states: &'a States,
    spec: &'a Spec,
    known: &'a Known,
}

impl Case<'_> {
    fn judge(&self, tally: &mut Tally) -> Result<(), Failure> {
        let crash = self.states.crash(self.spec);
        self.table(&crash).map_err(|what| self.failure("", what))?;
        tally.count(self.spec.kind);
        if !self.known_to_be_good(&crash, false, tally) {
            self.boots(&crash, tally, self.p1_may_be_lost(self.spec.kind))?;
        }
        if self.spec.kind != Kind::LostP1 {
            // And partition 1 gone besides.
            tally.count(Kind::LostP1);
            if !self.known_to_be_good(&crash, true, tally) {
                self.boots(&self.without_p1(crash), tally, true)?;
            }
        }
        Ok(())
    }

    fn without_p1(&self, mut crash: Crash) -> Crash {
        crash.lose(self.judge.p1[0]);
        crash
    }

    /// Whether the same state without what is special in it is good, and what is special lies where nobody reads.
    fn known_to_be_good(&self, crash: &Crash, lost: bool, tally: &mut Tally) -> bool {
        let Some(plain) = States::plain(self.spec) else { return false };
        let key = (plain.0, plain.1, self.spec.epoch, lost);
        let cell = self.known.plain.lock().unwrap().entry(key).or_default().clone();
        let reads = cell.get_or_init(|| {
            let mut plain = self.states.plain_crash(plain);
            if lost {
                plain = self.without_p1(plain);
            }
            plain.watch();
            self.boots(&plain, tally, lost).ok().map(|()| plain.reads())
        });
        reads.as_ref().is_some_and(|reads| !crash.differs_in(reads))
    }

    /// Whether this state has partition 1 damaged by other things than the order of its writes.
    fn p1_may_be_lost(&self, kind: Kind) -> bool {
        self.log.lost_p1 || matches!(kind, Kind::Sector | Kind::LostP1)
    }

    fn failure(&self, loader: &str, what: String) -> Failure {
        let state = self.states.describe(self.spec);
        Failure { step: self.log.name.clone(), state, loader: loader.into(), what }
    }

    /// The data partition is where it was and no smaller, in the updater's reading and in the model's.
    fn table(&self, crash: &Crash) -> Result<(), String> {
        if !self.log.grows {
            return Ok(());
        }
        let layout = mbr::read(&mut crash.clone()).map_err(|why| format!("the partition table is lost: {why}"))?;
        let before = self.judge.layout;
        let data =
            Table::read(crash).map_err(|why| why.to_string())?.get(6).ok_or("the loader finds no partition 6")?;
        let same = layout.data.start == before.data.start && data.start == u64::from(before.data.start);
        if !same || layout.data.sectors < before.data.sectors || data.sectors != u64::from(layout.data.sectors) {
            return Err(format!("the data partition was {:?} and is {:?}", before.data, layout.data));
        }
        let mut grown = crash.clone();
        mbr::grow(&mut grown).map_err(|why| format!("growing again fails: {why}"))?;
        match mbr::grow(&mut grown) {
            Ok(mbr::Growth::Complete) => Ok(()),
            other => Err(format!("growing does not come to its end: {other:?}")),
        }
    }

    fn boots(&self, crash: &Crash, tally: &mut Tally, p1_may_be_lost: bool) -> Result<(), Failure> {
        let mut settled: Vec<(u32, u32, u32)> = Vec::new();
        for eeprom in LOADERS {
            let fail = |what: String| self.failure(&format!("{eeprom:?}, armed {}", self.armed()), what);
            let mut firmware = Firmware::new(eeprom, Board::Pi5, Medium::Nvme);
            if self.armed() {
                firmware.mailbox(&mut request(SET_REBOOT_FLAGS, TRYBOOT));
            }
            tally.boots += 1;
            let started = match boot(crash, &mut firmware, Load::Names) {
                Outcome::Started(boot) => boot,
                Outcome::Stuck(why) => {
                    let lost = p1_may_be_lost && self.autoboot(crash).is_none();
                    let walks = eeprom.partition_walk || eeprom.zero == Zero::FirstBootable;
                    if !lost || (walks && !self.armed()) {
                        return Err(fail(format!("nothing boots: {why}")));
                    }
                    if !walks {
                        tally.need_walk += 1;
                        continue;
                    }
                    tally.need_cut += 1;
                    firmware.lose_power();
                    match boot(crash, &mut firmware, Load::Names) {
                        Outcome::Started(boot) => boot,
                        Outcome::Stuck(why) => {
                            return Err(fail(format!("nothing boots after a power cut either: {why}")));
                        }
                    }
                }
            };
            let slot = self.verified(crash, &started, tally).map_err(fail)?;
            // Loaders that start the same with the same words lead to the same.
            let key = (started.partition, started.chosen.partition, started.chosen.tryboot);
            if !settled.contains(&key) {
                settled.push(key);
                self.goes_on(crash, slot, &started, tally).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn armed(&self) -> bool {
        self.spec.kind == Kind::Reset
    }

    fn autoboot(&self, crash: &Crash) -> Option<autoboot::Autoboot> {
        autoboot::read(&mut Window::new(crash.clone(), self.judge.layout.boot.bytes()).ok()?).ok()
    }

    /// The slot that booted, if it is whole; or as damaged as the step found it.
    fn verified(&self, crash: &Crash, started: &Boot, tally: &mut Tally) -> Result<Slot, String> {
        let slot =
            Slot::from_partition(started.partition).ok_or_else(|| format!("partition {} boots", started.partition))?;
        match self.sound(crash, slot) {
            Ok(_) => Ok(slot),
            Err(_) if self.log.damaged == Some(slot) && self.as_damaged_as_before(crash, slot) => {
                tally.as_before += 1;
                Ok(slot)
            }
            Err(why) => Err(why),
        }
    }

    fn as_damaged_as_before(&self, crash: &Crash, slot: Slot) -> bool {
        let damage = |crash: &Crash| verify(&mut self.judge.window(crash, slot), &self.judge.trust).damage;
        damage(crash) == damage(&Crash::new(Arc::new(self.log.before.clone()), vec![]))
    }

    fn sound(&self, crash: &Crash, slot: Slot) -> Result<Version, String> {
        self.once(&self.known.sound, crash, slot, |crash| self.judge.sound(crash, slot))
    }

    fn look(&self, crash: &Crash, slot: Slot) -> Look {
        self.once(&self.known.looks, crash, slot, |crash| look(&mut self.judge.window(crash, slot), &self.judge.trust))
    }

    /// Asks about a slot, once as long as its bytes do not change.
    fn once<T: Clone>(&self, known: &Answers<T>, crash: &Crash, slot: Slot, ask: impl FnOnce(&Crash) -> T) -> T {
        let Some(identity) = crash.identity(self.judge.layout.slot(slot).bytes()) else { return ask(crash) };
        if let Some((answer, reads)) = known.lock().unwrap().get(&identity) {
            crash.note(reads);
            return answer.clone();
        }
        let mut watched = crash.clone();
        watched.watch();
        let answer = ask(&watched);
        let reads = watched.reads();
        crash.note(&reads);
        known.lock().unwrap().insert(identity, (answer.clone(), reads));
        answer
    }

    /// A slot's health at boot: by a first look, or by its files where the step is about damage.
    fn health(&self, crash: &Crash, slot: Slot) -> Health {
        if self.log.damaged.is_some() {
            thorough(&mut self.judge.window(crash, slot), &self.judge.trust)
        } else {
            Health::of_look(&self.look(crash, slot))
        }
    }

    /// The boot puts right what it finds, and after the next power cut a whole slot comes up again, with every loader.
    fn goes_on(&self, crash: &Crash, slot: Slot, started: &Boot, tally: &mut Tally) -> Result<(), String> {
        let manifest = self.look(crash, slot).manifest.ok_or("the slot that runs has no manifest")?;
        let booted = Booted {
            partition: Some(started.chosen.partition),
            tryboot: started.chosen.tryboot == 1,
            running: manifest.version,
            deaths: 0,
            slot_a: self.health(crash, Slot::A),
            slot_b: self.health(crash, Slot::B),
        };
        let disk = Shared::new(crash.clone());
        let mut state = self.states.epoch(self.spec).state.clone();
        let settled = settle(&disk, &self.judge.trust, booted, &mut state, &mut |_| {})?;
        let mended = disk.lock().clone();
        if mended.writes > 0 {
            tally.mended += 1;
        }
        match settled {
            Settled::Rest(Mode::Trial(trial)) => {
                self.next(&mended, None, tally)?;
                let mut kept = mended;
                let mut p1 = Window::new(&mut kept, self.judge.layout.boot.bytes()).map_err(|why| why.to_string())?;
                autoboot::commit(&mut p1, trial).map_err(|why| format!("the trial cannot be kept: {why}"))?;
                self.next(&kept, Some(trial), tally)
            }
            Settled::Rest(Mode::Normal) if mended.writes == 0 && !self.armed() => Ok(()),
            Settled::Rest(Mode::Normal) | Settled::Restart => self.next(&mended, None, tally),
        }
    }

    /// The next power cycle.
    fn next(&self, crash: &Crash, expected: Option<Slot>, tally: &mut Tally) -> Result<(), String> {
        for eeprom in LOADERS {
            let mut firmware = Firmware::new(eeprom, Board::Pi5, Medium::Nvme);
            tally.boots += 1;
            let started = match boot(crash, &mut firmware, Load::Names) {
                Outcome::Started(boot) => boot,
                Outcome::Stuck(why) => return Err(format!("the boot after this one fails with {eeprom:?}: {why}")),
            };
            let slot = self.verified(crash, &started, tally)?;
            if expected.is_some_and(|expected| expected != slot) {
                return Err(format!("slot {slot} boots after the other was committed"));
            }
        }
        Ok(())
    }
}

/// The sectors of partition 1 that a loader reads: boot sector, FAT, root directory and the file.
fn p1_sectors() -> Vec<u64> {
    use warppool_ota::fat::{Geometry, Root};
    let device = super::Device::flashed(Slot::A, None, None);
    let mut p1 = device.p1();
    let geometry = Geometry::read(&mut p1).unwrap();
    let Root::Fixed(root) = geometry.root else { panic!("partition 1 is not FAT16") };
    let file = warppool_ota::p1::locate(&mut p1).unwrap().offset;
    let start = Layout::default().boot.bytes().start;
    [0, geometry.fats[0].start, root.start, file].into_iter().map(|at| (start + at) / 512).collect()
}
