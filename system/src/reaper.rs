//! The one place that waits for children: as PID 1 we inherit every orphan, and who waits for any child takes the status of all.
//!
//! It tells whoever started a child of its end. Nothing else in this program may wait for one.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It was gone before anybody could ask.
    Unknown,
}

impl Exit {
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "was ended by {signal}"),
                Err(_) => write!(f, "was ended by signal {number}"),
            },
            Self::Unknown => f.write_str("is gone"),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

type Told = Box<dyn FnOnce(Pid, Exit) + Send>;

/// Starts children and hears of their end. A clone is the same reaper.
#[derive(Clone, Default)]
pub struct Reaper {
    waiting: Arc<Mutex<HashMap<i32, Told>>>,
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper").field("children", &self.table().keys()).finish()
    }
}

impl Reaper {
    fn table(&self) -> MutexGuard<'_, HashMap<i32, Told>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a child; `told` runs when it has ended. It must be quick: it holds up the reaping of all others.
    ///
    /// The table is held from before the start until after the child is in it, so that its end cannot be seen before; and the
    /// standard library, which waits for a child whose program cannot be started, finds it still there.
    pub fn spawn(&self, command: &mut Command, told: impl FnOnce(Pid, Exit) + Send + 'static) -> io::Result<Child> {
        sys::release_signals(command);
        let mut table = self.table();
        let child = command.spawn()?;
        table.insert(child.id() as i32, Box::new(told));
        Ok(child)
    }

    /// Takes over a child of the program that ran in our place before.
    pub fn adopt(&self, pid: Pid, told: impl FnOnce(Pid, Exit) + Send + 'static) {
        let mut table = self.table();
        if nix::sys::signal::kill(pid, None) == Err(Errno::ESRCH) {
            drop(table);
            told(pid, Exit::Unknown);
        } else {
            table.insert(pid.as_raw(), Box::new(told));
        }
    }

    /// Collects all that are dead now.
    pub fn reap(&self) {
        loop {
            let mut table = self.table();
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal as i32)),
                Err(Errno::EINTR) => continue,
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let told = table.remove(&pid.as_raw());
            drop(table);
            if let Some(told) = told {
                told(pid, exit);
            }
        }
    }
}
