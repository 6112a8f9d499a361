//! What a boot has to put right before anything else starts: asks `warppool_ota::boot` and does what it says.

use std::path::Path;

use warppool_ota::boot::{self, Decision, Ground, Health, Mode, Step};
use warppool_ota::gate::Gate;
use warppool_ota::slot::{Look, Verdict};
use warppool_ota::state::{DIRECTORY, State};
use warppool_ota::{Slot, Version};

use super::jobs::{self, Chore};
use super::{Standing, Updates, at, disks};
use crate::appliance::Facts;
use crate::console::say;
use crate::disk::BootDisk;
use crate::mailbox::Mailbox;
use crate::power::Down;

/// Deciding comes to rest after a few rounds; a card that forgets what is written to it must not keep us here.
const ROUNDS: usize = 6;

impl Updates {
    /// Decides what this boot is. `resumed`: it was decided already, and only has to be known again.
    pub fn at_boot(&mut self, facts: &Facts, resumed: bool, has_data: bool, idle: &mut dyn FnMut()) -> Standing {
        let (Some(disk), Some(trust)) = (facts.disk.clone(), self.trust.clone()) else {
            // There is nothing to commit on, so that there is nothing to wait for either.
            if facts.bootloader.is_trial() {
                say!("gate: failed: this version on trial does not find its disk, or trusts nobody");
                return Standing::Leave(Down::Restart);
            }
            return Standing::Stay;
        };
        self.remembers = has_data;
        self.deaths = self.count_boot(resumed);
        self.p1 = disks::read_autoboot(&disk).map_err(|why| say!("update: {why}")).ok();
        for slot in Slot::BOTH {
            self.health[at(slot)] = disks::look(&disk, slot, &trust);
        }
        let mut standing = Standing::Stay;
        for _ in 0..ROUNDS {
            let decision = self.decide(facts, &trust.minimum_version);
            (self.mode, self.running) = (decision.mode, decision.running);
            if resumed {
                break;
            }
            let before = (self.p1, self.health.clone(), self.state.clone());
            standing = self.carry_out(decision, &disk, true, idle);
            if standing != Standing::Stay || before == (self.p1, self.health.clone(), self.state.clone()) {
                break;
            }
        }
        if let Mode::Trial(slot) = self.mode {
            self.begin_trial(slot, facts);
        }
        // What is read back at leisure: the slots' files.
        if !resumed && has_data {
            self.next.push(Chore::Scrub);
        }
        standing
    }

    pub(super) fn decide(&self, facts: &Facts, minimum: &Version) -> Decision {
        boot::decide(&boot::Facts {
            partition: facts.bootloader.partition,
            tryboot: facts.bootloader.is_trial(),
            deaths: self.deaths,
            p1: self.p1,
            moved: self.moved,
            remembers: self.remembers,
            slot_a: self.health[0].clone(),
            slot_b: self.health[1].clone(),
            running: facts.release.version.clone(),
            minimum: minimum.clone(),
            state: &self.state,
        })
    }

    /// Counts this boot, and says how many before it did not become healthy.
    fn count_boot(&mut self, resumed: bool) -> u32 {
        if let Some(count) = Mailbox::open().and_then(|mut mailbox| mailbox.boot_count().ok()) {
            return count.saturating_sub(1);
        }
        if resumed {
            return self.state.attempts.saturating_sub(1);
        }
        let before = self.state.attempts;
        self.state.attempts = before.saturating_add(1);
        self.save();
        before
    }

    /// Saves the state here and now: what follows relies on it.
    fn save(&self) {
        if let Err(why) = self.state.save(Path::new(DIRECTORY)) {
            say!("update: its state cannot be kept: {why}");
        }
    }

    /// Does what was decided. `now`: also what takes seconds, because nothing else runs yet; else that becomes a chore.
    pub(super) fn carry_out(
        &mut self,
        decision: Decision,
        disk: &BootDisk,
        now: bool,
        idle: &mut dyn FnMut(),
    ) -> Standing {
        for step in decision.steps {
            idle();
            match step {
                Step::Remember(slot) => {
                    self.state.autoboot = Some(slot);
                    self.save();
                }
                Step::RepairP1(slot) => {
                    let done = disks::repair(disk, slot);
                    self.p1 = disks::read_autoboot(disk).ok();
                    match done {
                        Ok(()) => self.note(format!("autoboot.txt could not be read; written anew for slot {slot}")),
                        Err(why) => self.tell(format!("partition 1 cannot be repaired: {why}; replace the disk")),
                    }
                }
                Step::TrialFailed(trial) => {
                    self.note(format!("version {} failed its trial; back on the version before it", trial.version));
                    self.state.failed(&trial.version, false);
                    self.count_anew();
                    self.forget_trial();
                }
                Step::TrialLost(trial) => {
                    let why = "the power was cut before, or it does not start";
                    self.note(format!("version {} never came up in its trial: {why}", trial.version));
                    self.state.lost(&trial.version);
                    self.forget_trial();
                }
                Step::TrialKept(_) => self.forget_trial(),
                Step::GiveWay { to, version } => {
                    let done = boot::give_way(&mut Appliances { disk }, &mut self.state, to, &version);
                    self.p1 = disks::read_autoboot(disk).ok();
                    match done {
                        Ok(()) => {
                            self.note(format!("version {version} gives way to slot {to}"));
                            return Standing::Leave(Down::Restart);
                        }
                        Err(why) => {
                            self.tell(format!("version {version} keeps dying and cannot give way to slot {to}: {why}"));
                        }
                    }
                }
                Step::MoveTo(slot) => {
                    if self.commit(disk, slot) {
                        self.moved = true;
                        self.note(format!("slot {slot} is started from now on"));
                    }
                }
                Step::Verify(slot) if now => self.verify_now(slot, idle),
                Step::Verify(_) => self.next.push(Chore::Scrub),
                Step::MakeUnbootable(slot) => match disks::make_unbootable(disk, slot) {
                    Ok(()) => {
                        self.note(format!("slot {slot} is damaged and will not be started"));
                        self.health[at(slot)] = Health::Empty;
                    }
                    Err(why) => {
                        self.tell(format!("the damaged slot {slot} cannot be written: {why}; replace the disk"));
                    }
                },
                Step::Copy { from, to } => self.next.push(Chore::Copy { from, to }),
                Step::Tell(text) => self.tell(text),
            }
        }
        Standing::Stay
    }

    /// For the page and the log; once.
    pub(super) fn tell(&mut self, text: String) {
        if !self.told.contains(&text) {
            self.note(text.clone());
            self.told.push(text);
        }
    }

    fn forget_trial(&mut self) {
        self.state.trial = None;
        self.save();
    }

    /// Makes a slot the one that is started: the journalled copy first, then the sector.
    fn commit(&mut self, disk: &BootDisk, slot: Slot) -> bool {
        self.state.autoboot = Some(slot);
        self.save();
        let done = disks::commit(disk, slot);
        self.p1 = disks::read_autoboot(disk).ok();
        if let Err(why) = &done {
            self.tell(format!("slot {slot} cannot be made the one that is started: {why}"));
        }
        done.is_ok()
    }

    fn verify_now(&mut self, slot: Slot, idle: &mut dyn FnMut()) {
        match jobs::verify(&self.tools, slot, idle) {
            Ok((look, verdict)) => self.judged(slot, &look, &verdict),
            Err(why) => say!("update: slot {slot} cannot be verified: {why}"),
        }
    }

    /// Takes in what a thorough look at a slot found.
    pub(super) fn judged(&mut self, slot: Slot, look: &Look, verdict: &Verdict) {
        self.health[at(slot)] = Health::of_verdict(look, verdict);
        self.damage[at(slot)] =
            if look.bootable { verdict.damage.iter().map(ToString::to_string).collect() } else { Vec::new() };
    }

    fn begin_trial(&mut self, slot: Slot, facts: &Facts) {
        let version = &facts.release.version;
        let baseline = match &mut self.state.trial {
            Some(trial) if trial.slot == slot && trial.version == *version => {
                trial.started = true;
                trial.baseline
            }
            // Its record was lost: nothing is known of before, and nothing is asked for beyond what must be.
            _ => warppool_ota::gate::Baseline::default(),
        };
        self.save();
        let needed = facts.args.gate.as_secs() as u32;
        let limit =
            facts.args.gate_limit.map_or(needed.saturating_mul(3).saturating_add(60), |limit| limit.as_secs() as u32);
        self.gate = Some(Gate::new(baseline, needed, limit));
        self.note(format!("version {version} is on trial in slot {slot}"));
    }
}

/// What giving way stands on here.
struct Appliances<'a> {
    disk: &'a BootDisk,
}

impl Ground for Appliances<'_> {
    type Error = String;

    fn clear_count(&mut self) -> Result<(), String> {
        let Some(mut mailbox) = Mailbox::open() else { return Ok(()) };
        if mailbox.boot_count().is_err() {
            // The state counts.
            return Ok(());
        }
        mailbox.clear_boot_count().map_err(|why| why.to_string())
    }

    fn save(&mut self, state: &State) -> Result<(), String> {
        state.save(Path::new(DIRECTORY)).map_err(|why| format!("it could not be remembered: {why}"))
    }

    fn commit(&mut self, slot: Slot) -> Result<(), String> {
        disks::commit(self.disk, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::updates::tests::{facts, updates};

    #[test]
    fn a_trial_that_does_not_find_its_disk_goes_back() {
        for (tryboot, resumed, expected) in [
            (Some(1), false, Standing::Leave(Down::Restart)),
            (Some(1), true, Standing::Leave(Down::Restart)),
            (Some(0), false, Standing::Stay),
            (None, false, Standing::Stay),
        ] {
            let standing = updates().at_boot(&facts(tryboot), resumed, false, &mut || ());
            assert_eq!(standing, expected, "{tryboot:?} {resumed}");
        }
    }
}
