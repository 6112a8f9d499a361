//! A panic of PID 1 must not take the pool with it: the same program starts again in the same process and takes over its
//! children, their logs' pipes, the sockets and the watchdog.
//!
//! What it needs for that lies ready in a file in memory at any time; the panic itself only has to exec.

use std::ffi::CString;
use std::fs;
use std::os::fd::RawFd;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::console::say;
use crate::{durable, sys};

const FILE: &str = "/run/warppool/resume";
const MAX_FILE: usize = 64 * 1024;
/// More panics than this within [`WINDOW`] are no accident: the kernel's panic is better then, and a restart with it.
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_mins(10);

/// What outlives a panic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// When there were panics, seconds on the uptime clock.
    pub panics: Vec<u64>,
    /// The boot was through; what it does is not done again.
    pub running: bool,
    pub watchdog: Option<RawFd>,
    pub sockets: Vec<(String, RawFd)>,
    pub children: Vec<Child>,
    /// The pool was in safe mode.
    pub safe: bool,
    /// The clock had been set from the network.
    pub clock_trusted: bool,
    /// What stands in for the data partition, and why, when it is not itself.
    pub data_fault: Option<String>,
}

/// A child that runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    pub name: String,
    pub pid: i32,
    pub log: RawFd,
    pub reports: Option<RawFd>,
}

impl Resume {
    /// Every descriptor that must stay open.
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let children = self.children.iter().flat_map(|child| [Some(child.log), child.reports]).flatten();
        let sockets = self.sockets.iter().map(|(_, fd)| *fd);
        self.watchdog.into_iter().chain(sockets).chain(children)
    }

    /// Lays it ready.
    pub fn store(&self) {
        self.store_at(Path::new(FILE));
    }

    fn store_at(&self, path: &Path) {
        let written = postcard::to_stdvec(self).map_err(std::io::Error::other).and_then(|bytes| {
            // Not `durable`: it lies in memory, and syncing it means nothing.
            let beside = path.with_extension("new");
            fs::write(&beside, bytes)?;
            fs::rename(&beside, path)
        });
        if let Err(why) = written {
            say!("resume: a panic would lose the children: {why}");
        }
    }

    fn load_from(path: &Path) -> Option<Self> {
        postcard::from_bytes(&durable::read(path, MAX_FILE).ok()?).ok()
    }

    /// What the program before us left; `None` at a boot.
    pub fn take() -> Option<Self> {
        let left = Self::load_from(Path::new(FILE))?;
        // Only a panic writes one; a file without is of a program that ended otherwise, which PID 1 does not.
        (!left.panics.is_empty()).then_some(left)
    }

    /// Notes a panic, and says why there is no going on after it, if there is none.
    fn note_panic(&mut self, now: Duration) -> Result<(), String> {
        // Half a boot cannot be taken up: nobody knows which half.
        if !self.running {
            return Err("the boot was not through".into());
        }
        let now = now.as_secs();
        self.panics.retain(|at| now.saturating_sub(*at) < WINDOW.as_secs());
        self.panics.push(now);
        if self.panics.len() > MOST {
            return Err(format!("{MOST} within {} minutes", WINDOW.as_secs() / 60));
        }
        Ok(())
    }
}

/// From here on a panic in any thread starts this program again in place, or, during the boot, restarts the machine.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|info| again(info, Path::new(FILE))));
}

fn again(info: &PanicHookInfo<'_>, file: &Path) {
    say!("panic: {info}");
    let mut left = Resume::load_from(file).unwrap_or_default();
    if let Err(why) = left.note_panic(sys::uptime()) {
        say!("panic: {why}; giving up");
        nix::unistd::sync();
        // From PID 1 this is the kernel's panic, which restarts the machine; a trial then falls back.
        std::process::abort();
    }
    left.store_at(file);
    for fd in left.descriptors() {
        sys::keep_across_exec(fd);
    }
    let arguments: Vec<CString> =
        std::env::args_os().filter_map(|it| CString::new(it.into_encoded_bytes()).ok()).collect();
    let Err(why) = nix::unistd::execv(c"/proc/self/exe", &arguments);
    say!("panic: cannot start again: {why}");
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_ready_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume");
        assert_eq!(Resume::load_from(&path), None);
        let left = Resume {
            panics: vec![7],
            watchdog: Some(5),
            sockets: vec![("http".into(), 6)],
            children: vec![Child { name: "pool".into(), pid: 77, log: 8, reports: Some(9) }],
            ..Resume::default()
        };
        left.store_at(&path);
        assert_eq!(Resume::load_from(&path), Some(left.clone()));
        assert_eq!(left.descriptors().collect::<Vec<_>>(), [5, 6, 8, 9]);
    }

    #[test]
    fn one_panic_after_the_other_is_given_up() {
        let mut left = Resume { running: true, ..Resume::default() };
        let minute = |n| Duration::from_mins(n);
        assert!((0..5).all(|n| left.note_panic(minute(n)).is_ok()));
        assert!(left.note_panic(minute(5)).is_err());
        assert!(left.note_panic(minute(30)).is_ok(), "the old ones are forgotten");
    }

    #[test]
    fn a_panic_during_the_boot_is_no_reason_to_go_on_as_if_it_were_through() {
        let file = tempfile::tempdir().unwrap().path().join("resume");
        let mut left = Resume::load_from(&file).unwrap_or_default();
        assert!(left.note_panic(Duration::from_secs(3)).is_err());
    }
}
