//! All supervised programs: starts them when they are due, takes in their ends, keeps what a panic of ours must not lose.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::child::{self, Launch, signal_group};
use crate::console::{log, say};
use crate::event::{Event, Events};
use crate::reaper::{Exit, Reaper};
use crate::supervise::{Life, Manner, Order, Policy};
use crate::{crash, resume, sys};

/// Lines of a dead program that are shown on the console.
const SHOWN: usize = 5;
/// And so often a program's.
const SHOWN_OFTEN: u32 = 5;

/// Makes what is to be started, in the manner that is told.
type Recipe = Box<dyn Fn(Manner) -> io::Result<Launch> + Send>;
/// Reads a program's reports until they end.
pub type Reports = fn(PipeReader, &Events);

struct Service {
    recipe: Recipe,
    reports: Option<Reports>,
    life: Life,
    child: Option<resume::Child>,
    /// To be forgotten when it has ended.
    leaving: bool,
}

/// How a program came to its end, where nobody had asked for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Death {
    pub service: String,
    pub how: String,
    pub tail: Vec<String>,
    /// This death led to safe mode, or further down in it.
    pub gave_up: Option<Manner>,
}

pub struct Services {
    reaper: Reaper,
    events: Events,
    table: BTreeMap<String, Service>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("names", &self.table.keys()).finish_non_exhaustive()
    }
}

/// What `BusyBox` and shells say of a program, or an applet, that is not there.
const NOT_FOUND: Exit = Exit::Code(127);

impl Services {
    pub fn new(reaper: Reaper, events: Events) -> Self {
        Self { reaper, events, table: BTreeMap::new() }
    }

    /// Adds a program, which starts with the next [`Services::tick`]. One of the same name is replaced when it has ended.
    pub fn add(
        &mut self,
        name: &str,
        policy: Policy,
        reports: Option<Reports>,
        recipe: impl Fn(Manner) -> io::Result<Launch> + Send + 'static,
    ) {
        let recipe: Recipe = Box::new(recipe);
        if let Some(service) = self.table.get_mut(name) {
            service.recipe = recipe;
            service.reports = reports;
            service.leaving = false;
            self.restart(name);
            return;
        }
        let service = Service { recipe, reports, life: Life::new(policy), child: None, leaving: false };
        self.table.insert(name.to_owned(), service);
    }

    /// Gives a program, just added, the process that the program before us had started for it.
    pub fn adopt(&mut self, left: &resume::Child, policy: Policy, safe: bool) {
        let Some(service) = self.table.get_mut(&left.name) else { return };
        let pid = Pid::from_raw(left.pid);
        service.life = Life::adopted(policy, pid, sys::uptime(), safe);
        service.child = Some(left.clone());
        if let Some(pipe) = sys::adopt(left.log) {
            let _ = child::collect(&left.name, std::fs::File::from(pipe));
        }
        if let (Some(read), Some(pipe)) = (service.reports, left.reports.and_then(sys::adopt)) {
            listen(read, PipeReader::from(pipe), &self.events);
        }
        let (events, service) = (self.events.clone(), left.name.clone());
        self.reaper.adopt(pid, move |pid, exit| drop(events.send(Event::Ended { service, pid: pid.as_raw(), exit })));
    }

    /// Does all that is due.
    pub fn tick(&mut self) {
        let now = sys::uptime();
        let names: Vec<String> = self.table.keys().cloned().collect();
        for name in names {
            let Some(service) = self.table.get_mut(&name) else { continue };
            match service.life.due(now) {
                None => {}
                Some(Order::Start) => self.start(&name, now),
                Some(Order::Signal(pid, signal)) => {
                    say!("{name}: does not end; {signal}");
                    signal_group(pid, signal);
                }
                Some(Order::Silent(pid)) => {
                    say!("{name}: has been silent for too long; it is asked to end");
                    signal_group(pid, Signal::SIGTERM);
                }
            }
        }
    }

    fn start(&mut self, name: &str, now: Duration) {
        let Some(service) = self.table.get_mut(name) else { return };
        let manner = service.life.manner();
        let (events, told) = (self.events.clone(), name.to_owned());
        let started = (service.recipe)(manner).and_then(|mut launch| {
            launch.reports = service.reports.is_some();
            let end = move |pid: Pid, exit| drop(events.send(Event::Ended { service: told, pid: pid.as_raw(), exit }));
            let started = child::start(&self.reaper, &launch, end)?;
            Ok(started)
        });
        match started {
            Ok(started) => {
                let pid = started.pid.as_raw();
                let how = match manner {
                    Manner::Usual => "",
                    Manner::Safe => " in safe mode",
                    Manner::Plain => " in safe mode, with the plainest configuration",
                };
                say!("{name}: started pid {pid}{how}");
                let reports: Option<RawFd> = started.reports.as_ref().map(AsRawFd::as_raw_fd);
                service.child = Some(resume::Child { name: name.to_owned(), pid, log: started.log, reports });
                service.life.started(started.pid, now);
                if let (Some(read), Some(pipe)) = (service.reports, started.reports) {
                    listen(read, pipe, &self.events);
                }
            }
            Err(why) => {
                say!("{name}: cannot be started: {why}");
                service.life.ended(false, now);
            }
        }
    }

    /// Takes in an end. The answer is a death to be told, when it was one.
    pub fn ended(&mut self, name: &str, pid: i32, exit: Exit) -> Option<Death> {
        let service = self.table.get_mut(name)?;
        if service.life.pid().is_none_or(|current| current.as_raw() != pid) {
            return None;
        }
        // What it started itself has no business without it.
        if let Some(child) = service.child.take() {
            signal_group(Pid::from_raw(child.pid), Signal::SIGKILL);
        }
        let (wanted, before) = (service.life.is_stopping(), service.life.manner());
        service.life.ended(exit.is_success(), sys::uptime());
        if service.leaving {
            self.table.remove(name);
            return None;
        }
        let manner = service.life.manner();
        let gave_up = (manner != before).then_some(manner);
        if (wanted || exit.is_success()) && gave_up.is_none() {
            say!("{name}: {exit}");
            return None;
        }
        if exit == NOT_FOUND {
            self.table.remove(name);
            say!("{name}: this image has no such program; going on without");
            return None;
        }
        let restarts = service.life.restarts();
        let tail = log().last_of(name, crash::TAIL);
        say!("{name}: {exit}");
        // Who dies again and again for the same reason has said it by then.
        let shown = if restarts <= SHOWN_OFTEN { SHOWN } else { 0 };
        for line in &tail[tail.len().saturating_sub(shown)..] {
            say!("{name}: | {line}");
        }
        Some(Death { service: name.to_owned(), how: exit.to_string(), tail, gave_up })
    }

    pub fn life(&mut self, name: &str) -> Option<&mut Life> {
        self.table.get_mut(name).map(|service| &mut service.life)
    }

    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Has a program end and start anew.
    pub fn restart(&mut self, name: &str) {
        if let Some(pid) = self.life(name).and_then(|life| life.restart(sys::uptime())) {
            signal_group(pid, Signal::SIGTERM);
        }
    }

    /// Has a program end for good and forgets it.
    pub fn remove(&mut self, name: &str) {
        let Some(service) = self.table.get_mut(name) else { return };
        service.leaving = true;
        match service.life.stop(sys::uptime(), service.life.grace()) {
            Some(pid) => signal_group(pid, Signal::SIGTERM),
            None if service.life.pid().is_none() => drop(self.table.remove(name)),
            None => {}
        }
    }

    /// Has a program end, with this much time to do so by itself; it stays known.
    pub fn stop(&mut self, name: &str, grace: Duration) {
        if let Some(pid) = self.life(name).and_then(|life| life.stop(sys::uptime(), grace)) {
            signal_group(pid, Signal::SIGTERM);
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|service| service.life.pid().is_some())
    }

    /// What the program after us takes over.
    pub fn children(&self) -> Vec<resume::Child> {
        self.table.values().filter_map(|service| service.child.clone()).collect()
    }
}

fn listen(read: Reports, pipe: PipeReader, events: &Events) {
    let events = events.clone();
    drop(thread::Builder::new().name("reports".into()).stack_size(256 * 1024).spawn(move || read(pipe, &events)));
}
