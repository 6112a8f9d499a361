//! What a ledger is opened with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use warppool_events::Bus;

use crate::Checker;

/// Everything but the directory has a default fit for a Raspberry Pi.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the ledger lies; made (0700) if it is not there.
    pub dir: PathBuf,
    /// Keep everything in memory and leave the directory alone.
    pub memory_only: bool,
    /// Shares and statistics reach the disk this often; a power cut loses at most so much.
    pub commit_every: Duration,
    /// Address space reserved once: the most the file can ever hold. Costs nothing until it is used.
    pub map_size: u64,
    pub retention: Retention,
    pub caps: Caps,
    pub checker: Checker,
    pub clock: Clock,
    pub bus: Bus,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>, bus: Bus) -> Self {
        Self {
            dir: dir.into(),
            memory_only: false,
            commit_every: Duration::from_mins(1),
            map_size: if cfg!(target_pointer_width = "64") { 16 << 30 } else { 512 << 20 },
            retention: Retention::default(),
            caps: Caps::default(),
            checker: Checker::InProcess,
            clock: Clock::default(),
            bus,
        }
    }
}

/// How long each kind of record is kept; `None` is for ever. Counts only while the clock is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub raw: Option<Duration>,
    pub five_minutes: Option<Duration>,
    pub hours: Option<Duration>,
    pub days: Option<Duration>,
    pub audit: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        Self { raw: Some(Duration::from_hours(1)), five_minutes: days(7), hours: days(90), days: None, audit: days(90) }
    }
}

/// How many workers are remembered. Beyond that the longest unseen is forgotten, but never one that found a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub workers_per_user: usize,
    pub workers: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { workers_per_user: 64, workers: 1024 }
    }
}

/// Milliseconds since the Unix epoch; tests bring their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({} ms)", self.now_ms())
    }
}
