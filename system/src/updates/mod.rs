//! Updates as PID 1 drives them: what a boot is, the gate of a trial, jobs in children, the schedule.
//!
//! What is decided stands in `warppool_ota`; here its decisions meet the disk, the firmware and the rest of the appliance.

mod at_boot;
mod disks;
mod jobs;
mod requests;
mod roles;
mod sources;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use warppool_handover::Updates as Wanted;
use warppool_ota::autoboot::Autoboot;
use warppool_ota::boot::{Health, Mode};
use warppool_ota::gate::Gate;
use warppool_ota::journal::Journal;
use warppool_ota::state::{DIRECTORY, State};
use warppool_ota::{Slot, Trust};
use warppool_protocol::{Firmware, JournalEntry, Progress, SlotState, Trial, UpdateState};

use crate::appliance::Facts;
use crate::clock;
use crate::console::say;
use crate::errands::Errands;
use crate::event::Events;
use crate::power::Down;
use crate::reaper::Reaper;
use crate::requests::slot_name;

pub use jobs::{Job, News};
pub use roles::role;

/// The oldest boot loader that updates are known to work with: 2025-12-08, Unix seconds.
const GOOD_LOADER: u64 = 1_765_152_000;
/// Lines of the journal that a status shows.
const SHOWN: usize = 50;

/// What a boot comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    Stay,
    /// This slot gives way: go down at once.
    Leave(Down),
}

/// What a job's thread needs.
#[derive(Clone, Debug)]
pub struct Tools {
    pub reaper: Reaper,
    pub events: Events,
    pub program: PathBuf,
    pub disk: Option<crate::disk::BootDisk>,
}

#[derive(Debug)]
pub struct Updates {
    tools: Tools,
    errands: Errands,
    trust: Option<Trust>,
    state: State,
    /// What this boot is; decided by [`Updates::at_boot`].
    mode: Mode,
    running: Option<Slot>,
    p1: Option<Autoboot>,
    /// Of slot A and B.
    health: [Health; 2],
    damage: [Vec<String>; 2],
    deaths: u32,
    /// This boot has committed another slot than the firmware started.
    moved: bool,
    /// What is saved outlives this boot.
    remembers: bool,
    loader_built: Option<u64>,
    gate: Option<Gate>,
    shown_trial: Option<Trial>,
    /// This boot has been called healthy.
    healthy: bool,
    job: Option<Job>,
    progress: Option<Progress>,
    /// A version that is ready and waits for a block to settle.
    ready: Option<jobs::Ready>,
    available: Option<warppool_protocol::Update>,
    /// What is wrong and what to do about it.
    told: Vec<String>,
    clock_trusted: bool,
    /// Jobs that wait for the one that runs.
    next: Vec<jobs::Chore>,
    started: Duration,
    /// When what goes by time was last looked at.
    last_turn: Option<Duration>,
}

fn at(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

impl Updates {
    pub fn new(facts: &Facts, trust: Option<Trust>, reaper: Reaper, events: Events, errands: Errands) -> Self {
        let loaded = State::load(Path::new(DIRECTORY));
        let mut told = Vec::new();
        if let Some(problem) = loaded.problem {
            say!("update: {problem}");
        }
        if trust.is_none() {
            told.push("this image says nobody's signature counts: it cannot be updated; flash it again".to_owned());
        }
        Self {
            tools: Tools { reaper, events, program: facts.program.clone(), disk: facts.disk.clone() },
            errands,
            trust,
            state: loaded.state,
            mode: Mode::Normal,
            running: None,
            p1: None,
            health: [Health::Empty, Health::Empty],
            damage: [Vec::new(), Vec::new()],
            deaths: 0,
            moved: false,
            remembers: false,
            loader_built: facts.bootloader.built,
            gate: None,
            shown_trial: None,
            healthy: false,
            job: None,
            progress: None,
            ready: None,
            available: None,
            told,
            clock_trusted: false,
            next: Vec::new(),
            started: facts.started,
            last_turn: None,
        }
    }

    /// Adds a line to the journal and the log.
    fn note(&self, text: String) {
        say!("update: {text}");
        let at = clock::now();
        self.errands.send("the journal of updates", move || {
            if let Err(why) = Journal::new(Path::new(DIRECTORY)).add(at, &text) {
                say!("update: the journal cannot be written: {why}");
            }
        });
    }

    /// Keeps the state, away from the main loop.
    fn keep_state(&self) {
        let state = self.state.clone();
        self.errands.send("the state of updates", move || {
            if let Err(why) = state.save(Path::new(DIRECTORY)) {
                say!("update: its state cannot be kept: {why}");
            }
        });
    }

    pub fn clock_is_trusted(&mut self) {
        self.clock_trusted = true;
    }

    pub fn running(&self) -> Option<Slot> {
        self.running
    }

    pub fn committed(&self) -> Option<Slot> {
        self.p1.map(|autoboot| autoboot.committed)
    }

    pub fn trial(&self) -> Option<Trial> {
        self.shown_trial.clone()
    }

    /// Another channel was chosen: what the one before offered is no offer any more.
    pub fn forget_offer(&mut self) {
        self.available = None;
    }

    pub fn is_installing(&self) -> bool {
        self.progress.is_some()
    }

    pub fn waits_for_block(&self) -> bool {
        self.ready.is_some()
    }

    pub fn faults(&self) -> impl Iterator<Item = String> {
        self.told.iter().cloned()
    }

    pub fn firmware(&self) -> Firmware {
        let advice = self.loader_built.filter(|built| *built < GOOD_LOADER).map(|_| {
            "the boot loader is older than 2025-12-08: update it with rpi-eeprom-update from a Raspberry Pi OS card"
                .into()
        });
        Firmware { built: self.loader_built, advice, attempts: self.deaths + 1 }
    }

    pub fn slots(&self) -> Vec<SlotState> {
        let state = |slot: Slot| SlotState {
            slot: slot_name(slot),
            version: self.health[at(slot)].version().map(ToString::to_string),
            damage: self.damage[at(slot)].clone(),
        };
        Slot::BOTH.into_iter().map(state).collect()
    }

    pub fn state(&self, wanted: &Wanted) -> UpdateState {
        UpdateState {
            automatic: wanted.automatic(),
            channel: wanted.channel(),
            every_hours: wanted.every_hours,
            available: self.available.clone(),
            last_checked: self.state.last_check,
            last_error: self.state.last_error.clone(),
            installing: self.progress.clone(),
        }
    }
}

/// What happened to this device's updates, newest first.
pub fn journal() -> Vec<JournalEntry> {
    let lines = Journal::new(Path::new(DIRECTORY)).last(SHOWN);
    lines.into_iter().map(|line| JournalEntry { at: line.at, text: line.text }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use warppool_ota::{Release, Version};

    use super::*;
    use crate::device_tree::Bootloader;
    use crate::kernel_args::KernelArgs;

    /// Version 1.0.0, started from slot B, on a machine without a disk.
    pub fn facts(tryboot: Option<u32>) -> Facts {
        let release = Release {
            product: "warppool".into(),
            hardware: "rpi5".into(),
            version: Version::new(1, 0, 0),
            built: 1_790_000_000,
        };
        Facts {
            release,
            args: KernelArgs::parse("").0,
            bootloader: Bootloader { partition: Some(3), tryboot, ..Bootloader::default() },
            disk: None,
            machine_id: String::new(),
            program: "/nowhere".into(),
            started: Duration::ZERO,
        }
    }

    pub fn updates() -> Updates {
        let (events, _) = sync_channel(9);
        let errands = Errands::start().expect("a thread can be started");
        Updates::new(&facts(None), None, Reaper::default(), events, errands)
    }
}
