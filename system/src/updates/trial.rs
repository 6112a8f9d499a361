//! A version on trial: the gate's question each second, and what its answer leads to.

use std::path::Path;
use std::time::Duration;

use warppool_ota::Slot;
use warppool_ota::boot::{Mode, may_commit};
use warppool_ota::gate::{Baseline, Signs, Verdict};
use warppool_ota::state::DIRECTORY;
use warppool_protocol::{Node, RefusedFor, Reply, Trial};

use super::jobs::News;
use super::{Updates, disks};
use crate::appliance::{Appliance, Facts};
use crate::console::say;
use crate::data::{self, Data};
use crate::event::Event;
use crate::kernel_args::Fault;
use crate::mailbox::Mailbox;
use crate::mounts::DATA;
use crate::pool;
use crate::power::Down;
use crate::server::Asker;

/// A boot that was healthy for so long counts as a good one, whatever came before.
const GOOD_BOOT: Duration = Duration::from_mins(1);

impl Updates {
    /// The boots so far are accounted for: this one turned out well, ends in order, or they were a trial's. The firmware's counter, or
    /// ours, begins anew.
    pub fn count_anew(&mut self) {
        self.deaths = 0;
        if let Some(mut mailbox) = Mailbox::open()
            && let Err(why) = mailbox.clear_boot_count()
        {
            say!("update: the firmware does not count boots ({why}); counted on the data partition");
        }
        if self.state.attempts != 0 {
            self.state.attempts = 0;
            self.keep_state();
        }
    }
}

impl Appliance {
    /// What counts for the gate, as of now: the pool's own word and the look from outside have to agree.
    fn signs(&mut self) -> Signs {
        let safe_mode = self.services.life(pool::NAME).is_some_and(|life| life.is_safe());
        let space = data::space(Path::new(DATA));
        let report = self.pool.report.as_ref();
        let broken = self.facts.args.fault == Some(Fault::Gate);
        Signs {
            data_mounted: self.data == Data::Disk,
            data_writable: space.is_some_and(|space| !space.read_only),
            network: self.has_address(),
            pool_listening: self.probed.stratum && report.is_some_and(|report| report.listening),
            api: !broken && self.probed.http && report.is_some_and(|report| report.api),
            node: report.is_some_and(|report| report.node == Node::Reachable),
            safe_mode,
            memory_ledger: report.is_some_and(|report| report.memory_ledger),
        }
    }

    /// How things are before an update.
    pub(super) fn baseline(&mut self) -> Baseline {
        let signs = self.signs();
        Baseline { network: signs.network, node: signs.node, memory_ledger: signs.memory_ledger }
    }

    /// Once a second.
    pub fn update_second(&mut self, now: Duration) {
        self.good_boot(now);
        let signs = self.signs();
        if let Some(verdict) = self.updates.gate.as_mut().map(|gate| gate.second(signs)) {
            self.judge(verdict);
        }
        self.updates_turn(now);
    }

    /// A boot that turned out well: the firmware's counter, or ours, begins anew.
    fn good_boot(&mut self, now: Duration) {
        let enough = GOOD_BOOT.min(self.facts.args.gate);
        let long = self.pool.healthy_since.map(|since| now.saturating_sub(since));
        if self.updates.healthy || long.is_none_or(|long| long < enough) {
            return;
        }
        self.updates.healthy = true;
        self.updates.count_anew();
    }

    fn judge(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Waiting { healthy, needed, missing } => {
                self.updates.shown_trial = Some(Trial {
                    healthy_seconds: healthy,
                    needed_seconds: needed,
                    waiting_for: missing.into_iter().map(str::to_owned).collect(),
                });
            }
            Verdict::Healthy => {
                self.updates.gate = None;
                self.updates.begin_commit(&self.facts, None);
            }
            Verdict::Failed(why) => {
                self.updates.gate = None;
                let version = self.facts.release.version.clone();
                say!("gate: failed: {why}");
                self.updates.note(format!("version {version} failed its trial: {why}"));
                self.updates.state.failed(&version, true);
                self.updates.state.trial = None;
                self.updates.keep_state();
                self.go(Down::Restart, "the trial failed");
            }
        }
    }

    /// Somebody does not want to wait for the gate's time.
    pub fn commit_now(&mut self, asker: &Asker) {
        let Some(trial) = &self.updates.shown_trial else {
            return asker.refuse(RefusedFor::Missing, "no version is on trial");
        };
        if !trial.waiting_for.is_empty() {
            let why = format!("the version on trial is not well: {}", trial.waiting_for.join(", "));
            return asker.refuse(RefusedFor::Busy, why);
        }
        self.updates.gate = None;
        self.updates.begin_commit(&self.facts, Some(asker.clone()));
    }

    /// The sector was written, or could not be.
    pub(super) fn committed(&mut self, slot: Slot, done: Result<(), String>, asker: Option<Asker>) {
        match done {
            Ok(()) => {
                say!("gate: committed slot {slot}");
                self.updates.note(format!("version {} is kept in slot {slot}", self.facts.release.version));
                self.updates.shown_trial = None;
                self.updates.mode = Mode::Normal;
                self.updates.p1 = Some(warppool_ota::autoboot::Autoboot::new(slot));
                self.updates.state.trial = None;
                self.updates.keep_state();
                if let Some(asker) = asker {
                    asker.answer(Ok(Reply::Accepted));
                }
            }
            Err(why) => {
                say!("gate: slot {slot} cannot be committed: {why}");
                self.updates
                    .tell(format!("this version cannot be kept: {why}; the next start returns to the one before"));
                if let Some(asker) = asker {
                    asker.refuse(RefusedFor::Failed, why);
                }
            }
        }
    }
}

impl Updates {
    /// Writes the one sector that counts, away from the main loop: the journalled copy first, durably.
    fn begin_commit(&mut self, facts: &Facts, asker: Option<Asker>) {
        let events = self.tools.events.clone();
        let slot = match may_commit(facts.bootloader.is_trial(), facts.bootloader.partition, self.p1) {
            Ok(slot) => slot,
            Err(why) => {
                self.tell(format!("this trial cannot be kept: {why}"));
                if let Some(asker) = asker {
                    asker.refuse(RefusedFor::Failed, why.to_string());
                }
                return;
            }
        };
        let Some(disk) = facts.disk.clone() else { return };
        self.state.autoboot = Some(slot);
        let state = self.state.clone();
        self.errands.send("the commit", move || {
            if let Err(why) = state.save(Path::new(DIRECTORY)) {
                say!("update: its state cannot be kept: {why}");
            }
            let done = disks::commit(&disk, slot);
            drop(events.send(Event::Update(News::Committed { slot, done, asker })));
        });
    }
}
