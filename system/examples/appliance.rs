//! An appliance without a pool: this crate's PID 1, with a pool that only pretends. The tests run it in namespaces.
//!
//! - `appliance namespace ROOT`: makes the namespaces, waits for a line on standard input (its user map has to be written from
//!   outside), and runs `/init` of ROOT as their first process;
//! - as `/init`: PID 1; it panics when somebody makes the file `/tmp/panic`;
//! - `appliance role NAME …`: what PID 1 starts; the pool behaves as `/data/pool/behaviour` says.
#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::chroot;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{fs, thread};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use warppool_protocol::{Client, Node, PoolReport, Request, SOCKET};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "namespace", root] => namespace(Path::new(root)),
        [_, "role", "pool", rest @ ..] => pool(rest.contains(&"--memory-ledger")),
        [_, "role", name, rest @ ..] => {
            let rest: Vec<String> = rest.iter().map(|&word| word.to_owned()).collect();
            warppool_system::role(name, &rest).unwrap_or(ExitCode::FAILURE)
        }
        ["/init"] => init(),
        _ => ExitCode::FAILURE,
    }
}

fn init() -> ExitCode {
    // Its signals are for others.
    SigSet::all().thread_block().expect("a mask");
    thread::spawn(|| {
        while fs::remove_file("/tmp/panic").is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        panic!("somebody asked for it");
    });
    SigSet::all().thread_unblock().expect("a mask");
    warppool_system::main()
}

fn namespace(root: &Path) -> ExitCode {
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(all).expect("namespaces");
    println!("unshared");
    std::io::stdin().read_exact(&mut [0]).expect("a user map");

    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts of our own");
    mount(Some("dev"), &root.join("dev"), Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).expect("a /dev");
    for device in ["null", "zero", "full", "random", "urandom"] {
        fs::write(root.join("dev").join(device), "").expect("a place");
        bind(&Path::new("/dev").join(device), &root.join("dev").join(device));
    }
    for folder in ["usr", "etc/alternatives"] {
        bind(&Path::new("/").join(folder), &root.join(folder));
    }
    chroot(root).expect("a root");
    std::env::set_current_dir("/").expect("the root");
    let done = Command::new("/init").env_clear().status().expect("it starts");
    println!("namespace: {done}");
    ExitCode::SUCCESS
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).expect("bound");
}

fn behaviour() -> String {
    fs::read_to_string("/data/pool/behaviour").unwrap_or_default()
}

/// Serves its ports, sends its heart-beat, and dies, falls silent or crashes as it is told.
fn pool(safe: bool) -> ExitCode {
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.thread_block().expect("a mask");
    println!("the pool begins, uid {}, safe {safe}", nix::unistd::getuid());
    match behaviour().trim() {
        "dies" if !safe => return ExitCode::FAILURE,
        "crashes" if !safe => std::process::abort(),
        _ => {}
    }
    for (name, listener) in warppool_jail::sockets().expect("sockets") {
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                if name == "http" {
                    let _ = stream.read(&mut [0; 512]);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
                } else {
                    let _ = stream.write_all(format!("pid {}\n", std::process::id()).as_bytes());
                }
            }
        });
    }
    thread::spawn(move || {
        let report = PoolReport {
            claimed: true,
            listening: true,
            api: true,
            has_job: true,
            node: Node::Reachable,
            miners: 1,
            memory_ledger: safe,
            ..PoolReport::default()
        };
        let mut pid1 = None;
        loop {
            if behaviour().trim() != "silent" {
                pid1 = pid1.or_else(|| Client::connect(Path::new(SOCKET), Duration::from_secs(5)).ok());
                if let Some(client) = &mut pid1
                    && client.ask(&Request::Heartbeat(report.clone()), |_| ()).is_err()
                {
                    pid1 = None;
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    end.wait().expect("a signal");
    println!("the pool ends in order");
    fs::write("/data/pool/ended", "in order").expect("a last word");
    ExitCode::SUCCESS
}
