//! The child's half: shuts this process in, once and for good, before it reads a foreign byte or starts a thread.

use std::fmt;
use std::path::PathBuf;

use landlock::{PathFdError, RulesetError};

use crate::rules::Rules;
use crate::{filter, folders};

/// How it went; `Display` gives a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub landlock: Landlock,
    /// Paths of the rules that were not there and so cannot be reached, even when they appear later.
    pub missing: Vec<PathBuf>,
}

/// How far the kernel's Landlock went along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// All rules hold.
    Full,
    /// The kernel is older than some of the rules (TCP ports come with 6.7, signals with 6.12); the rest holds.
    Partial,
    /// The kernel has no Landlock, or it is switched off; users and seccomp alone hold.
    Absent,
}

/// Why a process could not be shut in. It must not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{0} threads run already, and those stay outside: enter the jail before anything starts a thread")]
    Threads(usize),
    #[error("the threads of this process cannot be counted in /proc/self/task; is /proc mounted? {0}")]
    Proc(#[source] std::io::Error),
    #[error("the kernel refuses the folder rules (Landlock): {0}")]
    Landlock(#[from] RulesetError),
    #[error("a path of the folder rules cannot be opened: {0}")]
    Path(#[from] PathFdError),
    #[error("the kernel refuses the system call filter (seccomp); it needs CONFIG_SECCOMP_FILTER: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

/// Shuts this process in: from here on it, its threads and its children can do what the rules name and nothing else.
/// There is no way back, and a program it executes stays inside; started anew in place it can enter again, which adds
/// nothing but is no error.
pub fn enter(rules: &Rules) -> Result<Report, Error> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(Error::Proc)?.count();
    if threads != 1 {
        return Err(Error::Threads(threads));
    }
    let filters = filter::compile(rules)?;
    let (landlock, missing) = folders::restrict(rules)?;
    for filter in &filters {
        seccompiler::apply_filter(filter)?;
    }
    Ok(Report { landlock, missing })
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let landlock = match self.landlock {
            Landlock::Full => "folders and ports are shut off (Landlock)",
            Landlock::Partial => "folders are shut off, ports and signals as far as this kernel can (Landlock)",
            Landlock::Absent => "folders are NOT shut off: this kernel has no Landlock",
        };
        write!(out, "jailed: system calls are filtered (seccomp), {landlock}")?;
        if !self.missing.is_empty() {
            let missing: Vec<_> = self.missing.iter().map(|path| path.display().to_string()).collect();
            write!(out, "; not there: {}", missing.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_told_to_enter_earlier() {
        // The test runner's own thread beside this one.
        let entered = std::thread::spawn(|| enter(&Rules::nothing())).join().expect("no panic");
        assert!(matches!(entered, Err(Error::Threads(threads)) if threads > 1), "{entered:?}");
    }

    #[test]
    fn the_report_says_what_does_not_hold() {
        let report = Report { landlock: Landlock::Absent, missing: vec!["/data/pool".into()] };
        let line = report.to_string();
        assert!(line.contains("NOT shut off") && line.ends_with("not there: /data/pool"), "{line}");
    }
}
