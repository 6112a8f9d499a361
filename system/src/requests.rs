//! What the pool and the command line ask of PID 1, and what it does about it. The short list stands in `warppool_protocol`.

use std::path::Path;
use std::time::Duration;

use warppool_ota::Slot;
use warppool_protocol::{Confirmation, Mode, RefusedFor, Reply, Request, SlotName, Status};

use crate::appliance::Appliance;
use crate::confirmation::{Confirmed, Waiting};
use crate::console::{log, say};
use crate::data::{self, Data};
use crate::mounts::DATA;
use crate::power::Down;
use crate::server::{Asker, Question};
use crate::{aside, clock, pool, reset, settings, sys, users};

/// Lines of the log that fit into an answer.
const MAX_LINES: u32 = 150;
/// How long a disk may take to keep the mark of a reset.
const MARK: Duration = Duration::from_mins(1);

pub fn slot_name(slot: Slot) -> SlotName {
    match slot {
        Slot::A => SlotName::A,
        Slot::B => SlotName::B,
    }
}

pub fn slot_of(name: SlotName) -> Slot {
    match name {
        SlotName::A => Slot::A,
        SlotName::B => Slot::B,
    }
}

impl Appliance {
    pub fn question(&mut self, Question { uid, request, asker }: Question) {
        match request {
            Request::Heartbeat(report) => {
                if uid != users::POOL.uid {
                    return asker.refuse(RefusedFor::Permission, "heart-beats come from the pool");
                }
                self.pool_reports(report);
                asker.answer(Ok(Reply::Accepted));
            }
            Request::Status => asker.answer(Ok(Reply::Status(Box::new(self.status())))),
            Request::Log { lines } => {
                asker.answer(Ok(Reply::Log(log().last(lines.min(MAX_LINES) as usize))));
            }
            Request::Install(source) => self.install(source, uid, &asker),
            Request::CheckForUpdate => self.check_for_update(&asker),
            Request::Commit => self.commit_now(&asker),
            Request::Rollback => self.rollback(asker),
            Request::Verify { slot } => self.verify_slots(slot.map(slot_of), &asker),
            Request::ConfigureUpdates { automatic, channel, every_hours } => {
                let before = self.settings.updates.channel();
                self.settings.updates.set(automatic, channel, every_hours);
                if self.settings.updates.channel() != before {
                    self.updates.forget_offer();
                }
                self.store_settings("how updates are installed");
                asker.answer(Ok(Reply::Accepted));
            }
            Request::Restart => {
                asker.answer(Ok(Reply::Accepted));
                self.go(Down::Restart, &format!("asked for by user {uid}"));
            }
            Request::PowerOff => {
                asker.answer(Ok(Reply::Accepted));
                self.go(Down::PowerOff, &format!("asked for by user {uid}"));
            }
            Request::FactoryReset => self.wait_for_button(Confirmed::FactoryReset, asker),
        }
    }

    /// Writes the settings out, away from the main loop.
    pub fn store_settings(&self, what: &'static str) {
        let settings = self.settings.clone();
        self.errands.send(what, move || {
            if let Err(why) = settings::store(Path::new(DATA), &settings) {
                say!("settings: cannot be stored: {why}");
            }
        });
    }

    /// One thing at a time waits for the button.
    pub fn wait_for_button(&mut self, what: Confirmed, asker: Asker) {
        if self.waiting.is_some() {
            return asker.refuse(RefusedFor::Busy, "something else waits for the button already");
        }
        let waiting = Waiting::new(what, asker);
        say!("button: a press within two minutes confirms: {:?}", waiting.shown());
        self.waiting = Some(waiting);
    }

    /// The button was pressed while something waited for it.
    pub fn confirmed(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        say!("button: confirmed: {:?}", waiting.shown());
        match waiting.what.clone() {
            Confirmed::FactoryReset => {
                waiting.accept();
                self.factory_reset();
            }
            Confirmed::Install { source, by } => self.install_confirmed(source, by, &waiting.asker()),
            Confirmed::Rollback => self.rollback_confirmed(&waiting.asker()),
        }
    }

    /// Marks the data for removal and restarts; the rest happens at the boot, when nothing uses it.
    pub fn factory_reset(&mut self) {
        match &self.data {
            Data::Disk => {
                let watchdog = &mut self.watchdog;
                let request = || reset::request(Path::new(DATA));
                match aside::wait("reset", MARK, &mut || watchdog.ping_if_due(), request) {
                    Some(Ok(())) => self.go(Down::Restart, "factory reset"),
                    Some(Err(why)) => say!("reset: cannot be begun: {why}"),
                    None => say!("reset: cannot be begun; replace the disk"),
                }
            }
            Data::ReadOnly { .. } | Data::Memory { .. } => {
                let Some(disk) = self.facts.disk.clone() else {
                    return say!("reset: there is no disk to reset");
                };
                say!("reset: the data partition is made anew");
                let watchdog = &mut self.watchdog;
                match data::make_anew(&self.reaper, &disk.data(), &mut || watchdog.ping_if_due()) {
                    Ok(kept) => {
                        say!("reset: done; unsettled blocks kept: {kept}");
                        self.go(Down::Restart, "factory reset");
                    }
                    Err(why) => say!("reset: failed: {why}; replace the disk"),
                }
            }
        }
    }

    pub fn status(&mut self) -> Status {
        let safe = self.services.life(pool::NAME).is_some_and(|life| life.is_safe());
        let restarts = self.services.life(pool::NAME).map_or(0, |life| life.restarts());
        let space = data::space(Path::new(DATA));
        Status {
            version: self.facts.release.version.to_string(),
            hardware: self.facts.release.hardware.clone(),
            hostname: self.settings.device.hostname.to_string(),
            uptime_seconds: sys::uptime().as_secs(),
            mode: if safe { Mode::Safe } else { Mode::Normal },
            firmware: self.updates.firmware(),
            running: self.updates.running().map(slot_name),
            committed: self.updates.committed().map(slot_name),
            slots: self.updates.slots(),
            trial: self.updates.trial(),
            update: self.updates.state(&self.settings.updates),
            data: match (&self.data, space) {
                (Data::Disk, Some(space)) if !space.read_only => {
                    warppool_protocol::DataState::Disk { total: space.total, free: space.free }
                }
                (Data::Disk, _) => {
                    warppool_protocol::DataState::ReadOnly { why: "it failed while it was written".into() }
                }
                (Data::ReadOnly { why }, _) => warppool_protocol::DataState::ReadOnly { why: why.clone() },
                (Data::Memory { why }, _) => warppool_protocol::DataState::Memory { why: why.clone() },
            },
            interfaces: self.interfaces.clone(),
            clock: warppool_protocol::Clock { now: clock::now(), trusted: self.clock.trusted },
            waiting_for_button: self.waiting.as_ref().map(|waiting| -> Confirmation { waiting.shown() }),
            faults: self.faults(),
            pool_restarts: restarts,
            journal: crate::updates::journal(),
        }
    }
}
