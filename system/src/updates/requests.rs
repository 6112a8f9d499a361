//! What can be asked of updates, by somebody or by the schedule, and what becomes of it.

use std::time::Duration;

use warppool_ota::boot::{Mode, may_try};
use warppool_ota::install::admit_version;
use warppool_ota::schedule::{Busy, install_now, next_check, next_install};
use warppool_ota::state::TrialRecord;
use warppool_ota::{Slot, Version, feed, schedule};
use warppool_protocol::{Automatic, Channel, Installation, Progress, RefusedFor, Reply, Stage, UpdateSource};

use super::jobs::{self, Chore, InstallEnd, News, Offer, Ready};
use super::{Updates, at, disks};
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
/// How long a version that is ready waits for a pool that says nothing.
const SILENCE: Duration = Duration::from_mins(5);
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
            News::Checked { channel, found } => self.checked(channel, found),
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
        // What could never be kept is not begun.
        if let Err(why) = may_try(self.facts.bootloader.partition) {
            return Err((RefusedFor::Failed, why.to_string()));
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
            Err(why) => self.not_installed(asker, RefusedFor::Failed, why),
        }
    }

    /// Tells who asked; where nobody did, it is tried again later, and each time later.
    fn not_installed(&mut self, asker: &Asker, why: RefusedFor, message: String) {
        self.updates.note(format!("not installed: {message}"));
        if !asker.is_somebody() {
            self.updates.stumbled(clock::now());
        }
        asker.refuse(why, message);
    }

    /// Who wrote or read the slot is not believed: the manifest's signature and the version are checked here.
    fn checked_again(&self, target: Slot, version: &Version, allow_older: bool) -> Result<(), String> {
        let (Some(disk), Some(trust)) = (&self.facts.disk, &self.updates.trust) else {
            return Err("there is no disk, or nobody is trusted".into());
        };
        if disks::look(disk, target, trust).version() != Some(version) {
            return Err("what lies in the slot is not what was installed".into());
        }
        admit_version(version, trust, Some(&self.facts.release.version), allow_older).map_err(|why| why.to_string())
    }

    fn installed(&mut self, end: InstallEnd) {
        let Some(job) = self.updates.job.take() else { return };
        self.updates.progress = None;
        match end {
            InstallEnd::Ready { target, version, fetched, reused } => {
                if let Err(why) = self.checked_again(target, &version, job.allow_older) {
                    return self.not_installed(&job.asker, RefusedFor::Invalid, why);
                }
                self.updates.health[at(target)] = warppool_ota::boot::Health::Sound(version.clone());
                self.updates.damage[at(target)].clear();
                self.updates.note(format!(
                    "version {version} is in slot {target}: {fetched} bytes fetched, {reused} there before"
                ));
                self.updates.ready =
                    Some(Ready { target, version, fetched, reused, asker: job.asker, silent_since: None });
            }
            InstallEnd::Older { source, by, message } if job.asker.is_somebody() => {
                self.updates.note(format!("not installed: {message}"));
                job.asker.progress(Progress { stage: Stage::WaitingForButton, done: 0, total: 0, reused: 0 });
                self.wait_for_button(Confirmed::Install { source, by }, job.asker);
            }
            InstallEnd::Older { message, .. } | InstallEnd::Refused(message) => {
                self.not_installed(&job.asker, RefusedFor::Invalid, message);
            }
            InstallEnd::Failed(message) => {
                self.updates.state.last_error = Some(message.clone());
                self.updates.keep_state();
                self.not_installed(&job.asker, RefusedFor::Failed, message);
            }
        }
    }

    /// The button said that an older version may be installed.
    pub fn install_confirmed(&mut self, source: UpdateSource, by: u32, asker: &Asker) {
        self.install_allowing(source, by, asker, true);
    }

    /// Starts the version that is ready, once no block is on its way.
    fn start_trial(&mut self, now: Duration) {
        let Some(mut ready) = self.updates.ready.take() else { return };
        let pending = self.pool.report.as_ref().map(|report| report.block_pending);
        if must_wait(pending, &mut ready.silent_since, now) {
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
            let why = format!("version {} cannot be tried: {why}", ready.version);
            return self.not_installed(&ready.asker, RefusedFor::Failed, why);
        }
        self.updates.state.found_its_feet();
        self.updates.keep_state();
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
        let allow_older = self.settings.device.allow_downgrade;
        self.rollback_allowing(&asker, allow_older);
    }

    /// The button said that an older version may be gone back to.
    pub fn rollback_confirmed(&mut self, asker: &Asker) {
        self.rollback_allowing(asker, true);
    }

    fn rollback_allowing(&mut self, asker: &Asker, allow_older: bool) {
        let target = match self.target() {
            Ok((_, target)) => target,
            Err((why, message)) => return asker.refuse(why, message),
        };
        // Every file is read before it is tried.
        match jobs::prove(&self.updates.tools, target, allow_older, asker.clone()) {
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
        let address = match (&self.settings.updates.feed, &self.updates.trust) {
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
        let seen = self.updates.state.serial(channel);
        let question = jobs::Question { address, channel, trust, seen, now, asker: device };
        match jobs::check(&self.updates.tools, question, asker.clone()) {
            Ok(job) => self.updates.job = Some(job),
            Err(why) => asker.refuse(RefusedFor::Failed, why),
        }
    }

    fn checked(&mut self, asked: feed::Channel, found: Result<jobs::Offer, String>) {
        let Some(job) = self.updates.job.take() else { return };
        self.updates.state.last_check = Some(clock::now());
        match found {
            Ok(offer) => {
                self.updates.offered(asked, channel(self.settings.updates.channel()), &offer);
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
        self.start_trial(now);
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
        if self.updates.has_offer(time) && install_now(automatic, busy, self.local_hour(automatic)) {
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

impl Updates {
    /// Takes in what the feed of a channel has. What is offered is that of the chosen one, which may have changed meanwhile.
    fn offered(&mut self, asked: feed::Channel, chosen: feed::Channel, offer: &Offer) {
        self.state.saw_serial(asked, offer.serial);
        self.state.last_error = None;
        if asked != chosen {
            return;
        }
        if let Some(update) = &offer.update
            && self.available.as_ref() != Some(update)
        {
            self.note(format!("version {} is available", update.version));
        }
        self.available.clone_from(&offer.update);
    }

    /// Whether there is something to install without being asked for. Who asked by hand was also offered what failed here.
    fn has_offer(&self, now: u64) -> bool {
        let given_up = self.state.given_up();
        let fits = |version: &str| !given_up.iter().any(|given_up| given_up.to_string() == version);
        let rested = next_install(self.state.stumbles, self.state.last_stumble, now) <= now;
        rested && self.available.as_ref().is_some_and(|update| fits(&update.version))
    }

    /// An installation that nobody asked for did not come about.
    fn stumbled(&mut self, now: u64) {
        self.available = None;
        self.state.stumbled(now);
        self.keep_state();
    }
}

/// Whether a version that is ready waits on: for a found block to settle, and while the pool does not say, because it is starting anew,
/// for a few minutes. A block that a pool left behind when it died for good is told by the next one.
fn must_wait(block_pending: Option<bool>, silent_since: &mut Option<Duration>, now: Duration) -> bool {
    if let Some(pending) = block_pending {
        *silent_since = None;
        return pending;
    }
    now.saturating_sub(*silent_since.get_or_insert(now)) < SILENCE
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_waits_for_a_block_and_for_a_pool_that_is_starting() {
        let mut silent = None;
        for (minute, pending, waits) in [
            (1, Some(true), true),
            (99, Some(true), true),
            // It died, with a block on its way, and came up again.
            (100, None, true),
            (104, None, true),
            (105, Some(true), true),
            (106, None, true),
            (110, None, true),
            (111, None, false),
            (112, Some(false), false),
        ] {
            let now = Duration::from_mins(minute);
            assert_eq!(must_wait(pending, &mut silent, now), waits, "minute {minute}: {pending:?}");
        }
    }

    fn offer(serial: u64, version: &str) -> Offer {
        let (notes, url) = (String::new(), String::new());
        Offer { serial, update: Some(warppool_protocol::Update { version: version.into(), notes, url, bytes: 1 }) }
    }

    #[test]
    fn what_a_channel_offers_counts_for_that_channel() {
        use feed::Channel::{Beta, Stable};
        let mut updates = crate::updates::tests::updates();
        updates.offered(Beta, Stable, &offer(9, "1.1.0"));
        assert_eq!((updates.state.serial(Beta), updates.state.serial(Stable)), (9, 0));
        assert!(!updates.has_offer(0), "the channel was changed while its feed was asked");
        updates.offered(Stable, Stable, &offer(3, "1.1.0"));
        assert_eq!((updates.state.serial(Beta), updates.state.serial(Stable)), (9, 3));
        assert!(updates.has_offer(0));
        updates.forget_offer();
        assert!(!updates.has_offer(0), "another channel was chosen");
    }

    #[test]
    fn what_failed_is_not_installed_again_unasked_before_its_time() {
        let now = 1_800_000_000;
        let mut updates = crate::updates::tests::updates();
        let offered =
            |updates: &mut Updates| updates.offered(feed::Channel::Stable, feed::Channel::Stable, &offer(3, "1.1.0"));
        offered(&mut updates);
        updates.stumbled(now);
        assert!(!updates.has_offer(now + 9999), "the feed is asked first");
        offered(&mut updates);
        assert!(!updates.has_offer(now + 60));
        assert!(updates.has_offer(now + 3600));
        updates.state.failed(&Version::new(1, 1, 0), true);
        assert!(!updates.has_offer(now + 3600), "it failed its trial");
    }
}
