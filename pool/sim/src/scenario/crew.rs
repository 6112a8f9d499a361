//! Honest miners at work while something happens to their pool, and what it did to them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use bitcoin::{Address, Network, ScriptBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::setup::EVERY_HASH;
use super::stage::{Stage, until};
use crate::miner::{Budget, Miner, MinerOptions, MinerStats, Persona, Tls};

/// A regtest address of its own for each number.
pub(super) fn address(n: u8) -> String {
    let script = ScriptBuf::from_bytes([&[0x00, 0x14][..], &[n; 20]].concat());
    let address = Address::from_script(&script, Network::Regtest);
    address.expect("a witness program of 20 bytes has an address").to_string()
}

/// What kind of crew.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) miners: usize,
    pub(super) shares_per_second: f64,
    pub(super) personas: Vec<Persona>,
    /// Divides the devices' own waiting times.
    pub(super) acceleration: f64,
    pub(super) tls: Tls,
    pub(super) seed: u64,
}

impl Default for Shape {
    /// Three of different kinds, a share each every fifth of a second.
    fn default() -> Self {
        Self {
            miners: 3,
            shares_per_second: 5.0,
            personas: vec![Persona::BitaxeUltra, Persona::NerdminerV2, Persona::AvalonQ],
            acceleration: 10.0,
            tls: Tls::Off,
            seed: 1,
        }
    }
}

/// The password that asks for a share for every hash, where the configuration leaves the choice.
pub(super) fn every_hash() -> String {
    format!("d={EVERY_HASH:.10}")
}

pub(super) struct Crew {
    miners: Vec<Miner>,
    _stop: DropGuard,
}

/// Where a crew stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    each: Vec<MinerStats>,
}

impl Crew {
    pub(super) fn start(pool: SocketAddr, shape: &Shape) -> Self {
        let stop = CancellationToken::new();
        let start = |n: usize| {
            let persona = shape.personas[n % shape.personas.len()];
            let options = MinerOptions {
                password: every_hash(),
                budget: Budget::SharesPerSecond(shape.shares_per_second),
                seed: shape.seed * 10_000 + n as u64,
                acceleration: shape.acceleration,
                tls: shape.tls.clone(),
                ..MinerOptions::new(pool.to_string(), format!("{}.{n}", address((n % 200) as u8)), persona)
            };
            Miner::start(options, &stop)
        };
        Self { miners: (0..shape.miners).map(start).collect(), _stop: stop.clone().drop_guard() }
    }

    /// Starts a crew and waits until each has its first share accepted.
    pub(super) async fn at_work(pool: SocketAddr, shape: &Shape) -> Result<Self> {
        let crew = Self::start(pool, shape);
        crew.more(1, Duration::from_secs(30)).await?;
        Ok(crew)
    }

    pub(super) fn miners(&self) -> &[Miner] {
        &self.miners
    }

    pub(super) fn standing(&self) -> Standing {
        Standing { each: self.miners.iter().map(Miner::stats).collect() }
    }

    /// Waits until each miner has so many more shares accepted than now.
    pub(super) async fn more(&self, shares: u64, within: Duration) -> Result<Duration> {
        let before = self.standing();
        let enough = |now: &Standing| {
            now.each.iter().zip(&before.each).all(|(now, before)| now.accepted >= before.accepted + shares)
        };
        let outcome = until(within, "new shares of every miner", async || enough(&self.standing())).await;
        match outcome {
            Ok(took) => Ok(took),
            Err(_) => bail!(
                "not every miner has {shares} more shares accepted within {within:?}: {}",
                self.standing().complaint().unwrap_or_else(|| "they are too slow".into())
            ),
        }
    }

    /// Waits until each has heard of a job on this tip (as block explorers show it).
    pub(super) async fn on_tip(&self, tip: &str, within: Duration) -> Result<Duration> {
        let there = |now: &Standing| now.each.iter().all(|stats| stats.tip.as_deref() == Some(tip));
        until(within, "work on the new tip for every miner", async || there(&self.standing())).await
    }

    /// Records whether the miners went on since `before` as if nothing were: connected, no violation, nothing refused.
    pub(super) fn judge(&self, stage: &mut Stage, before: &Standing, during: &str) {
        let now = self.standing();
        let lost = now.sum(|s| s.losses) - before.sum(|s| s.losses);
        let refused = now.sum(|s| s.rejected) - before.sum(|s| s.rejected);
        let idle = now.each.iter().zip(&before.each).filter(|(now, before)| now.accepted == before.accepted).count();
        let violations = now.sum(|s| s.violation_count) - before.sum(|s| s.violation_count);
        let connected = now.each.iter().filter(|stats| stats.authorized).count();
        let passed = lost + refused + violations == 0 && idle == 0 && connected == now.each.len();
        let accepted = now.sum(|s| s.accepted) - before.sum(|s| s.accepted);
        let complaint = if passed { None } else { now.complaint() };
        stage.check(
            passed,
            format!(
                "{connected} of {} miners mine on {during}: {accepted} shares accepted, {refused} refused, {lost} \
                 connections lost, {violations} violations{}",
                now.each.len(),
                complaint.map(|why| format!(" ({why})")).unwrap_or_default()
            ),
        );
    }

    pub(super) async fn stop(self) -> Standing {
        let mut each = Vec::with_capacity(self.miners.len());
        for miner in self.miners {
            each.push(miner.stop().await);
        }
        Standing { each }
    }
}

impl Standing {
    pub(super) fn each(&self) -> &[MinerStats] {
        &self.each
    }

    pub(super) fn sum(&self, of: impl Fn(&MinerStats) -> u64) -> u64 {
        self.each.iter().map(of).sum()
    }

    /// Mean time from a submit to its answer since `before`, milliseconds.
    pub(super) fn latency_since(&self, before: &Self) -> f64 {
        let total = |stats: &MinerStats| stats.submit_latency.mean_us * stats.submit_latency.count as f64;
        let (mut sum, mut count) = (0.0, 0);
        for (now, before) in self.each.iter().zip(&before.each) {
            sum += total(now) - total(before);
            count += now.submit_latency.count - before.submit_latency.count;
        }
        sum / count.max(1) as f64 / 1e3
    }

    /// What a miner has against its pool, if any has something.
    pub(super) fn complaint(&self) -> Option<String> {
        self.each.iter().find_map(|stats| {
            let violation = stats.violations.first().map(ToString::to_string);
            let rejects = (stats.rejected > 0).then(|| format!("refused by code: {:?}", stats.rejected_by_code));
            violation.or_else(|| stats.last_error.clone()).or(rejects)
        })
    }
}

/// A miner that finds blocks: all the hashes it can do, and a share only where there is nearly a block.
pub(super) fn finder(pool: SocketAddr, worker: &str, hashes: f64, difficulty: f64, stop: &CancellationToken) -> Miner {
    let options = MinerOptions {
        password: format!("d={difficulty:.12}"),
        budget: Budget::HashesPerSecond(hashes),
        seed: worker.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte)),
        acceleration: 10.0,
        ..MinerOptions::new(pool.to_string(), format!("{}.{worker}", address(250)), Persona::Cpuminer)
    };
    Miner::start(options, stop)
}
