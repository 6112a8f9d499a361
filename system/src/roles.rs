//! The roles of this program beside PID 1 and the pool: small children without powers that handle what comes from outside.
//!
//! Each shuts itself in before it reads anything, takes its order from standard input or from a descriptor PID 1 passed, and reports
//! on standard output.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use serde::Serialize;
use serde::de::DeserializeOwned;
use warppool_handover::{HandOver, TimeZone, apply};
use warppool_jail::{Cell, Rules, clock_rules, enter, handover_rules, mdns_rules};
use warppool_network::{clock, names};
use warppool_protocol::write_frame;

use crate::child::Launch;
use crate::users::User;

const MAX_ORDER: u64 = 512 * 1024;
const ZONES: &str = "/usr/share/zoneinfo";
/// The descriptor under which a child finds the partition it is to work on.
pub const PARTITION: &str = "partition";

/// The first argument of the hand-over's child.
pub const READ: &str = "read";
pub const FINISH: &str = "finish";
pub const POOL: &str = "pool";

type Failure = Box<dyn std::error::Error>;

/// How a role is started: as its own user, without powers.
pub fn launch(program: &Path, name: &str, user: User) -> Launch {
    Launch::new(name, program, ["role", name]).cell(Cell::new(user.uid, user.gid))
}

/// Runs a role to its end, in the process that was started for it; `None` for a role that is not one of these.
pub fn role(name: &str, arguments: &[String]) -> Option<ExitCode> {
    let done = match name {
        "clock" => clock_role(),
        "mdns" => mdns_role(),
        "handover" => handover_role(arguments.first().map(String::as_str)),
        _ => crate::updates::role(name)?,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{name}: {why}");
            ExitCode::FAILURE
        }
    })
}

/// Shuts the process in and says how far that went.
pub fn shut_in(rules: &Rules) -> Result<(), Failure> {
    let report = enter(rules)?;
    if report.landlock != warppool_jail::Landlock::Full {
        eprintln!("{report}");
    }
    Ok(())
}

pub fn order<T: DeserializeOwned>() -> Result<T, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_ORDER).read_to_end(&mut bytes)?;
    Ok(postcard::from_bytes(&bytes)?)
}

pub fn report(result: &impl Serialize) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(&postcard::to_stdvec(result)?)?;
    Ok(out.flush()?)
}

/// A descriptor PID 1 passed.
pub fn take_file(files: &mut BTreeMap<String, OwnedFd>, name: &str) -> Result<File, Failure> {
    let fd = files.remove(name).ok_or_else(|| format!("PID 1 passed no {name}: only PID 1 starts this"))?;
    Ok(File::from(fd))
}

fn clock_role() -> Result<(), Failure> {
    shut_in(&clock_rules())?;
    let config: clock::Config = order()?;
    // Nobody sends: the child ends by its signal.
    let (_keep, stop) = channel();
    clock::serve(&config, &stop, |told| drop(write_frame(&mut std::io::stdout(), &told)));
    Ok(())
}

fn mdns_role() -> Result<(), Failure> {
    // Before there are threads, which inherit it: a farewell is said at the end.
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&end), None)?;
    shut_in(&mdns_rules())?;
    let config: names::Config = order()?;
    let stop = on_signal(end)?;
    names::serve(&config, &stop, |told| drop(write_frame(&mut std::io::stdout(), &told)))?;
    Ok(())
}

fn on_signal(end: SigSet) -> std::io::Result<Receiver<()>> {
    let (send, stop) = channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let _ = end.wait();
        let _ = send.send(());
    })?;
    Ok(stop)
}

fn handover_role(what: Option<&str>) -> Result<(), Failure> {
    let mut files = warppool_jail::files()?;
    match what {
        Some(READ) => {
            // The rules leave no folder to look into later.
            let zones = zones(Path::new(ZONES));
            shut_in(&handover_rules())?;
            let mut partition = take_file(&mut files, PARTITION)?;
            // Where an image brings no zones, any name will do.
            let exists = |zone: &TimeZone| zones.is_empty() || zones.contains(Path::new(zone.as_str()));
            report(&warppool_handover::read(&mut partition, &exists))
        }
        Some(FINISH) => {
            shut_in(&handover_rules())?;
            let mut partition = take_file(&mut files, PARTITION)?;
            report(&warppool_handover::finish(&mut partition, &order()?).map_err(|why| why.to_string()))
        }
        Some(POOL) => {
            shut_in(&handover_rules())?;
            let (handover, config, secrets): (HandOver, String, String) = order()?;
            let after = apply::to_pool(&apply::PoolFiles { config, secrets }, &handover);
            report(&after.map(|files| (files.config, files.secrets)).map_err(|why| why.to_string()))
        }
        _ => Err("the hand-over is read, finished, or applied to the pool's files".into()),
    }
}

/// All zones there are, by their path below `folder`.
fn zones(folder: &Path) -> HashSet<PathBuf> {
    fn walk(root: &Path, folder: &Path, depth: usize, found: &mut HashSet<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() && depth < 3 {
                walk(root, &path, depth + 1, found);
            } else if let Ok(name) = path.strip_prefix(root) {
                found.insert(name.to_owned());
            }
        }
    }
    let mut found = HashSet::new();
    walk(folder, folder, 0, &mut found);
    found
}
