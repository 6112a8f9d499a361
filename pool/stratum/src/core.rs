//! What all sessions share: the pool behind them, the jobs, the settings, the limits and the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};
use warppool_events::{Bus, Event};
use warppool_work::ExtranonceAllocator;

use crate::agent::Agents;
use crate::bans::Bans;
use crate::board::Board;
use crate::limits::Limits;
use crate::metrics::Counters;
use crate::pool::Pool;
use crate::settings::Settings;

/// Settings with the number of their edition, so that a session sees cheaply that they have changed.
#[derive(Debug)]
pub(crate) struct Edition {
    pub(crate) settings: Settings,
    pub(crate) number: u32,
}

pub(crate) struct Core {
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) extranonces: ExtranonceAllocator,
    pub(crate) bus: Bus,
    pub(crate) edition: ArcSwap<Edition>,
    pub(crate) board: ArcSwap<Board>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bans: Bans,
    pub(crate) agents: Agents,
    pub(crate) counters: Counters,
    pub(crate) next_session: AtomicU64,
    started: Instant,
    /// Unix milliseconds at `started`, by the system's clock as it stands now.
    started_unix_ms: AtomicU64,
}

/// A moment, on both clocks, read once for all that happens in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the server was made; monotonic.
    pub(crate) at: Duration,
    pub(crate) unix_ms: u64,
}

impl Now {
    pub(crate) fn seconds(self) -> f64 {
        self.at.as_secs_f64()
    }
}

/// A consistent view of everything for one turn of one session.
pub(crate) struct View<'a> {
    pub(crate) core: &'a Core,
    pub(crate) board: Guard<Arc<Board>>,
    pub(crate) edition: Guard<Arc<Edition>>,
    pub(crate) now: Now,
}

impl View<'_> {
    pub(crate) fn settings(&self) -> &Settings {
        &self.edition.settings
    }
}

impl Core {
    pub(crate) fn new(settings: Settings, pool: Arc<dyn Pool>, extranonces: ExtranonceAllocator, bus: Bus) -> Self {
        let core = Self {
            pool,
            extranonces,
            bus,
            edition: ArcSwap::from_pointee(Edition { settings, number: 0 }),
            board: ArcSwap::default(),
            limits: Arc::default(),
            bans: Bans::default(),
            agents: Agents::default(),
            counters: Counters::default(),
            next_session: AtomicU64::new(1),
            started: Instant::now(),
            started_unix_ms: AtomicU64::new(0),
        };
        core.set_clock();
        core
    }

    pub(crate) fn now(&self) -> Now {
        self.moment(self.started.elapsed())
    }

    pub(crate) fn moment(&self, at: Duration) -> Now {
        Now { at, unix_ms: self.started_unix_ms.load(Relaxed).saturating_add(at.as_millis() as u64) }
    }

    /// Follows steps of the system's clock.
    pub(crate) fn set_clock(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.started_unix_ms.store(unix.saturating_sub(self.started.elapsed()).as_millis() as u64, Relaxed);
    }

    pub(crate) fn view(&self) -> View<'_> {
        self.view_at(self.now())
    }

    pub(crate) fn view_at(&self, now: Now) -> View<'_> {
        View { core: self, board: self.board.load(), edition: self.edition.load(), now }
    }

    pub(crate) fn tell(&self, event: Event) {
        self.bus.send(event);
    }
}
