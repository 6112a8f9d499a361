//! The end of a run: in which order everything is put away, and how the machine then goes down.

use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::console::say;
use crate::{aside, mounts, sys};

/// How long programs get to end after SIGTERM to all.
const GRACE: Duration = Duration::from_secs(3);
/// How long the disk may take to have everything written; then the machine goes down without.
const WRITE_OUT: Duration = Duration::from_mins(2);

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    Restart,
    /// The firmware's next start, and no other, takes the other slot.
    RestartIntoTrial,
    PowerOff,
}

/// Ends all programs that are left, puts the data away and goes down. `idle` is called while something is waited for.
pub fn go_down(down: Down, mut idle: impl FnMut()) -> ! {
    end_everything(&mut idle);
    let written_out = || {
        mounts::put_away(mounts::DATA);
        nix::unistd::sync();
    };
    aside::wait("shutdown: writing out", WRITE_OUT, &mut idle, written_out);
    say!(
        "shutdown: {}",
        match down {
            Down::Restart => "restarting",
            Down::RestartIntoTrial => "restarting into the trial",
            Down::PowerOff => "power off",
        }
    );
    // The last line has to reach a serial console.
    std::thread::sleep(Duration::from_millis(100));
    let why = match down {
        Down::Restart => reboot(RebootMode::RB_AUTOBOOT).err().map(std::io::Error::from),
        Down::RestartIntoTrial => Some(sys::restart_with("0 tryboot")),
        Down::PowerOff => reboot(RebootMode::RB_POWER_OFF).err().map(std::io::Error::from),
    };
    say!("shutdown: the kernel refuses ({why:?}); waiting for the watchdog");
    loop {
        std::thread::sleep(Duration::from_mins(1));
    }
}

/// SIGTERM to all there are, then SIGKILL. The reaper's thread collects them meanwhile.
fn end_everything(idle: &mut impl FnMut()) {
    let all = Pid::from_raw(-1);
    let _ = kill(all, Signal::SIGTERM);
    let until = sys::uptime() + GRACE;
    while sys::uptime() < until && kill(all, None).is_ok() && has_children() {
        idle();
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = kill(all, Signal::SIGKILL);
    std::thread::sleep(Duration::from_millis(50));
}

/// Whether any program but us is left. Threads of the kernel have no program.
fn has_children() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .any(|pid| pid != 1 && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()))
}
