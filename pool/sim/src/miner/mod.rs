//! Simulated Stratum V1 miners: they connect, set up, hash and submit the way real devices do, against any pool,
//! and record every point at which the real device would have choked.
//! A [`Miner`] is one device; its [`Persona`] says which.

mod adversary;
#[cfg(test)]
pub(crate) mod fake_pool;
pub(crate) mod hash;
mod net;
mod persona;
mod session;
mod stats;
mod violation;
pub(crate) mod wire;
mod work;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    net::Connection,
    session::{End, Session},
    work::Random,
};
pub use self::{
    net::Tls,
    persona::{Persona, UnknownPersona},
    stats::{AttackOutcomes, Latency, MinerStats},
    violation::Violation,
};

/// How much a miner hashes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    HashesPerSecond(f64),
    /// As many hashes as this many shares a second need at the difficulty in force.
    SharesPerSecond(f64),
}

#[derive(Clone, Debug)]
pub struct MinerOptions {
    /// `host:port`.
    pub target: String,
    pub user: String,
    pub password: String,
    pub persona: Persona,
    pub tls: Tls,
    pub budget: Budget,
    /// Miners of the same seed walk the same way; give each its own.
    pub seed: u64,
    /// Divides the persona's own waiting times (keep-alive, silence, reconnect): 1 is real time.
    pub acceleration: f64,
}

impl MinerOptions {
    /// One share a second or so in real time, plain, password `x`.
    pub fn new(target: impl Into<String>, user: impl Into<String>, persona: Persona) -> Self {
        Self {
            target: target.into(),
            user: user.into(),
            password: "x".into(),
            persona,
            tls: Tls::Off,
            budget: Budget::SharesPerSecond(1.0),
            seed: 1,
            acceleration: 1.0,
        }
    }

    pub(crate) fn scaled(&self, time: Duration) -> Duration {
        time.div_f64(self.acceleration.clamp(0.001, 1e6))
    }
}

/// A running miner.
#[derive(Debug)]
pub struct Miner {
    stats: watch::Receiver<MinerStats>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Miner {
    /// Starts mining in a task of its own, until `shutdown` or [`Miner::stop`].
    pub fn start(options: MinerOptions, shutdown: &CancellationToken) -> Self {
        let shutdown = shutdown.child_token();
        let (sender, stats) = watch::channel(MinerStats::default());
        let stopped = shutdown.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = mine(&options, &sender) => {}
            }
            sender.send_modify(|stats| {
                stats.connected = false;
                stats.authorized = false;
            });
        });
        Self { stats, shutdown, task }
    }

    /// What it has seen and done so far.
    pub fn stats(&self) -> MinerStats {
        self.stats.borrow().clone()
    }

    /// Live statistics for many readers.
    pub fn watch(&self) -> watch::Receiver<MinerStats> {
        self.stats.clone()
    }

    /// Waits until the statistics fulfil a condition; the latest statistics as an error if they do not in time.
    pub async fn wait_for(
        &self,
        within: Duration,
        condition: impl FnMut(&MinerStats) -> bool,
    ) -> Result<MinerStats, Box<MinerStats>> {
        let mut stats = self.stats.clone();
        match timeout(within, stats.wait_for(condition)).await {
            Ok(Ok(stats)) => Ok(stats.clone()),
            _ => Err(Box::new(self.stats())),
        }
    }

    /// Hangs up and returns the final statistics.
    pub async fn stop(self) -> MinerStats {
        self.shutdown.cancel();
        // A panic of the task has been printed; the statistics up to it are still true.
        let _ = self.task.await;
        self.stats.borrow().clone()
    }
}

/// Connects, mines, and comes back after a loss as the device does.
async fn mine(options: &MinerOptions, stats: &watch::Sender<MinerStats>) {
    if options.persona == Persona::Adversary {
        return adversary::attack(options, stats).await;
    }
    let mut random = Random(options.seed);
    loop {
        let end = match Connection::open(&options.target, &options.tls).await {
            Ok(connection) => {
                stats.send_modify(|stats| {
                    stats.connects += 1;
                    stats.connected = true;
                });
                Session::run(connection, options, stats, random.next()).await
            }
            Err(error) => End::Io(error),
        };
        tracing::debug!(persona = %options.persona, user = options.user, %end, "the miner lost its pool");
        stats.send_modify(|stats| {
            stats.connected = false;
            stats.authorized = false;
            stats.version_mask = 0;
            stats.losses += 1;
            stats.last_error = Some(end.to_string());
        });
        sleep(options.scaled(options.persona.profile().reconnect_after)).await;
    }
}
