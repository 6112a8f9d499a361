//! The running pool: starts its rooms in order, wires them, reloads what can change, and stops them without loss.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use warppool_config::{Changes, Config, Hardware, Limits, Listen, Loaded, Network, diff, resolve};
use warppool_events::{Bus, Event};
use warppool_ledger::Ledger;
use warppool_node::Nodes;
use warppool_stratum::{Bind, Listener, ListenerHandle, Server, TlsIdentity};
use warppool_work::{ExtranonceAllocator, JobFactory, Reserve};

use crate::blocks::Blocks;
use crate::desk::{Desk, keep_vardiff};
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::roster::Roster;
use crate::settings::{self, StartOptions};
use crate::spool::Spool;

/// How long miners' connections may take to hear of the end.
const GRACE: Duration = Duration::from_secs(2);
/// How often difficulties of connected workers are kept for after a crash.
const KEEP_VARDIFF: Duration = Duration::from_mins(5);
/// Earliest time a clock can be right, Unix seconds: when this release was made, about.
const RELEASE_TIME: u64 = 1_760_000_000;

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
    /// Cancelled when miners are gone and everything is written.
    jobs: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// Where miners can connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    pub plain: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Listeners {
    plain: Option<(Listen, Vec<Network>, ListenerHandle)>,
    tls: Option<(Listen, Vec<Network>, ListenerHandle)>,
    identity: Option<TlsIdentity>,
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

        let ledger = open_ledger(&config, &limits, &data_dir, &options, &bus).await?;
        let spool = open_spool(&data_dir, &bus).await;
        let nodes = Nodes::start(settings::nodes(&loaded), &bus, &shutdown)?;
        let blocks = Blocks::start(nodes.clone(), ledger.clone(), bus.clone(), spool, shutdown.clone()).await;

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
        let jobs = tokio::spawn(jobs.run(shutdown.clone()));

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
                listeners: tokio::sync::Mutex::default(),
                bound: Mutex::default(),
                shutdown: shutdown.clone(),
                jobs: Mutex::new(Some(jobs)),
            }),
        };
        engine.listen(&config).await?;
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
        self.listen(&config).await?;
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

    /// Opens, moves and closes listeners as the configuration says; miners already connected stay. Certificates are read
    /// again, and offered from the next connection on.
    async fn listen(&self, config: &Config) -> anyhow::Result<()> {
        let stratum = &config.stratum;
        let mut listeners = self.inner.listeners.lock().await;
        let proxies = stratum.proxy_protocol_from.clone();

        if listeners.plain.as_ref().is_none_or(|(at, from, _)| (at, from) != (&stratum.listen, &proxies)) {
            let handle = self.bind(&stratum.listen, None, &proxies, "stratum.listen").await?;
            info!("miners connect to {}", handle.local_addr());
            self.inner.bound.lock().plain = Some(handle.local_addr());
            if let Some((_, _, old)) = listeners.plain.replace((stratum.listen.clone(), proxies.clone(), handle)) {
                old.stop();
            }
        }

        let (Some(at), Some(certificate), Some(key)) =
            (&stratum.tls_listen, &stratum.tls_cert_path, &stratum.tls_key_path)
        else {
            if let Some((_, _, old)) = listeners.tls.take() {
                old.stop();
            }
            self.inner.bound.lock().tls = None;
            return Ok(());
        };
        match &listeners.identity {
            Some(identity) => identity.replace_files(certificate, key),
            None => TlsIdentity::from_files(certificate, key, settings::tls_versions(config))
                .map(|identity| listeners.identity = Some(identity)),
        }
        .context("stratum.tls_cert_path and stratum.tls_key_path")?;
        if listeners.tls.as_ref().is_none_or(|(was, from, _)| (was, from) != (at, &proxies)) {
            let handle = self.bind(at, listeners.identity.clone(), &proxies, "stratum.tls_listen").await?;
            info!("miners connect with TLS to {}", handle.local_addr());
            self.inner.bound.lock().tls = Some(handle.local_addr());
            if let Some((_, _, old)) = listeners.tls.replace((at.clone(), proxies, handle)) {
                old.stop();
            }
        }
        Ok(())
    }

    async fn bind(
        &self,
        at: &Listen,
        tls: Option<TlsIdentity>,
        proxies: &[Network],
        key: &str,
    ) -> anyhow::Result<ListenerHandle> {
        let lookup = at.clone();
        let candidates = tokio::task::spawn_blocking(move || lookup.candidates()).await?;
        let candidates = candidates.with_context(|| format!("{key} = {at}: the name cannot be looked up"))?;
        let mut last = None;
        for address in candidates {
            let listener = Listener {
                bind: Bind::Address(address),
                tls: tls.clone(),
                proxy_from: proxies.iter().map(|network| network.net()).collect(),
            };
            match self.inner.server.listen(listener).await {
                Ok(handle) => return Ok(handle),
                Err(why) => last = Some(why),
            }
        }
        let why = last.unwrap_or_else(|| std::io::Error::other("it names no address"));
        Err(why).with_context(|| {
            format!("{key} = {at}: cannot listen there; is another pool running, or the port below 1024?")
        })
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
                // Without a clock chip a machine starts in the past; a node that is synchronised knows better.
                inner.ledger.set_clock_trusted(crate::desk::now_ms() / 1000 > RELEASE_TIME);
            }
            if kept_vardiff.elapsed() > KEEP_VARDIFF {
                kept_vardiff = Instant::now();
                self.keep_difficulties();
            }
        }
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
        if let Some(jobs) = inner.jobs.lock().take() {
            jobs.abort();
        }
        {
            let mut listeners = inner.listeners.lock().await;
            for (_, _, handle) in [listeners.plain.take(), listeners.tls.take()].into_iter().flatten() {
                handle.stop();
            }
        }
        self.keep_difficulties();
        inner.server.shutdown(GRACE).await;
        inner.blocks.durable(GRACE * 5).await;
        if let Err(why) = inner.ledger.close().await {
            warn!("the ledger could not be written to the end: {why}");
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

async fn open_spool(data_dir: &Path, bus: &Bus) -> Option<Spool> {
    let dir = data_dir.to_owned();
    let opened = tokio::task::spawn_blocking(move || Spool::open(&dir)).await;
    match opened {
        Ok(Ok(spool)) => Some(spool),
        Ok(Err(why)) => {
            let message = format!(
                "found blocks cannot be kept on disk in {}: {why}; they are submitted all the same, but do not survive a \
                 restart: make the folder writable",
                data_dir.display()
            );
            tracing::error!("{message}");
            bus.send(Event::Notice { level: warppool_events::Level::Error, message });
            None
        }
        Err(_) => None,
    }
}
