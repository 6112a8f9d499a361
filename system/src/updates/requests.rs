//! What can be asked of updates, by somebody or by the schedule, and what becomes of it.

use std::time::Duration;

use warppool_ota::boot::Mode;
use warppool_ota::schedule::{Busy, install_now, next_check};
use warppool_ota::state::TrialRecord;
use warppool_ota::{Slot, feed, schedule};
use warppool_protocol::{Automatic, Channel, Installation, Progress, RefusedFor, Reply, Stage, UpdateSource};

use super::jobs::{self, Chore, InstallEnd, News, Ready};
use super::{at, disks};
use crate::appliance::Appliance;
use crate::confirmation::Confirmed;
use crate::console::say;
use crate::mailbox::Mailbox;
use crate::power::Down;
use crate::requests::slot_name;
use crate::server::Asker;
use crate::{clock, sys, users};

/// Background work waits until the appliance has come up.
const QUIET: Duration = Duration::from_mins(2);
/// Slots are read again so often, seconds.
const SCRUB: u64 = 7 * 24 * 3600;

impl Appliance {
    pub fn update_news(&mut self, news: News) {
        match news {
            News::Progress(progress) => {
                if let Some(job) = &mut self.updates.job {
                    job.heard = sys::uptime();
                    job.asker.progress(progress.clone());
                    self.updates.progress = Some(progress);
                }
            }
            News::Installed(end) => self.installed(end),
            News::Checked(found) => self.checked(found),
            News::Verified(found) => self.verified(found),
            News::Copied { to, done } => {
                self.updates.job = None;
                match done {
                    Ok(version) => {
                        self.updates.health[at(to)] = warppool_ota::boot::Health::Sound(version);
                        self.updates.damage[at(to)].clear();
                        self.updates.note(format!("slot {to} was repaired"));
                    }
                    Err(why) => self.updates.tell(format!("slot {to} cannot be repaired: {why}; install an update")),
                }
            }
            News::Committed { slot, done, asker } => self.committed(slot, done, asker),
        }
    }

    /// Where an update would go; refused where one must not be installed now.
    fn target(&self) -> Result<(Slot, Slot), (RefusedFor, String)> {
        let updates = &self.updates;
        if updates.mode != Mode::Normal || updates.gate.is_some() {
            return Err((RefusedFor::Busy, "this version is itself on trial; wait until it is kept".into()));
        }
        if updates.job.is_some() || updates.ready.is_some() || self.waiting.is_some() {
            return Err((RefusedFor::Busy, "something else is going on with the slots; try again in a while".into()));
        }
        let (Some(running), Some(committed)) = (updates.running, updates.committed()) else {
            return Err((
                RefusedFor::Failed,
                "it is not known which slot runs; restart, and look at the faults".into(),
            ));
        };
        if running != committed {
            let why = format!("slot {running} runs, but slot {committed} is the one to start; restart first");
            return Err((RefusedFor::Failed, why));
        }
        Ok((running, running.other()))
    }

    /// `by`: the user who asks.
    pub fn install(&mut self, source: UpdateSource, by: u32, asker: &Asker) {
        let allow_downgrade = self.settings.device.allow_downgrade;
        self.install_allowing(source, by, asker, allow_downgrade);
    }

    fn install_allowing(&mut self, source: UpdateSource, by: u32, asker: &Asker, allow_downgrade: bool) {
        let (running, target) = match self.target() {
            Ok(slots) => slots,
            Err((why, message)) => return asker.refuse(why, message),
        };
        let source = match source {
            UpdateSource::Feed => match &self.updates.available {
                Some(update) => UpdateSource::Url(update.url.clone()),
                None => return asker.refuse(RefusedFor::Missing, "no newer version is known; ask the feed first"),
            },
            other => other,
        };
        let admission = jobs::admission(&self.facts, running, target, allow_downgrade);
        match jobs::install(&self.updates.tools, source, by, admission, asker.clone()) {
            Ok(job) => {
                self.updates.note(format!("installing into slot {target}"));
                self.updates.health[at(target)] = warppool_ota::boot::Health::Empty;
                self.updates.job = Some(job);
                self.updates.progress = Some(Progress { stage: Stage::Checking, done: 0, total: 0, reused: 0 });
            }
            Err(why) => asker.refuse(RefusedFor::Failed, why),
        }
    }

    fn installed(&mut self, end: InstallEnd) {
        let Some(job) = self.updates.job.take() else { return };
        self.updates.progress = None;
        match end {
            InstallEnd::Ready { target, version, fetched, reused } => {
                // The children's word is not enough: the manifest's signature is checked here.
                let look = match (&self.facts.disk, &self.updates.trust) {
                    (Some(disk), Some(trust)) => disks::look(disk, target, trust),
                    _ => warppool_ota::boot::Health::Empty,
                };
                if look.version() != Some(&version) {
                    let why = "what lies in the slot is not what was installed";
                    self.updates.note(format!("not installed: {why}"));
                    return job.asker.refuse(RefusedFor::Invalid, why);
                }
                self.updates.health[at(target)] = warppool_ota::boot::Health::Sound(version.clone());
                self.updates.damage[at(target)].clear();
                self.updates.note(format!(
                    "version {version} is in slot {target}: {fetched} bytes fetched, {reused} there before"
                ));
                self.updates.ready = Some(Ready { target, version, fetched, reused, asker: job.asker });
            }
            InstallEnd::Older { source, by, message } => {
                self.updates.note(format!("not installed: {message}"));
                job.asker.progress(Progress { stage: Stage::WaitingForButton, done: 0, total: 0, reused: 0 });
                self.wait_for_button(Confirmed::Install { source, by }, job.asker);
            }
            InstallEnd::Refused(message) => {
                self.updates.note(format!("not installed: {message}"));
                job.asker.refuse(RefusedFor::Invalid, message);
            }
            InstallEnd::Failed(message) => {
                self.updates.note(format!("not installed: {message}"));
                self.updates.state.last_error = Some(message.clone());
                self.updates.keep_state();
                job.asker.refuse(RefusedFor::Failed, message);
            }
        }
    }

    /// The button said that an older version may be installed.
    pub fn install_confirmed(&mut self, source: UpdateSource, by: u32, asker: &Asker) {
        self.install_allowing(source, by, asker, true);
    }

    /// Starts the version that is ready, once no block is on its way.
    fn start_trial(&mut self) {
        let pending = self.pool.report.as_ref().is_some_and(|report| report.block_pending);
        let Some(ready) = self.updates.ready.take() else { return };
        if pending {
            ready.asker.progress(Progress { stage: Stage::WaitingForBlock, done: 0, total: 0, reused: 0 });
            self.updates.ready = Some(ready);
            return;
        }
        let trial = TrialRecord {
            slot: ready.target,
            version: ready.version.clone(),
            started: false,
            baseline: self.baseline(),
        };
        self.updates.state.trial = Some(trial);
        self.updates.keep_state();
        if let Err(why) = Mailbox::open()
            .ok_or("there is no firmware to ask".to_owned())
            .and_then(|mut mailbox| mailbox.arm_trial().map_err(|why| why.to_string()))
        {
            self.updates.state.trial = None;
            self.updates.keep_state();
            self.updates.note(format!("version {} cannot be tried: {why}", ready.version));
            return ready.asker.refuse(RefusedFor::Failed, why);
        }
        // Once only: the next older version asks again.
        if self.settings.device.allow_downgrade {
            self.settings.device.allow_downgrade = false;
            self.store_settings("that a downgrade was made");
        }
        self.updates.note(format!("armed: version {} in slot {}", ready.version, ready.target));
        ready.asker.progress(Progress { stage: Stage::Restarting, done: 0, total: 0, reused: 0 });
        ready.asker.answer(Ok(Reply::Installed(Installation {
            version: ready.version.to_string(),
            slot: slot_name(ready.target),
            fetched: ready.fetched,
            reused: ready.reused,
        })));
        self.go(Down::RestartIntoTrial, &format!("trying version {} in slot {}", ready.version, ready.target));
    }

    /// Back to the other slot, as a trial like any other; out of a trial by a plain restart.
    pub fn rollback(&mut self, asker: Asker) {
        if self.updates.gate.is_some() || self.updates.mode != Mode::Normal {
            asker.answer(Ok(Reply::Accepted));
            self.updates.note("the trial was ended by hand".into());
            return self.go(Down::Restart, "the trial was ended by hand");
        }
        let (_, target) = match self.target() {
            Ok(slots) => slots,
            Err((why, message)) => return asker.refuse(why, message),
        };
        let Some(version) = self.updates.health[at(target)].version().cloned() else {
            return asker.refuse(RefusedFor::Missing, format!("slot {target} holds no version to go back to"));
        };
        if self.updates.trust.as_ref().is_some_and(|trust| version < trust.minimum_version) {
            let why = format!("version {version} in slot {target} is older than what may be gone back to");
            return asker.refuse(RefusedFor::Invalid, why);
        }
        if version < self.facts.release.version && !self.settings.device.allow_downgrade {
            asker.progress(Progress { stage: Stage::WaitingForButton, done: 0, total: 0, reused: 0 });
            return self.wait_for_button(Confirmed::Rollback, asker);
        }
        self.rollback_confirmed(&asker);
    }

    pub fn rollback_confirmed(&mut self, asker: &Asker) {
        let target = match self.target() {
            Ok((_, target)) => target,
            Err((why, message)) => return asker.refuse(why, message),
        };
        // Every file is read before it is tried.
        match jobs::prove(&self.updates.tools, target, asker.clone()) {
            Ok(job) => self.updates.job = Some(job),
            Err(why) => asker.refuse(RefusedFor::Failed, why),
        }
    }

    pub fn verify_slots(&mut self, slot: Option<Slot>, asker: &Asker) {
        if self.updates.job.is_some() {
            return asker.refuse(RefusedFor::Busy, "something else is going on with the slots; try again in a while");
        }
        let slots = slot.map_or(Slot::BOTH.to_vec(), |slot| vec![slot]);
        match jobs::scrub(&self.updates.tools, slots, asker.clone()) {
            Ok(job) => self.updates.job = Some(job),
            Err(why) => asker.refuse(RefusedFor::Failed, why),
        }
    }

    fn verified(&mut self, found: Vec<jobs::Found>) {
        let Some(job) = self.updates.job.take() else { return };
        let mut answer = Vec::new();
        for jobs::Found { slot, result } in found {
            match result {
                Ok((look, verdict)) => {
                    self.updates.judged(slot, &look, &verdict);
                    let damage = self.updates.damage[at(slot)].clone();
                    if !damage.is_empty() {
                        self.updates.note(format!("slot {slot} is damaged: {}", damage.join("; ")));
                    }
                    answer.push((slot_name(slot), damage));
                }
                Err(why) => answer.push((slot_name(slot), vec![why])),
            }
        }
        job.asker.answer(Ok(Reply::Verified(answer)));
        self.updates.state.last_scrub = Some(clock::now());
        self.updates.keep_state();
        // What was found may have to be put right.
        if let (Some(disk), Some(trust), Mode::Normal) =
            (self.facts.disk.clone(), &self.updates.trust, self.updates.mode)
        {
            let decision = self.updates.decide(&self.facts, &trust.minimum_version.clone());
            let watchdog = &mut self.watchdog;
            if let super::Standing::Leave(down) =
                self.updates.carry_out(decision, &disk, false, &mut || watchdog.ping_if_due())
            {
                self.go(down, "this version gives way");
            }
        }
    }

    pub fn check_for_update(&mut self, asker: &Asker) {
        if self.updates.job.is_some() {
            return asker.refuse(RefusedFor::Busy, "something else is going on with updates; try again in a while");
        }
        let feed = match (&self.settings.updates.feed, &self.updates.trust) {
            (Some(own), _) => own.clone(),
            (None, Some(trust)) if !trust.feed.is_empty() => trust.feed.clone(),
            _ => return asker.refuse(RefusedFor::Missing, "no update feed is set"),
        };
        let Some(trust) = self.updates.trust.clone() else {
            return asker.refuse(RefusedFor::Missing, "this image says nobody's signature counts");
        };
        let channel = channel(self.settings.updates.channel());
        let device = feed::Asker {
            running: self.facts.release.version.clone(),
            device: self.facts.machine_id.clone(),
            given_up: self.updates.state.given_up(),
            by_hand: asker.is_somebody(),
        };
        let now = (self.clock.trusted || self.updates.clock_trusted).then(clock::now);
        let question = jobs::question(&feed, channel, self.updates.state.serial(channel), now, trust, device);
        match jobs::check(&self.updates.tools, question, asker.clone()) {
            Ok(job) => self.updates.job = Some(job),
            Err(why) => asker.refuse(RefusedFor::Failed, why),
        }
    }

    fn checked(&mut self, found: Result<jobs::Offer, String>) {
        let Some(job) = self.updates.job.take() else { return };
        self.updates.state.last_check = Some(clock::now());
        match found {
            Ok(offer) => {
                self.updates.state.saw_serial(channel(self.settings.updates.channel()), offer.serial);
                self.updates.state.last_error = None;
                if let Some(update) = &offer.update
                    && self.updates.available.as_ref() != Some(update)
                {
                    self.updates.note(format!("version {} is available", update.version));
                }
                self.updates.available.clone_from(&offer.update);
                job.asker.answer(Ok(Reply::Update(offer.update)));
            }
            Err(why) => {
                say!("update: the feed cannot be asked: {why}");
                self.updates.state.last_error = Some(why.clone());
                job.asker.refuse(RefusedFor::Failed, why);
            }
        }
        self.updates.keep_state();
    }

    /// What goes by time: a job that hangs, a version that is ready, the feed, the slots' weekly look.
    pub(super) fn updates_turn(&mut self, now: Duration) {
        if let Some(job) = &self.updates.job
            && job.is_stuck(now)
        {
            say!("update: no headway for {} minutes; stopped", jobs::STUCK.as_secs() / 60);
            job.kill();
        }
        self.start_trial();
        let busy = Busy {
            block_pending: self.pool.report.as_ref().is_some_and(|report| report.block_pending),
            on_trial: self.updates.mode != Mode::Normal,
            installing: self.updates.job.is_some() || self.updates.ready.is_some() || self.waiting.is_some(),
        };
        if busy.any() || now.saturating_sub(self.updates.started) < QUIET {
            return;
        }
        if self.updates.last_turn.is_some_and(|last| now.saturating_sub(last) < Duration::from_mins(1)) {
            return;
        }
        self.updates.last_turn = Some(now);
        if let Some(chore) = self.updates.next.pop() {
            return self.do_chore(chore);
        }
        if !self.clock.trusted {
            return;
        }
        let time = clock::now();
        if self.updates.state.last_scrub.is_none_or(|last| time.saturating_sub(last) >= SCRUB) {
            return self.do_chore(Chore::Scrub);
        }
        let wanted = &self.settings.updates;
        let (automatic, every) = (automatic(wanted.automatic()), wanted.every_hours);
        let failed = self.updates.state.last_error.is_some();
        let due = next_check(self.updates.state.last_check, failed, every, &self.facts.machine_id, time);
        let has_feed = self.settings.updates.feed.is_some()
            || self.updates.trust.as_ref().is_some_and(|trust| !trust.feed.is_empty());
        if has_feed && due <= time {
            return self.check_for_update(&Asker::nobody());
        }
        if self.updates.available.is_some() && install_now(automatic, busy, self.local_hour(automatic)) {
            self.install(UpdateSource::Feed, users::ROOT.uid, &Asker::nobody());
        }
    }

    /// Asked only where it counts.
    fn local_hour(&mut self, automatic: schedule::Automatic) -> Option<u8> {
        let schedule::Automatic::Window { .. } = automatic else { return None };
        let watchdog = &mut self.watchdog;
        clock::local_hour(&self.reaper, self.settings.device.timezone.as_ref(), || watchdog.ping_if_due())
    }

    fn do_chore(&mut self, chore: Chore) {
        let started = match chore {
            Chore::Scrub => jobs::scrub(&self.updates.tools, Slot::BOTH.to_vec(), Asker::nobody()),
            Chore::Copy { from, to } => jobs::copy(&self.updates.tools, from, to),
        };
        match started {
            Ok(job) => self.updates.job = Some(job),
            Err(why) => say!("update: {why}"),
        }
    }
}

fn channel(channel: Channel) -> feed::Channel {
    match channel {
        Channel::Stable => feed::Channel::Stable,
        Channel::Beta => feed::Channel::Beta,
    }
}

fn automatic(automatic: Automatic) -> schedule::Automatic {
    match automatic {
        Automatic::Off => schedule::Automatic::Off,
        Automatic::Window { from, until } => schedule::Automatic::Window { from, until },
        Automatic::AtOnce => schedule::Automatic::AtOnce,
    }
}
