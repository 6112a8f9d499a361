//! The appliance's PID 1: mounts, supervision, watchdog, LED, button, network, clock, updates.
//!
//! [`main`] is the boot sequence, top to bottom, and then one loop that takes in events and pings the watchdog. What is foreign is
//! handled by [`role`]s: the same program, started again as an unprivileged child.
#![cfg(target_os = "linux")]

mod appliance;
mod aside;
mod boot;
mod child;
mod clock;
mod confirmation;
mod console;
mod crash;
mod data;
mod device_tree;
mod disk;
mod durable;
mod errands;
mod event;
mod fault;
mod handover;
mod identity;
mod kernel_args;
mod led;
mod mailbox;
mod modules;
mod mounts;
mod names;
mod network;
mod pool;
mod power;
mod probe;
mod reaper;
mod requests;
mod reset;
mod resume;
mod ring;
mod roles;
mod server;
mod services;
mod settings;
mod shell;
mod signals;
mod sockets;
mod ssh;
mod supervise;
mod sys;
mod trace;
mod units;
mod updates;
mod users;
mod watchdog;

pub use boot::main;
pub use roles::role;
