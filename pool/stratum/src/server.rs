//! The server: publishes jobs, tells what it sees, and changes its settings while it runs.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warppool_events::Bus;
use warppool_work::{ExtranonceAllocator, Job, Payout};

use crate::bans::Ban;
use crate::connections::Connections;
use crate::conversation::Conversation;
use crate::core::{Core, Edition};
use crate::metrics::{Counters, Metrics};
use crate::pool::{Pool, Reason, SessionInfo};
use crate::session::Session;
use crate::settings::Settings;

/// Most TLS handshakes at once that settings can ask for.
const MOST_HANDSHAKES: usize = 4096;

/// The Stratum V1 server. Shared behind an [`Arc`]; every method may be called from anywhere but from within [`Pool`].
pub struct Server {
    pub(crate) core: Arc<Core>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) tasks: TaskTracker,
    /// Ends listeners and the sweeper.
    pub(crate) stop: CancellationToken,
    pub(crate) handshakes: Arc<Semaphore>,
    sweeper: OnceLock<()>,
    /// One job is published after the other.
    publishing: Mutex<()>,
}

/// How a job went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Miners it was sent to.
    pub miners: usize,
    /// From the call to when the first miner's job was handed to the kernel; zero without miners.
    pub first: Duration,
    /// The same for the last miner.
    pub last: Duration,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    pub fn new(settings: Settings, pool: Arc<dyn Pool>, extranonces: ExtranonceAllocator, bus: Bus) -> Arc<Self> {
        let handshakes = Arc::new(Semaphore::new(settings.tls_handshakes.clamp(1, MOST_HANDSHAKES)));
        Arc::new(Self {
            core: Arc::new(Core::new(settings, pool, extranonces, bus)),
            connections: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            handshakes,
            sweeper: OnceLock::new(),
            publishing: Mutex::new(()),
        })
    }

    /// Sends a job to every miner, straight to the sockets; keeps it for those who come later and for judging. A job is kept
    /// ten minutes after the next one came.
    ///
    /// Call it at least every 30 s, also while no node answers (with a new job of the same template): this is what keeps
    /// firmware from taking the connection for dead.
    pub fn publish(&self, job: Arc<Job>) -> Broadcast {
        let start = Instant::now();
        let _one = self.publishing.lock();
        let core = &*self.core;
        let before = core.board.load_full();
        core.board.store(Arc::new(before.with(job, core.now().at)));
        Counters::count(&core.counters.broadcasts);
        let view = core.view();
        let Some((job, prepared)) = view.board.newest() else { return Broadcast::default() };

        let write_limit = view.settings().write_limit;
        // By identity: payouts are shared by whoever is paid the same, and looking at them costs more than a line too many.
        let mut lines: HashMap<*const Payout, (Arc<Payout>, Vec<u8>)> = HashMap::new();
        let mut own = Vec::new();
        let mut broadcast = Broadcast::default();
        for connection in self.connections.all() {
            let mut state = connection.lock();
            own.clear();
            let Some(payout) = state.session.take_job(job.id, &view, &mut own) else { continue };
            let (_, line) = lines
                .entry(Arc::as_ptr(payout))
                .or_insert_with(|| (Arc::clone(payout), prepared.line_for(job, payout, job.clean)));
            if own.is_empty() {
                connection.send(&mut state, line, write_limit);
            } else {
                own.extend_from_slice(line);
                connection.send(&mut state, &own, write_limit);
            }
            broadcast.miners += 1;
            if broadcast.miners == 1 {
                broadcast.first = start.elapsed();
            }
        }
        if broadcast.miners > 0 {
            broadcast.last = start.elapsed();
        }
        // Shares still come for the job just replaced, seldom for those before.
        before.forget_former();
        broadcast
    }

    /// Takes effect at once for new connections, and within a second for living ones.
    pub fn reconfigure(&self, settings: Settings) {
        let number = self.core.edition.load().number.wrapping_add(1);
        self.core.edition.store(Arc::new(Edition { settings, number }));
    }

    pub fn settings(&self) -> Settings {
        self.core.edition.load().settings.clone()
    }

    /// Every connection, the oldest first.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let now = self.core.now();
        let mut sessions: Vec<_> =
            self.connections.all().iter().map(|connection| connection.lock().session.info(Some(0), now)).collect();
        sessions.sort_unstable_by_key(|session| session.id);
        sessions
    }

    /// Closes one connection; false when it is gone already.
    pub fn disconnect(&self, session: u64) -> bool {
        self.connections.all().iter().any(|connection| {
            let mut state = connection.lock();
            let found = state.session.id == session;
            if found {
                state.close(Reason::Operator);
            }
            found
        })
    }

    pub fn bans(&self) -> Vec<Ban> {
        self.core.bans.list(self.core.now().at)
    }

    /// Lets a worker in again; false when it was not shut out.
    pub fn unban(&self, address: IpAddr, worker: &str) -> bool {
        self.core.bans.remove(address.into(), worker)
    }

    pub fn metrics(&self) -> Metrics {
        let (now, keepalive) = (self.core.now().at, self.core.edition.load().settings.keepalive);
        let mut metrics = self.core.counters.snapshot();
        for connection in self.connections.all() {
            let session = &connection.lock().session;
            *(if session.tls { &mut metrics.tls } else { &mut metrics.plain }) += 1;
            if session.is_mining() {
                metrics.mining += 1;
                metrics.silent += usize::from(now.saturating_sub(session.last_notify) > keepalive);
            }
        }
        metrics
    }

    /// A session without a socket, for tests, fuzzing and measurements.
    pub fn converse(self: &Arc<Self>, peer: SocketAddr) -> Conversation {
        let now = self.core.now();
        let id = self.core.next_session.fetch_add(1, Relaxed);
        Conversation::new(Arc::clone(&self.core), Session::new(id, peer, false, &self.core, now))
    }

    /// Closes listeners and connections. What miners have sent by now is still judged; returns when all are gone, at the
    /// latest after `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop.cancel();
        for connection in self.connections.all() {
            connection.lock().close(Reason::Shutdown);
        }
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }

    /// Starts what happens by the clock; needs a runtime, so the first listener does it.
    pub(crate) fn start_sweeper(self: &Arc<Self>) {
        if self.sweeper.set(()).is_ok() {
            let (core, connections) = (Arc::clone(&self.core), Arc::clone(&self.connections));
            self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(sweep(core, connections)));
        }
    }
}

/// Once a second, or more often where the time to authorize is short.
async fn sweep(core: Arc<Core>, connections: Arc<Connections>) {
    let mut out = Vec::new();
    loop {
        let every = (core.edition.load().settings.authorize_timeout / 4).clamp(MOST_OFTEN, SELDOM);
        tokio::time::sleep(every).await;
        core.set_clock();
        let view = core.view();
        for connection in connections.all() {
            connection.tick(&view, &mut out);
        }
        core.limits.sweep(view.settings().rates.idle_evict, view.now.at);
        core.bans.sweep(view.now.at);
        core.agents.sweep();
    }
}

const MOST_OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_secs(1);
