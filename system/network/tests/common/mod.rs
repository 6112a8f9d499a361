//! Two network namespaces with a cable between them: two machines, as far as anything on them can tell.

#![allow(dead_code)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The machines' names; each has an interface `eth0`. They vanish with this.
pub struct Cable {
    pub ends: [String; 2],
}

impl Cable {
    /// `None`, and a word about it, where this cannot be had.
    pub fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("NOT RUN: network namespaces need root");
            return None;
        }
        if !has("ip") {
            println!("NOT RUN: ip (iproute2) is missing");
            return None;
        }
        let number = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let cable = Self { ends: [format!("wpa{number}"), format!("wpb{number}")] };
        let [one, other] = &cable.ends;
        for end in &cable.ends {
            if !ip(&["netns", "add", end]) {
                println!("NOT RUN: this machine does not allow network namespaces");
                return None;
            }
        }
        let made = ip(&["-n", one, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other]);
        assert!(made, "a pair of interfaces is made");
        for end in &cable.ends {
            assert!(ip(&["-n", end, "link", "set", "lo", "up"]) && ip(&["-n", end, "link", "set", "eth0", "up"]));
        }
        Some(cable)
    }

    pub fn address(&self, end: usize, address: &str) {
        assert!(ip(&["-n", &self.ends[end], "addr", "add", address, "dev", "eth0"]), "{address}");
    }

    /// A command on one of the machines.
    pub fn command(&self, end: usize, program: &str) -> Command {
        // By its path: a test that sets another PATH means it for the program.
        let mut command = Command::new(find("ip").expect("was there a moment ago"));
        command.args(["netns", "exec", &self.ends[end], program]).stdin(Stdio::null());
        command
    }

    /// What a command says.
    pub fn says(&self, end: usize, program: &str, arguments: &[&str]) -> String {
        let output = self.command(end, program).args(arguments).output().expect("starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A thread that lives on one of the machines.
    pub fn on<T: Send + 'static>(&self, end: usize, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let machine = File::open(Path::new("/run/netns").join(&self.ends[end])).expect("is there");
        thread::spawn(move || {
            setns(machine, CloneFlags::CLONE_NEWNET).expect("moves");
            work()
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in &self.ends {
            ip(&["netns", "del", end]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Where a program lies.
pub fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin".into(), "/sbin".into()];
    std::env::split_paths(&folders).chain(usual).map(|folder| folder.join(program)).find(|path| path.is_file())
}

pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Waits until something holds; whether it did in time.
pub fn until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    holds()
}

/// A program that is ended with this.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
