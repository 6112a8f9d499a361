//! The smaller roles: each can do its work with no unforeseen call, and nothing beside it.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared by all tests of this crate")]
mod common;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;

use common::Outcome::{self, Found, Refused};
use common::{INMATE, Prison, is_root, judge, ports_and_signals_are_shut};
use libc::{EACCES, EPERM};
use warppool_jail::{Cell, Confine as _};

#[test]
fn a_role_that_works_on_passed_files_reads_and_writes_these_and_opens_none() {
    let prison = Prison::new();
    for role in ["handover", "ota-verify"] {
        let own = prison.path("data/own");
        fs::write(&own, "mine").expect("a file of its own");
        for (action, what) in [("read", own.to_str().expect("a plain path")), ("list", "/"), ("resolve", "localhost")] {
            let outcome = prison.tries(role, action, what);
            assert!(matches!(outcome, Refused(_)), "{role} {action}: {outcome:?}");
        }
        for (action, what) in [("tcp", ""), ("udp", ""), ("knock", "/run/warppool/system.sock"), ("exec", "/bin/sh")] {
            assert_eq!(prison.tries(role, action, what), Refused(EPERM), "{role} {action}");
        }
        assert_eq!(prison.tries(role, "threads", ""), Found("0".into()), "{role}");
    }
    if !is_root() {
        println!("NOT RUN: passing files takes a cell, which only root can make");
        return;
    }
    for role in ["handover", "ota-verify"] {
        let disk = File::options().read(true).write(true).create(true).truncate(true).open(prison.path("disk"));
        let disk = disk.expect("a disk");
        disk.write_all_at(b"WARP", 512).expect("written");
        let cell = Cell::new(INMATE, INMATE).file("disk", &disk).expect("a name");
        let mut command = prison.command(role, "positioned", "disk");
        let outcome = judge(command.confine(&cell).env("INMATE_STRICT", "1").output());
        assert_eq!(outcome, Found("WARP".into()), "{role}");
        let mut seen = [0; 4];
        disk.read_exact_at(&mut seen, 1024).expect("written by the inmate");
        assert_eq!(&seen, b"seen", "{role}");
    }
}

#[test]
fn a_role_of_the_network_can_do_its_work() {
    let prison = Prison::new();
    let far = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = far.local_addr().expect("an address").to_string();
    let data = prison.path("data");
    let data = data.to_str().expect("a plain path");
    for (role, action, what) in [
        ("ota-check", "connect", address.as_str()),
        ("ota-check", "resolve", "localhost"),
        ("ota-check", "threads", ""),
        ("ota-check", "list", "/etc/ssl"),
        ("ota-worker", "connect", &address),
        ("ota-worker", "resolve", "localhost"),
        ("ota-worker", "store", data),
        ("clock", "resolve", "localhost"),
        ("clock", "udp", ""),
        ("mdns", "udp", ""),
        ("mdns", "interfaces", ""),
        ("mdns", "threads", ""),
    ] {
        let outcome = prison.tries_strictly(role, action, what);
        assert!(matches!(outcome, Found(_)), "{role} {action} {what}: {outcome:?}");
    }
}

#[test]
fn a_role_of_the_network_can_do_nothing_else() {
    let prison = Prison::new();
    if !ports_and_signals_are_shut(&prison) {
        return;
    }
    let far = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = far.local_addr().expect("an address").to_string();
    let (data, run) = (prison.path("data/new"), prison.path("run/new"));
    let (data, run) = (data.to_str().expect("a plain path"), run.to_str().expect("a plain path"));
    let cases: &[(&str, &str, &str, Outcome)] = &[
        ("ota-check", "bind", "127.0.0.1:0", Refused(EACCES)),
        ("ota-check", "write", data, Refused(EACCES)),
        ("ota-check", "exec", "/bin/sh", Refused(EPERM)),
        ("ota-worker", "bind", "127.0.0.1:0", Refused(EACCES)),
        ("ota-worker", "write", run, Refused(EACCES)),
        ("ota-worker", "exec", "/bin/sh", Refused(EPERM)),
        ("clock", "connect", &address, Refused(EACCES)),
        ("clock", "bind", "127.0.0.1:0", Refused(EACCES)),
        ("clock", "write", data, Refused(EACCES)),
        ("clock", "exec", "/bin/sh", Refused(EPERM)),
        ("mdns", "connect", &address, Refused(EACCES)),
        ("mdns", "bind", "127.0.0.1:0", Refused(EACCES)),
        ("mdns", "text", "/etc/hosts", Refused(EPERM)),
        ("mdns", "exec", "/bin/sh", Refused(EPERM)),
    ];
    for (role, action, what, outcome) in cases {
        assert_eq!(&prison.tries(role, action, what), outcome, "{role} {action} {what}");
    }
}
