//! The running pool: starts its rooms in order, wires them, reloads what can change, and stops them without loss.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use warppool_config::{Changes, Config, Hardware, Limits, Loaded, diff, resolve};
use warppool_events::{Bus, Event, Level};
use warppool_ledger::Ledger;
use warppool_node::Nodes;
use warppool_stratum::Server;
use warppool_work::{ExtranonceAllocator, JobFactory, Reserve};

use crate::blocks::Blocks;
use crate::desk::{Desk, keep_vardiff};
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::listeners::{Bound, Listeners};
use crate::roster::Roster;
use crate::settings::{self, StartOptions};
use crate::spool::Spool;

/// How long miners' connections may take to hear of the end.
const GRACE: Duration = Duration::from_secs(2);
/// How long a stop waits for found blocks to be on disk and with a node.
const BLOCK_GRACE: Duration = Duration::from_secs(10);
/// How often difficulties of connected workers are kept for after a crash.
const KEEP_VARDIFF: Duration = Duration::from_mins(5);
/// A template younger than this tells the time, seconds.
const FRESH_TEMPLATE: f64 = 120.0;
/// How far this machine's clock may be from the node's, seconds: nodes put up with two hours among themselves.
const CLOCK_TOLERANCE: u64 = 3 * 3600;
/// How long a stop waits for the ledger's last write.
const LEDGER_GRACE: Duration = Duration::from_secs(10);

/// The pool. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) loaded: RwLock<Loaded>,
    pub(crate) limits: RwLock<Limits>,
    pub(crate) hardware: Hardware,
    pub(crate) nodes: Nodes,
    pub(crate) ledger: Ledger,
    pub(crate) server: Arc<Server>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) bus: Bus,
    pub(crate) started_ms: u64,
    listeners: tokio::sync::Mutex<Listeners>,
    pub(crate) bound: Mutex<Bound>,
    shutdown: CancellationToken,
}

impl Engine {
    /// Starts the pool. `data_dir` exists. Needs a tokio runtime. Fails only on what the operator has to change; a node that
    /// is down, a damaged ledger or a full disk are no reason not to start.
    pub async fn start(
        loaded: Loaded,
        hardware: Hardware,
        options: StartOptions,
        bus: Bus,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let config = loaded.config.clone();
        let limits = resolve(&config, &hardware);
        let data_dir = config.server.data_dir.clone();
        info!("profile {} for up to {} miners", limits.profile, limits.max_connections);

        // Blocks of an earlier run first: opening the ledger may take a while.
        let nodes = Nodes::start(settings::nodes(&loaded), &bus, &shutdown)?;
        let blocks = Blocks::start(nodes.clone(), bus.clone(), Spool::new(&data_dir), shutdown.clone()).await;
        let ledger = open_ledger(&config, &limits, &data_dir, &options, &bus).await?;
        blocks.attach(ledger.clone()).await;

        let roster = Arc::new(Roster::new(settings::payouts(&config)?));
        let intake = Arc::new(Intake::default());
        let desk = Arc::new(Desk {
            chain: config.mining.chain,
            roster: Arc::clone(&roster),
            intake: Arc::clone(&intake),
            blocks: Arc::clone(&blocks),
            ledger: ledger.clone(),
            bus: bus.clone(),
        });
        let mut seed = [0; 4];
        getrandom::fill(&mut seed)?;
        let extranonces = ExtranonceAllocator::new(u32::from_le_bytes(seed));
        let server = Server::new(settings::stratum(&config, &limits), desk, extranonces, bus.clone());

        let started_ms = crate::desk::now_ms();
        let jobs = Jobs {
            factory: JobFactory::new(settings::tags(&config)?, Reserve::default(), started_ms / 1000),
            nodes: nodes.clone(),
            server: Arc::clone(&server),
            ledger: ledger.clone(),
            bus: bus.clone(),
            chain: config.mining.chain,
            empty_first: config.stratum.empty_job_on_new_tip,
            keepalive: Duration::from_secs(config.stratum.job_keepalive_seconds),
        };
        tokio::spawn(jobs.run(shutdown.clone()));

        let engine = Self {
            inner: Arc::new(Inner {
                loaded: RwLock::new(loaded),
                limits: RwLock::new(limits),
                hardware,
                nodes,
                ledger,
                server,
                roster,
                intake,
                blocks,
                bus,
                started_ms,
                listeners: tokio::sync::Mutex::new(Listeners::new(options.sockets)),
                bound: Mutex::default(),
                shutdown: shutdown.clone(),
            }),
        };
        engine.open_ports(&config).await?;
        tokio::spawn(engine.clone().keep_house(shutdown));
        Ok(engine)
    }

    /// Where miners can connect.
    pub fn bound(&self) -> Bound {
        *self.inner.bound.lock()
    }

    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// Takes over a configuration read anew. What can change takes effect at once, without dropping a miner.
    pub async fn reload(&self, loaded: Loaded) -> anyhow::Result<Changes> {
        let inner = &self.inner;
        let changes = diff(&inner.loaded.read(), &loaded);
        let config = loaded.config.clone();
        // What can fail comes first, so that a port that is taken changes nothing.
        self.move_ports(&config).await?;
        inner.roster.allow_plain_names(config.stratum.allow_plain_names);
        let limits = resolve(&config, &inner.hardware);
        inner.server.reconfigure(settings::stratum(&config, &limits));
        *inner.limits.write() = limits;
        *inner.loaded.write() = loaded;
        info!("configuration read again: {} keys changed", changes.live.len());
        if !changes.needs_restart.is_empty() {
            warn!("these changes wait for a restart: {}", changes.needs_restart.join(", "));
        }
        inner.bus.send(Event::ConfigReloaded {
            changed: changes.live.clone(),
            needs_restart: changes.needs_restart.clone(),
        });
        Ok(changes)
    }

    /// Opens the ports at start. Without its certificate the TLS port stays closed, which is told; miners without TLS are not
    /// to suffer for it.
    async fn open_ports(&self, config: &Config) -> anyhow::Result<()> {
        let mut listeners = self.inner.listeners.lock().await;
        if let Err(why) = listeners.read_certificate(config) {
            let message = format!("miners cannot connect with TLS: {why:#}");
            error!("{message}");
            self.inner.bus.send(Event::Notice { level: Level::Error, message });
        }
        listeners.arrange(&self.inner.server, config).await?;
        *self.inner.bound.lock() = listeners.bound();
        Ok(())
    }

    /// Moves the ports while miners are connected; they stay. A bad certificate or a port that is taken is an error.
    async fn move_ports(&self, config: &Config) -> anyhow::Result<()> {
        let mut listeners = self.inner.listeners.lock().await;
        listeners.read_certificate(config)?;
        listeners.arrange(&self.inner.server, config).await?;
        *self.inner.bound.lock() = listeners.bound();
        Ok(())
    }

    /// What has to be done from time to time.
    async fn keep_house(self, shutdown: CancellationToken) {
        let inner = &self.inner;
        let mut last = inner.intake.counts();
        let mut kept_vardiff = Instant::now();
        let mut ticker = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticker.tick() => {}
            }
            let now = inner.intake.counts();
            let accepted = now.accepted - last.accepted;
            let rejected = now.refused_total() - last.refused_total();
            if accepted + rejected > 0 {
                inner.bus.send(Event::Shares { accepted, rejected, work: now.work - last.work });
                last = now;
            }
            if let Some(network) = inner.nodes.network() {
                inner.ledger.set_height(network.height + 1);
            }
            if let Some(trusted) = self.is_clock_right() {
                inner.ledger.set_clock_trusted(trusted);
            }
            if kept_vardiff.elapsed() > KEEP_VARDIFF {
                kept_vardiff = Instant::now();
                self.keep_difficulties();
            }
        }
    }

    /// Whether this machine's clock agrees with the node's, which has the chain to go by; `None` while no node tells. A
    /// machine without a clock chip starts in the past, and nothing may be deleted by age before that is mended.
    fn is_clock_right(&self) -> Option<bool> {
        let update = self.inner.nodes.templates().borrow().clone()?;
        let is_fresh = self.template_age()? < FRESH_TEMPLATE;
        let now = crate::desk::now_ms() / 1000;
        is_fresh.then(|| now.abs_diff(update.template.cur_time.into()) < CLOCK_TOLERANCE)
    }

    fn keep_difficulties(&self) {
        for session in self.inner.server.sessions() {
            let worker = session.worker.and_then(|id| self.inner.roster.by_id(id));
            if let (Some(worker), Some(state)) = (worker, session.vardiff) {
                keep_vardiff(&self.inner.ledger, &worker, state);
            }
        }
    }

    /// Stops in order: no new jobs, miners told, everything written. Found blocks still open stand in the spool.
    pub async fn stop(&self) {
        let inner = &self.inner;
        inner.shutdown.cancel();
        inner.listeners.lock().await.close();
        self.keep_difficulties();
        inner.server.shutdown(GRACE).await;
        inner.blocks.quiet(BLOCK_GRACE).await;
        match tokio::time::timeout(LEDGER_GRACE, inner.ledger.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => warn!("the ledger could not be written to the end: {why}"),
            Err(_) => warn!("the ledger could not be written to the end: the disk does not answer"),
        }
        info!("stopped");
    }
}

async fn open_ledger(
    config: &Config,
    limits: &Limits,
    data_dir: &Path,
    options: &StartOptions,
    bus: &Bus,
) -> anyhow::Result<Ledger> {
    let settings = settings::ledger(config, limits, data_dir, options, bus.clone());
    let opened = tokio::task::spawn_blocking(move || Ledger::open(settings)).await?;
    if !opened.message.is_empty() {
        warn!("ledger: {}", opened.message);
    }
    Ok(opened.ledger)
}
