//! Puts a command into a cell: what the child does between fork and exec, in an order in which each step still has the
//! powers it needs. The user is changed here and not by [`Command::uid`], after which nothing could be taken from the
//! bounding set.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use rustix::thread::{Gid, Uid};

use crate::cell::{Cell, Passed};
use crate::{passed, raw};

/// Where a process says how soon it is ended when memory runs out.
const OUT_OF_MEMORY: &CStr = c"/proc/self/oom_score_adj";

/// Puts commands into cells.
pub trait Confine {
    /// Clears the command's environment and starts its child in the cell. Standard input, output and error, arguments
    /// and variables set later are the caller's; its user must not be set by `uid` or `gid`. A step that fails is named
    /// on the child's standard error, and `spawn` gives its error.
    fn confine(&mut self, cell: &Cell) -> &mut Self;
}

impl Confine for Command {
    fn confine(&mut self, cell: &Cell) -> &mut Self {
        self.env_clear().envs(cell.environment.iter().map(|(name, value)| (name, value)));
        for (variable, passed) in [(passed::SOCKETS, &cell.sockets), (passed::FILES, &cell.files)] {
            if !passed.is_empty() {
                self.env(variable, passed::describe(passed));
            }
        }
        let out_of_memory = cell.out_of_memory.map(|adjustment| adjustment.to_string());
        let cell = cell.clone();
        raw::before_exec(self, move || enter(&cell, out_of_memory.as_deref()));
        self
    }
}

/// Between fork and exec: system calls only.
fn enter(cell: &Cell, out_of_memory: Option<&str>) -> io::Result<()> {
    step("session", rustix::process::setsid().map(drop))?;
    rustix::process::umask(Mode::from_raw_mode(cell.umask));
    if let Some(adjustment) = out_of_memory {
        step("out-of-memory adjustment", write_to(OUT_OF_MEMORY, adjustment.as_bytes()))?;
    }
    step("core limit", limit(Resource::Core, 0))?;
    if let Some(count) = cell.open_files {
        step("open files limit", limit(Resource::Nofile, count))?;
    }
    if let Some(bytes) = cell.memory {
        step("memory limit", limit(Resource::As, bytes))?;
    }
    step("bounding set", drop_from_bounding_set(cell.kept))?;
    step("user", become_user(cell.uid, cell.gid))?;
    step("capabilities", keep(cell.kept))?;
    step("no_new_privs", rustix::thread::set_no_new_privs(true))?;
    raw::close_on_exec_from(3)?;
    for Passed { fd, .. } in cell.sockets.iter().chain(&cell.files) {
        step("passed descriptor", rustix::io::fcntl_setfd(fd.as_fd(), FdFlags::empty()))?;
    }
    Ok(())
}

/// An error's number is all that reaches the parent, so the step says its name here.
fn step(name: &str, result: Result<(), Errno>) -> io::Result<()> {
    if result.is_err() {
        for part in ["warppool: the cell cannot be set up: ", name, "\n"] {
            let _ = rustix::io::write(rustix::stdio::stderr(), part.as_bytes());
        }
    }
    Ok(result?)
}

fn write_to(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, bytes).map(drop)
}

fn limit(resource: Resource, value: u64) -> Result<(), Errno> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
}

/// What is not in the bounding set cannot be gained by any exec.
fn drop_from_bounding_set(kept: CapabilitySet) -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel knows no capability of this number, nor of any above.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

/// The capabilities stay permitted, so that some of them can be kept.
fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Ambient capabilities are those that an exec of a plain program by a plain user does not take away.
fn keep(kept: CapabilitySet) -> Result<(), Errno> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    for capability in kept.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
