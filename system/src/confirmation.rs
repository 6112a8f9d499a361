//! What waits for a press of the button: somebody must stand beside the device for what would lose something.

use std::time::Duration;

use warppool_protocol::{Confirmation, RefusedFor, Reply, UpdateSource};

use crate::server::Asker;
use crate::sys;

/// How long there is to walk to the device.
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Debug)]
pub struct Waiting {
    pub what: Confirmed,
    asker: Asker,
    until: Duration,
}

/// What a press then does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    FactoryReset,
    /// A bundle that is older than what runs.
    Install {
        source: UpdateSource,
        /// The user who asked.
        by: u32,
    },
    Rollback,
}

impl Waiting {
    pub fn new(what: Confirmed, asker: Asker) -> Self {
        Self { what, asker, until: sys::uptime() + PATIENCE }
    }

    pub fn is_over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// For status and LED.
    pub fn shown(&self) -> Confirmation {
        match self.what {
            Confirmed::FactoryReset => Confirmation::FactoryReset,
            Confirmed::Install { .. } | Confirmed::Rollback => Confirmation::Downgrade,
        }
    }

    pub fn refuse(self, why: &str) {
        self.asker.refuse(RefusedFor::NotConfirmed, why);
    }

    pub fn accept(&self) {
        self.asker.answer(Ok(Reply::Accepted));
    }

    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }
}
