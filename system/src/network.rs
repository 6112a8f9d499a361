//! Carries out the plan for the network, in a thread of its own, and tells what has become of it.
//!
//! The plan is pure and stands in `warppool_network`; here its steps meet the kernel. Interfaces that come later (a USB adapter,
//! a slow driver) are taken up as they appear.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::Path;
use std::time::Duration;
use std::{io, thread};

use warppool_jail::{CapabilitySet, Cell};
use warppool_network::plan::{Capability, Helper, Kind, RUN, Step, plan};
use warppool_network::{Family, Hostname, Lease, Network, interfaces, resolv_conf};
use warppool_protocol::Interface;

use crate::child::{Launch, run};
use crate::console::say;
use crate::event::{Event, Events, NetworkNews};
use crate::mounts::folder_of;
use crate::reaper::Reaper;
use crate::{sys, users};

const CLASS: &str = "/sys/class/net";
/// `/etc/resolv.conf` of the image points here.
const RESOLV_CONF: &str = "/run/warppool/resolv.conf";
const PATIENCE: Duration = Duration::from_secs(5);
/// How often interfaces and leases are looked at: often while nothing is up yet, for the lines that say that it is.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);

/// Starts the thread, which sets up all interfaces there are and those that come. `resumed`: they are up already.
pub fn start(network: Network, hostname: Hostname, resumed: bool, reaper: Reaper, events: Events) -> io::Result<()> {
    // Before anything listens on it.
    if let Err(why) = sys::loopback_up() {
        say!("network: loopback does not come up: {why}");
    }
    if let Err(why) = folder_of(RUN, 0o755, users::NET.uid, users::NET.gid) {
        say!("network: {RUN} cannot be made: {why}");
    }
    let mut worker = Worker {
        network,
        hostname,
        reaper,
        events,
        known: BTreeSet::new(),
        carriers: BTreeMap::new(),
        shown: Vec::new(),
        resolv_conf: String::new(),
        leases: Vec::new(),
        resumed,
    };
    thread::Builder::new().name("network".into()).spawn(move || worker.work())?;
    Ok(())
}

struct Worker {
    network: Network,
    hostname: Hostname,
    reaper: Reaper,
    events: Events,
    /// Interfaces that were set up.
    known: BTreeSet<String>,
    carriers: BTreeMap<String, bool>,
    shown: Vec<Interface>,
    resolv_conf: String,
    leases: Vec<Lease>,
    resumed: bool,
}

impl Worker {
    fn work(&mut self) -> ! {
        loop {
            self.take_up();
            self.look_at_carriers();
            self.look_at_leases();
            self.look_at_interfaces();
            self.resumed = false;
            let has_address = self.shown.iter().any(|it| !it.addresses.is_empty());
            thread::sleep(if has_address { LOOK } else { LOOK_FIRST });
        }
    }

    fn tell(&self, news: NetworkNews) {
        // The main loop never ends before the machine does.
        let _ = self.events.send(Event::Network(news));
    }

    /// Sets up what is new.
    fn take_up(&mut self) {
        let present = names(Path::new(CLASS));
        self.known.retain(|name| present.contains(name));
        if present.iter().all(|name| self.known.contains(name)) {
            return;
        }
        for (name, steps) in plan(&self.network, &self.hostname, &present) {
            if self.known.contains(&name) || Kind::of(&name) == Some(Kind::Loopback) {
                continue;
            }
            let mut helpers = Vec::new();
            for step in steps {
                match step {
                    Step::Keep(helper) => helpers.push(helper),
                    // After a panic of ours the interface is up, and its programs run.
                    _ if self.resumed => {}
                    step => self.carry_out(&name, step),
                }
            }
            self.tell(NetworkNews::Keep { interface: name, helpers });
        }
        self.known.extend(present);
    }

    fn carry_out(&self, interface: &str, step: Step) {
        let failed = |what: &str, why: &dyn std::fmt::Display| say!("network: {interface}: {what}: {why}");
        match step {
            Step::Sysctl { path, value } => {
                if let Err(why) = fs::write(&path, value)
                    && why.kind() != io::ErrorKind::NotFound
                {
                    failed(&path.display().to_string(), &why);
                }
            }
            Step::File { path, content } => {
                if let Err(why) = private_file(&path, &content.0) {
                    failed(&path.display().to_string(), &why);
                }
            }
            Step::Run(command) => {
                let Some((program, arguments)) = command.split_first() else { return };
                let shown = arguments.join(" ");
                match run(&self.reaper, &Launch::new("network", program, arguments), PATIENCE, || ()) {
                    Ok(done) if done.exit.is_success() => {}
                    Ok(done) => failed(&shown, &done.exit),
                    Err(why) => failed(&shown, &why),
                }
            }
            Step::Keep(_) => {}
        }
    }

    fn look_at_carriers(&mut self) {
        for name in &self.known {
            let up = fs::read_to_string(Path::new(CLASS).join(name).join("carrier")).is_ok_and(|it| it.trim() == "1");
            if self.carriers.insert(name.clone(), up) == Some(false) && up && Kind::of(name) == Some(Kind::Ethernet) {
                self.tell(NetworkNews::Plugged { interface: name.clone() });
            }
        }
    }

    fn look_at_leases(&mut self) {
        let mut leases = Vec::new();
        for name in &self.known {
            for family in [Family::V4, Family::V6] {
                if let Ok(Some(lease)) = Lease::read(Path::new(RUN), name, family) {
                    leases.push(lease);
                }
            }
        }
        let text = resolv_conf(&self.network, &leases);
        if text != self.resolv_conf {
            match put_beside(Path::new(RESOLV_CONF), &text) {
                Ok(()) => self.resolv_conf = text,
                Err(why) => say!("network: {RESOLV_CONF} cannot be written: {why}"),
            }
        }
        if leases != self.leases {
            self.leases.clone_from(&leases);
            self.tell(NetworkNews::Leases(leases));
        }
    }

    fn look_at_interfaces(&mut self) {
        let now = interfaces();
        if now == self.shown {
            return;
        }
        for interface in &now {
            let before = self.shown.iter().find(|it| it.name == interface.name);
            for address in &interface.addresses {
                if !before.is_some_and(|before| before.addresses.contains(address)) {
                    say!("network: {} {address}", interface.name);
                }
            }
        }
        self.shown.clone_from(&now);
        self.tell(NetworkNews::Interfaces(now));
    }
}

fn names(class: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Puts a file in place whole or not at all: who looks up a name meanwhile must not find it empty.
fn put_beside(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// A file only the user `net` can read.
fn private_file(path: &Path, content: &str) -> io::Result<()> {
    use std::io::Write as _;
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    chown(path, Some(users::NET.uid), Some(users::NET.gid))?;
    file.write_all(content.as_bytes())
}

/// How a program that keeps an interface up is started.
pub fn launch(helper: &Helper) -> io::Result<Launch> {
    let (program, arguments) = helper.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let kept = helper.capabilities.iter().fold(CapabilitySet::empty(), |kept, it| {
        kept | match it {
            Capability::NetAdmin => CapabilitySet::NET_ADMIN,
            Capability::NetRaw => CapabilitySet::NET_RAW,
            Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        }
    });
    let cell = Cell::new(users::NET.uid, users::NET.gid)
        .keep(kept)
        // Others read the leases.
        .umask(0o022)
        .environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(Launch::new(&helper.name, program, arguments).cell(cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        put_beside(&path, "nameserver 192.0.2.1\n").unwrap();
        let before = fs::File::open(&path).unwrap();
        put_beside(&path, "nameserver 192.0.2.2\n").unwrap();
        assert_eq!(
            io::read_to_string(before).unwrap(),
            "nameserver 192.0.2.1\n",
            "who reads meanwhile reads all of it"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 192.0.2.2\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(put_beside(&folder.path().join("not-there/resolv.conf"), "").is_err());
    }
}
