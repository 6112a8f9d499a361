//! Signals to PID 1, taken in by a thread that waits for nothing else: the dead go to the reaper, wishes to the main loop.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::reaper::Reaper;

/// What can be wished of us by signal, as `BusyBox`'s `reboot`, `poweroff` and `halt` and the kernel's Ctrl-Alt-Del do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Restart,
    PowerOff,
}

const TAKEN: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGPWR,
];

fn taken() -> SigSet {
    TAKEN.into_iter().collect()
}

/// Keeps the signals for the thread to come. Before any thread is made, which inherits it; the reaper has children start without.
pub fn hold() -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&taken()), None)
}

/// Starts the thread. [`hold`] must have been called.
pub fn start(reaper: Reaper, wish: impl Fn(Wish) + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("signals".into()).stack_size(256 * 1024).spawn(move || {
        let taken = taken();
        // One that ended while nobody waited has left its signal behind, or was inherited from the program before us.
        reaper.reap();
        loop {
            match taken.wait() {
                Ok(Signal::SIGCHLD) => reaper.reap(),
                Ok(Signal::SIGTERM | Signal::SIGINT) => wish(Wish::Restart),
                Ok(Signal::SIGUSR1 | Signal::SIGUSR2 | Signal::SIGPWR) => wish(Wish::PowerOff),
                Ok(_) | Err(_) => {}
            }
        }
    })?;
    Ok(())
}
