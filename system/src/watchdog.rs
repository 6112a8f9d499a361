//! The watchdog: a piece of hardware that restarts the machine when PID 1 has not spoken for a while.
//!
//! Only the main loop pings it, so it says that the main loop turns and nothing else. One that the loader armed is taken over.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use crate::console::say;
use crate::sys;

/// Short enough that a hung trial is back on the old slot within half a minute; the Pi's hardware holds about 16 s.
const TIMEOUT: u32 = 15;
const EVERY: Duration = Duration::from_secs(2);
const DEVICE: &str = "/dev/watchdog0";

/// A machine without a watchdog has one here that does nothing.
#[derive(Debug, Default)]
pub struct Watchdog {
    device: Option<Rc<OwnedFd>>,
    /// On the uptime clock.
    last: Duration,
}

thread_local! {
    /// The device, in the thread that opened it.
    static OURS: RefCell<Option<Rc<OwnedFd>>> = const { RefCell::new(None) };
}

/// Pings for the main thread while it waits for a disk, with a limit, where it has no [`Watchdog`] at hand. In any other thread this
/// does nothing: what they do says nothing about the main loop.
pub fn ping_from_main_thread() {
    OURS.with_borrow(|ours| {
        if let Some(device) = ours {
            let _ = sys::watchdog_ping(device);
        }
    });
}

impl Watchdog {
    /// Opens the device, where there is one, which arms it.
    pub fn open() -> Self {
        let mut dog = Self::default();
        dog.look();
        dog
    }

    /// Takes over the descriptor that the program before us had.
    pub fn adopt(device: OwnedFd) -> Self {
        let mut dog = Self::default();
        dog.take(device);
        dog
    }

    fn take(&mut self, device: OwnedFd) {
        let device = Rc::new(device);
        OURS.set(Some(device.clone()));
        self.device = Some(device);
    }

    /// Looks again for a device: its driver may have been loaded by now.
    pub fn look(&mut self) {
        if self.device.is_some() {
            return;
        }
        let Ok(file) = OpenOptions::new().write(true).open(DEVICE) else { return };
        match sys::watchdog_timeout(&file, TIMEOUT) {
            Ok(seconds) => say!("watchdog: bites after {seconds} s"),
            Err(why) => say!("watchdog: its time cannot be set ({why}); pinged all the same"),
        }
        self.take(file.into());
        self.ping();
    }

    pub fn is_there(&self) -> bool {
        self.device.is_some()
    }

    /// Pings when it is time to; to be called often.
    pub fn ping_if_due(&mut self) {
        if sys::uptime().saturating_sub(self.last) >= EVERY {
            self.ping();
        }
    }

    fn ping(&mut self) {
        self.last = sys::uptime();
        if let Some(device) = &self.device
            && let Err(why) = sys::watchdog_ping(device)
        {
            say!("watchdog: cannot be pinged: {why}");
        }
    }

    /// Disarms it, where the driver lets us. Only before the power goes: a watchdog that bites then starts the machine again.
    pub fn disarm(&mut self) {
        OURS.set(None);
        if let Some(device) = self.device.take().and_then(Rc::into_inner) {
            drop(std::fs::File::from(device).write_all(b"V"));
        }
    }

    pub fn fd(&self) -> Option<RawFd> {
        self.device.as_ref().map(AsRawFd::as_raw_fd)
    }
}
