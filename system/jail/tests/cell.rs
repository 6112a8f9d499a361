//! What PID 1 gives a child and what it takes from it. Only root can make cells: run by others these tests print NOT
//! RUN.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared by all tests of this crate")]
mod common;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::Outcome::{Found, Refused};
use common::{INMATE, Prison, is_root, judge};
use libc::{EACCES, EPERM};
use rustix::io::{FdFlags, fcntl_setfd};
use warppool_jail::{CapabilitySet, Cell, Confine as _};

fn prison() -> Option<Prison> {
    if !is_root() {
        println!("NOT RUN: only root can make cells");
    }
    is_root().then(Prison::new)
}

/// A line of the inmate's `/proc/self/status`.
fn status(prison: &Prison, cell: &Cell, key: &str) -> String {
    let Found(text) = prison.tries_in(cell, "free", "text", "/proc/self/status") else { panic!("no status") };
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the line");
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_child_is_a_plain_user_without_any_power() {
    let Some(prison) = prison() else { return };
    let cell = Cell::new(INMATE, INMATE + 1);
    let (user, group) = (INMATE, INMATE + 1);
    for (key, value) in [
        ("Uid", format!("{user} {user} {user} {user}")),
        ("Gid", format!("{group} {group} {group} {group}")),
        ("Groups", String::new()),
        ("CapInh", "0".repeat(16)),
        ("CapPrm", "0".repeat(16)),
        ("CapEff", "0".repeat(16)),
        ("CapBnd", "0".repeat(16)),
        ("CapAmb", "0".repeat(16)),
        ("NoNewPrivs", "1".into()),
        ("Umask", "0077".into()),
    ] {
        assert_eq!(status(&prison, &cell, key), value, "{key}");
    }
    for (action, what, error) in [
        ("read", "/etc/shadow", EACCES),
        ("call", &*format!("{} 0", libc::SYS_setuid), EPERM),
        ("call", &*format!("{} {} {} 1", libc::SYS_socket, libc::AF_INET, libc::SOCK_RAW), EPERM),
        ("call", &*format!("{} {}", libc::SYS_unshare, libc::CLONE_NEWNS), EPERM),
    ] {
        assert_eq!(prison.tries_in(&cell, "free", action, what), Refused(error), "{action} {what}");
    }
}

#[test]
fn kept_capabilities_and_no_others_survive_the_exec() {
    let Some(prison) = prison() else { return };
    let cell = Cell::new(INMATE, INMATE).keep(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW);
    for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&prison, &cell, key), "0000000000003000", "{key}");
    }
    let raw = format!("{} {} {} 1", libc::SYS_socket, libc::AF_INET, libc::SOCK_RAW);
    assert!(matches!(prison.tries_in(&cell, "free", "call", raw), Found(_)));
    // Root itself keeps no more: no exec can bring back what is not in the bounding set.
    let root = Cell::new(0, 0).keep(CapabilitySet::SYS_TIME);
    assert_eq!(status(&prison, &root, "CapEff"), "0000000002000000");
    let unshare = format!("{} {}", libc::SYS_unshare, libc::CLONE_NEWNS);
    assert_eq!(prison.tries_in(&root, "free", "call", unshare), Refused(EPERM));
}

#[test]
fn limits_environment_and_session_are_as_told() {
    let Some(prison) = prison() else { return };
    let cell = Cell::new(INMATE, INMATE)
        .open_files(4321)
        .memory(1 << 32)
        .out_of_memory(250)
        .umask(0o027)
        .environment("TZ", "Europe/Berlin");
    let Found(limits) = prison.tries_in(&cell, "free", "text", "/proc/self/limits") else { panic!("no limits") };
    let limits: Vec<String> =
        limits.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "Max open files 4321 4321 files",
        "Max core file size 0 0 bytes",
        "Max address space 4294967296 4294967296 bytes",
    ] {
        assert!(limits.iter().any(|limit| limit == line), "{line}: {limits:?}");
    }
    assert_eq!(prison.tries_in(&cell, "free", "text", "/proc/self/oom_score_adj"), Found("250".into()));
    assert_eq!(status(&prison, &cell, "Umask"), "0027");
    let bare = judge(prison.command("free", "environment", "").confine(&cell).output());
    assert_eq!(bare, Found("TZ=Europe/Berlin".into()), "nothing of the parent's environment is left");
    let Found(stat) = prison.tries_in(&cell, "free", "text", "/proc/self/stat") else { panic!("no stat") };
    let fields: Vec<&str> = stat.split_whitespace().collect();
    assert_eq!((fields[0], fields[0]), (fields[4], fields[5]), "it leads its process group and its session");
}

#[test]
fn passed_sockets_arrive_by_name_and_nothing_else_stays_open() {
    let Some(prison) = prison() else { return };
    let (http, stratum) = (listener(), listener());
    let address = http.local_addr().expect("an address");
    let forgotten = File::open("/etc/passwd").expect("a file");
    fcntl_setfd(&forgotten, FdFlags::empty()).expect("left open by mistake");
    let cell = Cell::new(INMATE, INMATE).socket("http", &http).and_then(|cell| cell.socket("stratum-tls", &stratum));
    let cell = cell.expect("two names");
    // Standard input, output and error, the two sockets, and the folder that is being listed.
    assert_eq!(prison.tries_in(&cell, "free", "list", "/proc/self/fd"), Found("6".into()));
    // After an exec in place the sockets are the same ones. The folders are given so that the pool's jail holds as
    // well.
    for (role, action) in [("free", "accept"), ("free", "accept-anew"), ("pool", "accept"), ("pool", "accept-anew")] {
        let greeted = greeting(address);
        let Found(again) = prison.tries_in(&cell, role, action, "http") else { panic!("{role} {action}: no caller") };
        assert!(again.contains("read before"), "{again}");
        assert_eq!(greeted.join().expect("no panic").expect("greeted"), "http stratum-tls", "{role} {action}");
    }
}

#[test]
fn what_does_not_listen_is_no_socket() {
    let Some(prison) = prison() else { return };
    let (http, file) = (listener(), File::open("/etc/passwd").expect("a file"));
    let address = http.local_addr().expect("an address");
    let cell = Cell::new(INMATE, INMATE).socket("file", &file).and_then(|cell| cell.socket("http", &http));
    let greeted = greeting(address);
    assert!(matches!(prison.tries_in(&cell.expect("two names"), "free", "accept", "http"), Found(_)));
    assert_eq!(greeted.join().expect("no panic").expect("greeted"), "http");
}

#[test]
fn a_program_that_is_not_there_fails_the_spawn_and_leaves_the_sockets_alone() {
    let Some(prison) = prison() else { return };
    let cell = Cell::new(INMATE, INMATE).socket("http", listener()).expect("a name");
    let spawned = Command::new(prison.path("nothing-here")).confine(&cell).spawn();
    assert_eq!(spawned.expect_err("nothing to start").kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_step_that_fails_is_named() {
    let Some(prison) = prison() else { return };
    let said = prison.path("said");
    let out = File::create(&said).expect("a file");
    let cell = Cell::new(INMATE, INMATE).open_files(u64::MAX - 1);
    let spawned = Command::new("/bin/true").confine(&cell).stderr(Stdio::from(out)).spawn();
    assert_eq!(spawned.expect_err("no process can have as many").raw_os_error(), Some(EPERM));
    assert_eq!(fs::read_to_string(said).expect("a line"), "warppool: the cell cannot be set up: open files limit\n");
}

#[test]
fn a_name_that_would_break_the_variable_is_refused() {
    for name in ["", "a=b", "a,b", "a b", "ä"] {
        assert!(Cell::new(INMATE, INMATE).socket(name, listener()).is_err(), "{name:?}");
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

/// Calls the address and reads what it says.
fn greeting(address: SocketAddr) -> std::thread::JoinHandle<io::Result<String>> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    })
}
