//! The whole of the crate at work: on file systems that others made, over real sockets, on disks that fail.

#![allow(clippy::unwrap_used, reason = "these are tests, and their helpers")]

mod disks;
mod document;
mod fat;
mod http;
mod install;
mod mbr;
mod offline;
mod p1;
mod slots;
mod stick;
mod tools;
#[cfg(unix)]
mod worker;
