//! What a boot does with the decision: the steps, carried out by the real functions in the order given.

use std::ops::ControlFlow;

use warppool_ota::boot::{self, Facts, Ground, Health, Mode, Step};
use warppool_ota::slot::{look, verify};
use warppool_ota::state::State;
use warppool_ota::{Disk, Layout, Slot, Trust, Version, Window, autoboot, install};

/// More rounds than any repair needs.
const ROUNDS: usize = 8;

/// What one boot knows of itself.
#[derive(Clone, Debug)]
pub struct Booted {
    pub partition: Option<u32>,
    pub tryboot: bool,
    pub running: Version,
    pub deaths: u32,
    pub slot_a: Health,
    pub slot_b: Health,
}

/// How a boot went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing is left to do.
    Rest(Mode),
    /// The other slot was committed and is to be started.
    Restart,
}

/// Health of a slot by its files' bytes.
pub fn thorough(disk: &mut dyn Disk, trust: &Trust) -> Health {
    let first = look(disk, trust);
    Health::of_verdict(&first, &verify(disk, trust))
}

/// Asks what is to be done and does it until nothing is. `save` is called with what is to be remembered, before what relies on it.
pub fn settle<D: Disk + Clone>(
    disk: &D,
    trust: &Trust,
    mut booted: Booted,
    state: &mut State,
    save: &mut dyn FnMut(&State),
) -> Result<Settled, String> {
    let layout = Layout::default();
    let window = |range| Window::new(disk.clone(), range).map_err(|why| why.to_string());
    let slot_window = |slot| window(layout.slot(slot).bytes());
    let mut moved = false;
    for _ in 0..ROUNDS {
        let mut p1 = window(layout.boot.bytes())?;
        let facts = Facts {
            partition: booted.partition,
            tryboot: booted.tryboot,
            deaths: booted.deaths,
            p1: autoboot::read(&mut p1).ok(),
            moved,
            remembers: true,
            slot_a: booted.slot_a.clone(),
            slot_b: booted.slot_b.clone(),
            running: booted.running.clone(),
            minimum: trust.minimum_version.clone(),
            state,
        };
        let decision = boot::decide(&facts);
        let steps: Vec<Step> = decision.steps.into_iter().filter(|step| !matches!(step, Step::Tell(_))).collect();
        if steps.is_empty() {
            return Ok(Settled::Rest(decision.mode));
        }
        for step in steps {
            let failed = |why: &dyn std::fmt::Display| format!("a step of the boot fails: {why}");
            match step {
                Step::Remember(slot) => {
                    state.autoboot = Some(slot);
                    save(state);
                }
                Step::RepairP1(slot) => autoboot::repair(&mut p1, slot).map_err(|why| failed(&why))?,
                Step::TrialFailed(trial) => {
                    state.failed(&trial.version, false);
                    state.trial = None;
                    save(state);
                }
                Step::TrialLost(trial) => {
                    state.lost(&trial.version);
                    state.trial = None;
                    save(state);
                }
                Step::TrialKept(_) => {
                    state.trial = None;
                    save(state);
                }
                Step::GiveWay { to, version } => {
                    boot::give_way(&mut Written { p1: &mut p1, save }, state, to, &version)
                        .map_err(|why| failed(&why))?;
                    return Ok(Settled::Restart);
                }
                Step::MoveTo(slot) => {
                    state.autoboot = Some(slot);
                    save(state);
                    autoboot::commit_or_repair(&mut p1, slot).map_err(|why| failed(&why))?;
                    moved = true;
                }
                Step::Verify(slot) => *booted.health(slot) = thorough(&mut slot_window(slot)?, trust),
                Step::MakeUnbootable(slot) => {
                    install::make_unbootable(&mut slot_window(slot)?).map_err(|why| failed(&why))?;
                    *booted.health(slot) = Health::Empty;
                }
                Step::Copy { from, to } => {
                    let mut watch = |_| ControlFlow::Continue(());
                    let (mut from, mut target) = (slot_window(from)?, slot_window(to)?);
                    let ready = install::copy(&mut from, &mut target, trust, &mut watch).map_err(|why| failed(&why))?;
                    *booted.health(to) = Health::Sound(ready.manifest.version);
                }
                Step::Tell(_) => {}
            }
        }
    }
    Err(format!("the boot does not come to rest in {ROUNDS} rounds"))
}

/// What is written of giving way.
struct Written<'a, D> {
    p1: &'a mut D,
    save: &'a mut dyn FnMut(&State),
}

impl<D: Disk> Ground for Written<'_, D> {
    type Error = autoboot::AutobootError;

    fn clear_count(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn save(&mut self, state: &State) -> Result<(), Self::Error> {
        (self.save)(state);
        Ok(())
    }

    fn commit(&mut self, slot: Slot) -> Result<(), Self::Error> {
        autoboot::commit_or_repair(self.p1, slot)
    }
}

impl Booted {
    fn health(&mut self, slot: Slot) -> &mut Health {
        match slot {
            Slot::A => &mut self.slot_a,
            Slot::B => &mut self.slot_b,
        }
    }
}
