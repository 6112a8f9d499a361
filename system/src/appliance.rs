//! The running appliance: one loop that takes in what happens, does what follows, and pings the watchdog.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use warppool_handover::{Finish, SystemSettings};
use warppool_network::Lease;
use warppool_network::clock::{Config as ClockConfig, NtpServer, Timing, servers};
use warppool_network::names::{Config as NamesConfig, Service};
use warppool_ota::Release;
use warppool_panel::{Gesture, PanelEvent, PanelHandle};
use warppool_protocol::{Interface, PoolReport};

use crate::confirmation::Waiting;
use crate::console::say;
use crate::data::Data;
use crate::device_tree::Bootloader;
use crate::disk::BootDisk;
use crate::errands::Errands;
use crate::event::{Event, NetworkNews};
use crate::handover::Desk;
use crate::kernel_args::{Fault, KernelArgs};
use crate::mounts::DATA;
use crate::power::{self, Down};
use crate::probe::Probed;
use crate::reaper::Reaper;
use crate::resume::Resume;
use crate::roles;
use crate::services::Services;
use crate::signals::Wish;
use crate::sockets::Sockets;
use crate::supervise::{Manner, Policy, Restart};
use crate::units::{After, Unit};
use crate::updates::Updates;
use crate::watchdog::Watchdog;
use crate::{child, clock, crash, data, fault, led, names, network, pool, resume, sockets, ssh, sys, users};

/// The loop turns at least so often, for the watchdog and for all that goes by time.
const TURN: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);
/// How long the pool may take to write out what it has; longer with a block on its way.
const POOL_GRACE: Duration = Duration::from_secs(20);
const POOL_GRACE_WITH_BLOCK: Duration = Duration::from_mins(1);
const OTHERS_GRACE: Duration = Duration::from_secs(5);
/// The owner's report says our address; it is not waited for longer than this.
const FINISH_WITHOUT_ADDRESS: Duration = Duration::from_secs(30);
/// Programs that are started again for as long as the appliance runs.
pub const KEPT: Policy = Policy { restart: Restart::Always, heartbeat: None, safe_mode: None, grace: OTHERS_GRACE };

/// What is known from the boot on and never changes.
#[derive(Debug)]
pub struct Facts {
    pub release: Release,
    pub args: KernelArgs,
    pub bootloader: Bootloader,
    pub disk: Option<BootDisk>,
    pub machine_id: String,
    /// This program, for starting its roles.
    pub program: PathBuf,
    /// On the uptime clock.
    pub started: Duration,
}

/// What the pool has told.
#[derive(Debug, Default)]
pub struct PoolState {
    pub report: Option<PoolReport>,
    /// It has been healthy once since the boot.
    pub was_up: bool,
    /// Since when it has been healthy without a break.
    pub healthy_since: Option<Duration>,
    /// Its configuration is known to work.
    pub proven: bool,
    pub blocks_found: u64,
    /// When its configuration was last changed, as of the last look.
    pub config_changed: pool::Changed,
    /// The same as of its last start; `None` while that is not known.
    pub began_with: Arc<Mutex<Option<pool::Changed>>>,
}

impl PoolState {
    fn began_with(&self) -> MutexGuard<'_, Option<pool::Changed>> {
        self.began_with.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Appliance {
    pub facts: Facts,
    pub settings: SystemSettings,
    pub data: Data,
    pub reaper: Reaper,
    pub errands: Errands,
    pub watchdog: Watchdog,
    pub services: Services,
    pub sockets: Sockets,
    pub panel: Option<PanelHandle>,
    /// What the LED shows, as of the last line about it in the log.
    pub shown: Option<warppool_panel::State>,
    pub clock: clock::Clock,
    pub updates: Updates,
    pub pool: PoolState,
    pub probed: Probed,
    pub interfaces: Vec<Interface>,
    pub leases: Vec<Lease>,
    /// The name on the network, when it had to be another than was asked for.
    pub announced: Option<String>,
    pub units: Vec<Unit>,
    pub waiting: Option<Waiting>,
    pub going_down: Option<Down>,
    /// The hand-over partition, and what is left to do to it.
    pub desk: Option<Desk>,
    pub finish: Option<Finish>,
    /// What the hand-over, or a reset, had wrong, for as long as this boot lasts.
    pub handover_faults: Vec<String>,
    /// What the program before us left, as far as it is not taken over yet.
    pub resume: Resume,
    /// What was laid ready last for the program after us.
    pub last_laid: Option<Resume>,
    /// When [`Appliance::every_second`] last ran, on the uptime clock.
    pub second: Duration,
}

impl Appliance {
    /// Turns until the machine goes down.
    pub fn run(mut self, inbox: &Receiver<Event>) -> ! {
        // Only from here on can a panic be survived.
        self.resume.running = true;
        self.lay_ready();
        loop {
            fault::strike(self.facts.args.fault, sys::uptime().saturating_sub(self.facts.started));
            self.watchdog.ping_if_due();
            match inbox.recv_timeout(TURN) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                // We hold a sender ourselves.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TURN),
            }
            self.services.tick();
            if sys::uptime().saturating_sub(self.second) >= SECOND {
                self.second = sys::uptime();
                self.every_second();
            }
            self.lay_ready();
            if let Some(down) = self.going_down.take() {
                self.go_down(down, inbox);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ended { service, pid, exit } => self.ended(&service, pid, exit),
            Event::Clock(told) => {
                if self.clock.take(&told, Path::new(DATA), &self.errands) {
                    self.updates.clock_is_trusted();
                }
            }
            Event::Names(told) => self.names(told),
            Event::Question(question) => self.question(question),
            Event::Panel(event) => self.panel(event),
            Event::Wish(Wish::Restart) => self.go(Down::Restart, "asked for by signal"),
            Event::Wish(Wish::PowerOff) => self.go(Down::PowerOff, "asked for by signal"),
            Event::Network(news) => self.network(news),
            Event::Probed(probed) => self.probed = probed,
            Event::Update(news) => self.update_news(news),
        }
    }

    fn ended(&mut self, service: &str, pid: i32, exit: crate::reaper::Exit) {
        let death = self.services.ended(service, pid, exit);
        if service == pool::NAME {
            self.pool.report = None;
            self.pool.healthy_since = None;
            self.pool.proven = false;
        }
        let Some(death) = death else { return };
        if let Some(manner) = death.gave_up {
            let with = if manner == Manner::Plain {
                "that configuration does not work either; one that asks for nothing, and the ledger in memory"
            } else {
                "it died too often; the last configuration that worked, and the ledger in memory"
            };
            say!("{service}: safe mode: {with}");
            self.resume.safe = true;
        }
        let worth_keeping = service == pool::NAME || matches!(exit, crate::reaper::Exit::Signal(_));
        if worth_keeping {
            let at = clock::now();
            self.errands.send("a crash", move || {
                crash::keep(Path::new(DATA), at, &death.service, &death.how, &death.tail);
            });
        }
    }

    /// A heart-beat of the pool.
    pub fn pool_reports(&mut self, report: PoolReport) {
        let now = sys::uptime();
        if let Some(life) = self.services.life(pool::NAME) {
            life.heard(now);
        }
        if pool::is_healthy(&report) {
            if self.pool.healthy_since.is_none() {
                self.pool.healthy_since = Some(now);
                say!("pool: healthy");
            }
            self.pool.was_up = true;
        } else if self.pool.healthy_since.take().is_some() {
            say!("pool: not healthy (listening {}, page {})", report.listening, report.api);
        }
        if report.blocks_found > self.pool.blocks_found && self.pool.report.is_some() {
            say!("pool: a block was found");
            if let Some(panel) = &self.panel {
                panel.celebrate();
            }
        }
        self.pool.blocks_found = report.blocks_found;
        self.pool.report = Some(report);
    }

    fn every_second(&mut self) {
        let now = sys::uptime();
        self.prove_pool(now);
        self.kill_pool_on_purpose(now);
        self.clock.tick(Path::new(DATA), &self.errands);
        self.start_units();
        self.finish_handover(now);
        if let Some(waiting) = self.waiting.take_if(|waiting| waiting.is_over(now)) {
            waiting.refuse("nobody pressed the button in time");
        }
        self.update_second(now);
        self.show();
    }

    /// A minute of health proves a configuration. In safe mode a changed one is a reason to try again.
    fn prove_pool(&mut self, now: Duration) {
        let safe = self.services.life(pool::NAME).is_some_and(|life| life.is_safe());
        let healthy = self.pool.healthy_since.map(|since| now.saturating_sub(since));
        if healthy.is_some_and(|long| long >= pool::PROVEN) {
            if let Some(life) = self.services.life(pool::NAME) {
                life.healthy();
            }
            let began_with = *self.pool.began_with();
            if !safe
                && !self.pool.proven
                && let Some(began_with) = began_with
            {
                self.pool.proven = true;
                let keep = move || match pool::keep_good(&pool::folder(), began_with) {
                    Ok(true) => say!("pool: its configuration works; kept"),
                    Ok(false) => {}
                    Err(why) => say!("pool: its configuration cannot be kept: {why}"),
                };
                self.errands.send("the configuration that works", keep);
            }
        }
        let changed = pool::changed_at(&pool::folder());
        if changed != self.pool.config_changed {
            self.pool.config_changed = changed;
            if safe {
                say!("pool: its configuration was changed; leaving safe mode");
                self.resume.safe = false;
                if let Some(life) = self.services.life(pool::NAME) {
                    life.leave_safe_mode();
                }
                self.services.restart(pool::NAME);
            }
        }
    }

    fn kill_pool_on_purpose(&mut self, now: Duration) {
        let Some(Fault::PoolDies(after)) = self.facts.args.fault else { return };
        if let Some(life) = self.services.life(pool::NAME)
            && !life.is_safe()
            && let Some(pid) = life.running_for(now, after)
        {
            say!("fault: the pool is killed");
            child::signal_group(pid, Signal::SIGKILL);
        }
    }

    /// Starts what the image brings beside the pool, once what it waits for is there.
    fn start_units(&mut self) {
        let has_network = self.has_address();
        let has_data = self.data == Data::Disk;
        let ready = |unit: &Unit| match unit.after {
            After::Boot => true,
            After::Data => has_data,
            After::Network => has_network,
        };
        for unit in self.units.extract_if(.., |unit| ready(unit)).collect::<Vec<_>>() {
            if !unit.is_wanted() {
                continue;
            }
            let Some(user) = users::by_name(&unit.user) else {
                say!("{}: the image has no user {}", unit.name, unit.user);
                continue;
            };
            let (name, policy) = (unit.name.clone(), unit.policy());
            self.services.add(&name, policy, None, move |_| unit.launch(user));
        }
    }

    /// Erases the hand-over's secrets and leaves a report, with our address where there is one in time.
    fn finish_handover(&mut self, now: Duration) {
        let late = now.saturating_sub(self.facts.started) >= FINISH_WITHOUT_ADDRESS;
        let addresses: Vec<String> = self.interfaces.iter().flat_map(|it| &it.addresses).map(|it| bare(it)).collect();
        if addresses.is_empty() && !late {
            return;
        }
        let (Some(mut order), Some(desk)) = (self.finish.take(), self.desk.clone()) else { return };
        if let Some(report) = &mut order.report {
            report.addresses = addresses;
        }
        let work = move || match desk.finish(&order, &mut || ()) {
            Ok(done) if done.settings_erased => say!("handover: erased"),
            Ok(_) => {}
            Err(why) => say!("handover: cannot be finished: {why}; its secrets may still be on the partition"),
        };
        drop(std::thread::Builder::new().name("handover".into()).spawn(work));
    }

    fn network(&mut self, news: NetworkNews) {
        match news {
            NetworkNews::Keep { interface, helpers } => {
                let ours: Vec<String> =
                    self.services.names().into_iter().filter(|name| name.ends_with(&format!(" {interface}"))).collect();
                for name in ours.iter().filter(|name| !helpers.iter().any(|it| it.name == **name)) {
                    self.services.remove(name);
                }
                for helper in helpers {
                    let name = helper.name.clone();
                    self.services.add(&name, KEPT, None, move |_| network::launch(&helper));
                    self.adopt(&name, KEPT);
                }
            }
            NetworkNews::Plugged { interface } => {
                for name in [format!("dhcp {interface}"), format!("dhcp6 {interface}")] {
                    if self.services.has(&name) {
                        self.services.restart(&name);
                    }
                }
            }
            NetworkNews::Interfaces(interfaces) => {
                self.interfaces = interfaces;
                // Nobody can be asked, and nobody asks, before there is an address.
                if self.has_address() && !self.services.has(names::NAME) {
                    self.start_names();
                    self.start_clock();
                }
            }
            NetworkNews::Leases(leases) => {
                let before = self.time_servers();
                self.leases = leases;
                if self.services.has(clock::NAME) && self.time_servers() != before {
                    self.start_clock();
                }
            }
        }
    }

    pub fn has_address(&self) -> bool {
        self.interfaces.iter().any(|it| !it.addresses.is_empty())
    }

    fn time_servers(&self) -> Vec<NtpServer> {
        servers(&self.settings.device.ntp, &self.leases)
    }

    /// Starts, or starts anew, the child that asks for the time.
    pub fn start_clock(&mut self) {
        let config = ClockConfig {
            servers: self.time_servers(),
            not_before: self.facts.release.built,
            timing: Timing::default(),
        };
        let program = self.facts.program.clone();
        self.services.add(clock::NAME, KEPT, Some(clock::listen), move |_| {
            Ok(roles::launch(&program, clock::NAME, users::CLOCK).input(clock::input(&config)))
        });
        self.adopt(clock::NAME, KEPT);
    }

    /// Starts, or starts anew, the child that answers to our name.
    pub fn start_names(&mut self) {
        let config = NamesConfig {
            hostname: self.settings.device.hostname.clone(),
            // The page is not reachable from outside before there are accounts; its name leads to it all the same then.
            services: vec![Service::stratum(3333), Service::http(80)],
        };
        let program = self.facts.program.clone();
        self.services.add(names::NAME, KEPT, Some(names::listen), move |_| {
            Ok(roles::launch(&program, names::NAME, users::MDNS).input(names::input(&config)))
        });
        self.adopt(names::NAME, KEPT);
    }

    pub fn start_pool(&mut self) {
        for unit in &self.units {
            if let Err(why) = unit.make_home(Path::new(DATA)) {
                say!("{}: its folder cannot be made: {why}", unit.name);
            }
        }
        pool::ensure_config(&pool::folder());
        self.pool.config_changed = pool::changed_at(&pool::folder());
        let (program, sockets) = (self.facts.program.clone(), self.sockets.clone());
        let zone = self.settings.device.timezone.clone();
        let open_files = pool::raise_limits();
        let began_with = self.pool.began_with.clone();
        self.services.add(pool::NAME, pool::POLICY, None, move |manner| {
            // Before it can read them: what changes from here on is not known to be what it began with.
            *began_with.lock().unwrap_or_else(PoisonError::into_inner) = Some(pool::changed_at(&pool::folder()));
            pool::launch(&program, &sockets, open_files, zone.as_ref(), manner)
        });
        self.adopt(pool::NAME, pool::POLICY);
    }

    pub fn start_ssh(&mut self) {
        if !ssh::is_possible(&self.settings.ssh.keys) {
            return;
        }
        if let Err(why) = ssh::put_keys(Path::new(DATA), &self.settings.ssh.keys) {
            return say!("ssh: its keys cannot be stored: {why}");
        }
        self.services.add(ssh::NAME, ssh::POLICY, None, |_| Ok(ssh::launch(Path::new(DATA))));
        self.adopt(ssh::NAME, ssh::POLICY);
    }

    /// Takes over the process that the program before us had started for a service, if it had.
    fn adopt(&mut self, name: &str, policy: Policy) {
        if let Some(at) = self.resume.children.iter().position(|child| child.name == name) {
            let child = self.resume.children.swap_remove(at);
            self.services.adopt(&child, policy, self.resume.safe);
        }
    }

    fn names(&mut self, told: warppool_network::names::Event) {
        match told {
            warppool_network::names::Event::Name(name) => {
                say!("names: this is {name}");
                self.announced = Some(name);
            }
            warppool_network::names::Event::Trouble(why) => say!("names: {why}"),
        }
    }

    fn panel(&mut self, event: PanelEvent) {
        match event {
            PanelEvent::PowerKey => self.go(Down::PowerOff, "the power button was pressed"),
            PanelEvent::Gesture(Gesture::Restart) => self.go(Down::Restart, "the button was held"),
            PanelEvent::Gesture(Gesture::FactoryReset) => self.factory_reset(),
            PanelEvent::Gesture(Gesture::Confirm) => self.confirmed(),
            PanelEvent::Gesture(Gesture::Cancelled) => {
                if let Some(waiting) = self.waiting.take() {
                    waiting.refuse("the button was held instead of pressed");
                }
            }
            PanelEvent::Gesture(Gesture::ShowState) => {}
        }
    }

    pub fn faults(&self) -> Vec<String> {
        let space = data::space(Path::new(DATA));
        let mut faults: Vec<String> = data::fault(&self.data, space).into_iter().collect();
        faults.extend(self.updates.faults());
        faults.extend(self.handover_faults.iter().cloned());
        faults
    }

    fn show(&mut self) {
        let view = led::View {
            going_down: false,
            restart_pending: self.updates.waits_for_block(),
            waiting_for_button: self.waiting.is_some(),
            updating: self.updates.is_installing(),
            trial: self.updates.trial().is_some(),
            safe_mode: self.services.life(pool::NAME).is_some_and(|life| life.is_safe()),
            has_faults: !self.faults().is_empty(),
            pool: self.pool.report.clone(),
            pool_was_up: self.pool.was_up,
        };
        let state = led::state(&view);
        if self.shown != Some(state) {
            self.shown = Some(state);
            say!("led: {}", led::words(state));
        }
        if let Some(panel) = &self.panel {
            panel.set(state);
        }
    }

    /// Has the machine go down, once this turn of the loop is through.
    pub fn go(&mut self, down: Down, why: &str) {
        say!("shutdown: {why}");
        self.going_down.get_or_insert(down);
    }

    /// Keeps ready what a panic must not lose.
    fn lay_ready(&mut self) {
        let mut now = self.resume.clone();
        now.watchdog = self.watchdog.fd();
        now.sockets = sockets::descriptors(&self.sockets);
        // Those not yet adopted are as much ours.
        let running = self.services.children();
        now.children.retain(|left| !running.iter().any(|child| child.pid == left.pid));
        now.children.extend(running);
        now.clock_trusted = self.clock.trusted;
        now.data_fault = match &self.data {
            Data::Disk => None,
            Data::ReadOnly { why } | Data::Memory { why } => Some(why.clone()),
        };
        self.laid_ready(now);
    }

    /// Stops the pool, then the others, puts the data away and goes down.
    fn go_down(&mut self, down: Down, inbox: &Receiver<Event>) -> ! {
        if let Some(panel) = &self.panel {
            panel.set(warppool_panel::State::ShuttingDown);
        }
        // An end in order is no death of this version, however soon it comes.
        self.updates.count_anew();
        let pending = self.pool.report.as_ref().is_some_and(|report| report.block_pending);
        let grace = if pending { POOL_GRACE_WITH_BLOCK } else { POOL_GRACE };
        say!("shutdown: stopping the pool");
        self.services.stop(pool::NAME, grace);
        self.wait_for(inbox, grace + OTHERS_GRACE, |services| !services.is_running(pool::NAME));
        say!("shutdown: stopping everything else");
        let mut longest = OTHERS_GRACE;
        for name in self.services.names() {
            let grace = self.services.life(&name).map_or(OTHERS_GRACE, |life| life.grace());
            longest = longest.max(grace);
            self.services.stop(&name, grace);
        }
        let patience = longest + OTHERS_GRACE;
        self.wait_for(inbox, patience, |services| !services.names().iter().any(|name| services.is_running(name)));
        self.clock.save(Path::new(DATA), &self.errands);
        let Self { errands, watchdog, .. } = self;
        if !errands.finish(POOL_GRACE, || watchdog.ping_if_due()) {
            say!("shutdown: the disk does not take what is left");
        }
        if let Some(panel) = self.panel.take() {
            drop(panel);
        }
        if down == Down::PowerOff {
            self.watchdog.disarm();
        }
        let watchdog = &mut self.watchdog;
        power::go_down(down, || watchdog.ping_if_due())
    }

    fn wait_for(&mut self, inbox: &Receiver<Event>, patience: Duration, is_done: impl Fn(&Services) -> bool) {
        let until = sys::uptime() + patience;
        while !is_done(&self.services) && sys::uptime() < until {
            self.watchdog.ping_if_due();
            // Anybody else who wants something now is told by the end of the question.
            if let Ok(Event::Ended { service, pid, exit }) = inbox.recv_timeout(Duration::from_millis(200)) {
                drop(self.services.ended(&service, pid, exit));
            }
            self.services.tick();
        }
    }

    fn laid_ready(&mut self, now: resume::Resume) {
        if self.last_laid.as_ref() != Some(&now) {
            now.store();
            self.last_laid = Some(now);
        }
    }
}

/// An address without its network's length.
fn bare(address: &str) -> String {
    address.split('/').next().unwrap_or_default().to_owned()
}
