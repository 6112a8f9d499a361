//! What each of the appliance's children may do: the least that its work takes. A role that needs more says why here.

use std::path::{Path, PathBuf};

use crate::rules::{Access, Ports, Rules};
use crate::syscalls::Group;

/// What names, certificates and time zones are read from; the root file system holds no secrets.
const SYSTEM: [&str; 2] = ["/etc", "/usr"];

/// PID 1's folder of run-time state, where the resolver's settings lie that DHCP brought.
const STATE: &str = "/run/warppool";

/// Where a node on this device keeps its data, beside the pool's folder.
const NODE: &str = "bitcoin";

/// The pool: it listens, connects to nodes and miners anywhere, keeps its ledger in `data_dir`, writes passing things
/// to `run_dir`, looks at the machine's health, and starts itself anew or as the ledger's checker. A node on the same device has its
/// folder beside `data_dir`, where the pool reads its cookie; everything else there is the node's user's alone.
pub fn pool_rules(data_dir: &Path, run_dir: &Path) -> Rules {
    let node = Some(data_dir.with_file_name(NODE)).filter(|node| node.is_dir());
    let rules = node.into_iter().fold(Rules::nothing(), |rules, node| rules.path(node, Access::Read));
    let rules = read_system(rules)
        .path("/proc", Access::Read)
        .path("/sys", Access::Read)
        .path("/dev/null", Access::Write)
        .path(data_dir, Access::Write)
        .path(run_dir, Access::Write)
        .path(this_program(), Access::Execute);
    rules.bind(Ports::Any).connect(Ports::Any).groups(&[
        Group::Positioned,
        Group::Files,
        Group::Storage,
        Group::Events,
        Group::Network,
        Group::Threads,
        Group::Children,
    ])
}

/// Reads the hand-over partition and erases the secrets on it, through the descriptor PID 1 passed. Its verdict goes to
/// standard output.
pub fn handover_rules() -> Rules {
    Rules::nothing().groups(&[Group::Positioned])
}

/// Checks a bundle or a slot on the descriptors PID 1 passed.
pub fn ota_verify_rules() -> Rules {
    Rules::nothing().groups(&[Group::Positioned])
}

/// Fetches a bundle over HTTPS into `state_dir` and onto the partition PID 1 passed.
pub fn ota_worker_rules(state_dir: &Path) -> Rules {
    ota_check_rules().path(state_dir, Access::Write).groups(&[Group::Positioned, Group::Storage])
}

/// Asks the feed over HTTPS, and says on standard output what it holds.
pub fn ota_check_rules() -> Rules {
    read_system(Rules::nothing()).connect(Ports::Any).groups(&[
        Group::Files,
        Group::Events,
        Group::Network,
        Group::Threads,
    ])
}

/// Asks time servers over UDP; PID 1 sets the clock.
pub fn clock_rules() -> Rules {
    read_system(Rules::nothing()).groups(&[Group::Files, Group::Events, Group::Network, Group::Threads])
}

/// Answers to `warppool.local` by multicast, and asks the kernel which addresses it has.
pub fn mdns_rules() -> Rules {
    Rules::nothing().groups(&[Group::Events, Group::Network, Group::Threads])
}

fn read_system(rules: Rules) -> Rules {
    SYSTEM.iter().fold(rules, |rules, path| rules.path(path, Access::Read)).path(STATE, Access::Read)
}

/// The executable of this process, wherever it lies.
fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/warppool"))
}
