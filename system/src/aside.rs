//! Work that a failing disk may hold up, away from the main thread: it is waited for, but not for ever, and the watchdog is pinged
//! meanwhile.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::console::say;

/// How often a wait looks up; well within what the watchdog allows.
const TURN: Duration = Duration::from_millis(500);

/// Does `work` in a thread of its own and waits for it at most so long; `idle` is called at least twice a second meanwhile.
///
/// `None` when it was not done in time, which is told. The kernel may not let go of a thread that waits for a disk: it is left behind,
/// and what it comes to in the end is dropped.
pub fn wait<T: Send + 'static>(
    what: &str,
    patience: Duration,
    idle: &mut dyn FnMut(),
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (give, done) = sync_channel(1);
    let started = thread::Builder::new().name("aside".into()).spawn(move || drop(give.send(work())));
    if let Err(why) = started {
        say!("{what}: no thread can be started: {why}");
        return None;
    }
    let until = Instant::now() + patience;
    loop {
        idle();
        match done.recv_timeout(TURN.min(until.saturating_duration_since(Instant::now()))) {
            Ok(result) => {
                idle();
                return Some(result);
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
            Err(_) => {
                say!("{what}: not done within {} s; the disk does not answer", patience.as_secs());
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_stands_still_is_left_behind_and_the_waiting_is_not_silent() {
        let mut calls = 0;
        assert_eq!(wait("a test", Duration::from_secs(5), &mut || calls += 1, || 7), Some(7));
        assert!(calls >= 2);
        let (mut calls, begun) = (0, Instant::now());
        let still = || thread::sleep(Duration::from_mins(5));
        assert_eq!(wait("a test", Duration::from_millis(1200), &mut || calls += 1, still), None);
        assert!(calls >= 3 && begun.elapsed() < Duration::from_mins(1), "{calls}");
    }

    #[test]
    fn what_comes_too_late_is_dropped() {
        struct Noted(std::sync::mpsc::Sender<()>);
        impl Drop for Noted {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (send, dropped) = std::sync::mpsc::channel();
        let late = move || {
            thread::sleep(Duration::from_millis(300));
            Noted(send)
        };
        assert!(wait("a test", Duration::from_millis(10), &mut || (), late).is_none());
        dropped.recv_timeout(Duration::from_secs(10)).expect("dropped by the thread that was left behind");
    }
}
