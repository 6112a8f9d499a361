//! The cell that children of PID 1 run in. PID 1 gives a child its user, capabilities, limits and sockets before it
//! starts ([`Cell`]); the child then shuts itself in, with Landlock and seccomp, before it reads a foreign byte
//! ([`enter`]). What each of the appliance's children may do stands in [`roles`].
#![cfg(target_os = "linux")]

mod cell;
mod confine;
mod enter;
mod filter;
mod folders;
mod passed;
mod peer;
mod raw;
pub mod roles;
mod rules;
mod syscalls;

pub use cell::Cell;
pub use confine::Confine;
pub use enter::{Error, Landlock, Report, enter};
pub use passed::{PassedError, files, hand_on, sockets};
pub use peer::{Peer, peer};
pub use roles::{
    clock_rules, handover_rules, mdns_rules, ota_check_rules, ota_verify_rules, ota_worker_rules, pool_rules,
};
pub use rules::{Access, Otherwise, Ports, Rules};
pub use rustix::thread::CapabilitySet;
pub use syscalls::Group;
