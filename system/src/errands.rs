//! Writes to the data partition that may take long, away from the main loop: a card that stalls must not cost a ping.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::{io, thread};

use crate::console::say;

/// Errands that may wait.
const WAITING: usize = 64;

type Errand = Box<dyn FnOnce() + Send>;

/// A thread that does one errand after the other. A clone hands errands to the same thread.
#[derive(Clone, Debug)]
pub struct Errands {
    queue: SyncSender<(&'static str, Errand)>,
}

impl Errands {
    pub fn start() -> io::Result<Self> {
        let (queue, errands) = sync_channel::<(&'static str, Errand)>(WAITING);
        thread::Builder::new().name("errands".into()).spawn(move || {
            for (_, errand) in errands {
                errand();
            }
        })?;
        Ok(Self { queue })
    }

    /// Has something done, later. Where the disk has stood still for long, it is left out and told.
    pub fn send(&self, what: &'static str, errand: impl FnOnce() + Send + 'static) {
        match self.queue.try_send((what, Box::new(errand))) {
            Ok(()) => {}
            Err(TrySendError::Full((what, _)) | TrySendError::Disconnected((what, _))) => {
                say!("data: the disk does not keep up; left out: {what}");
            }
        }
    }

    /// Waits for all that was handed over before, at most so long; `idle` is called meanwhile. False when time ran out.
    pub fn finish(&self, patience: std::time::Duration, mut idle: impl FnMut()) -> bool {
        let (done, wait) = sync_channel(1);
        self.send("the last", move || {
            let _ = done.send(());
        });
        let until = crate::sys::uptime() + patience;
        while crate::sys::uptime() < until {
            idle();
            match wait.recv_timeout(std::time::Duration::from_millis(200)) {
                Ok(()) => return true,
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return false,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    #[test]
    fn errands_are_done_in_order_and_too_many_are_dropped_not_waited_for() {
        let errands = Errands::start().unwrap();
        let (go, gate) = sync_channel::<()>(0);
        let done = Arc::new(Mutex::new(Vec::new()));
        errands.send("wait", move || {
            let _ = gate.recv();
        });
        for n in 0..WAITING + 50 {
            let done = done.clone();
            errands.send("count", move || done.lock().unwrap().push(n));
        }
        go.send(()).unwrap();
        while done.lock().unwrap().len() < WAITING - 1 {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(errands.finish(Duration::from_secs(5), || ()));
        let done = done.lock().unwrap();
        assert!(done.len() <= WAITING, "{}", done.len());
        assert!(done.is_sorted());
    }

    #[test]
    fn a_disk_that_stands_still_does_not_hold_up_the_end() {
        let errands = Errands::start().unwrap();
        errands.send("for ever", || thread::sleep(Duration::from_mins(5)));
        assert!(!errands.finish(Duration::from_millis(300), || ()));
    }
}
