//! What can be seen of the running pool: plain values, made on request, that the API serves as they are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use warppool_events::BlockFate;
use warppool_ledger::{Best, BlockRow, Bucket, LedgerError, NotifySummary, Reason, Resolution, Tally};
use warppool_node::{LatencySnapshot, NodeStatus};
use warppool_stratum::{Ban, Metrics, RefusedFor, SessionInfo};

use crate::Engine;
use crate::intake::ShareCounts;

/// The pool at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    pub brand: String,
    pub location: String,
    pub version: &'static str,
    pub chain: String,
    pub started_ms: u64,
    pub profile: String,
    pub hashrate: Hashrates,
    pub shares: Shares,
    /// Connections that get jobs.
    pub miners: usize,
    pub connections: usize,
    pub connections_tls: usize,
    pub workers_online: usize,
    pub network: Option<NetworkView>,
    pub job: Option<JobView>,
    pub odds: Option<Odds>,
    pub best_share: Option<BestView>,
    pub blocks_found: usize,
    pub tip_to_notify: TipToNotify,
    pub nodes: Vec<NodeStatus>,
    pub ledger: LedgerView,
    pub connect: Connect,
    /// Blocks are paid to the operator's address unless the username is an address.
    pub plain_names_paid_to: Option<String>,
}

/// Hashes per second, from accepted shares.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Hashrates {
    pub five_minutes: f64,
    pub hour: f64,
    pub day: f64,
}

/// A worker's hashes per second since start; its days are at `/api/hashrate`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct WorkerRates {
    pub five_minutes: f64,
    pub hour: f64,
}

/// Since start, by reason where refused.
#[derive(Clone, Debug, Serialize)]
pub struct Shares {
    pub accepted: u64,
    pub refused: u64,
    pub refused_by: Vec<ReasonCount>,
    /// In shares of difficulty 1.
    pub work: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ReasonCount {
    pub reason: &'static str,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct NetworkView {
    pub height: u32,
    pub difficulty: f64,
}

/// The block being mined.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct JobView {
    pub height: u32,
    pub transactions: usize,
    pub coinbase_value_sat: u64,
    /// Time the node gave it, Unix seconds.
    pub time: u32,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Odds {
    /// Mean time to a block at the last hour's pace, seconds.
    pub expected_seconds: f64,
    /// Chance of at least one block in a day, 0 to 1.
    pub chance_per_day: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct BestView {
    pub worker: String,
    pub difficulty: f64,
    pub at_ms: u64,
}

/// From the news of a new tip to the last miner's job handed to the kernel, milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TipToNotify {
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub last_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LedgerView {
    pub state: warppool_events::LedgerState,
    pub message: String,
    pub bytes: u64,
    pub last_commit_at_ms: u64,
    /// A power cut loses at most the statistics of so many seconds.
    pub commit_seconds: u64,
}

/// Where miners connect; the host is the one the reader reached the pool by.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Connect {
    pub plain_port: Option<u16>,
    pub tls_port: Option<u16>,
}

/// A worker, with its connections if it is here.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    pub name: String,
    pub online: bool,
    pub connections: usize,
    pub agent: String,
    pub tls: bool,
    pub difficulty: Option<f64>,
    pub hashrate: WorkerRates,
    pub accepted: u64,
    pub refused: u64,
    pub refused_by: Vec<ReasonCount>,
    pub work: f64,
    pub best: Option<BestOf>,
    pub blocks_found: u32,
    pub first_seen_ms: u64,
    pub last_share_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct BestOf {
    pub difficulty: f64,
    pub at_ms: u64,
    pub height: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct BlockView {
    /// In display order.
    pub hash: String,
    pub height: u32,
    pub at_ms: u64,
    pub worker: String,
    pub address: String,
    pub value_sat: u64,
    pub fate: BlockFate,
    pub confirmations: u32,
    /// First height at which the reward can be spent.
    pub spendable_height: u32,
    pub difficulty: f64,
    pub network_difficulty: f64,
    pub payouts: Vec<Paid>,
    pub explorer_url: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Paid {
    pub address: String,
    pub value_sat: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct HashratePoint {
    pub at_ms: u64,
    pub seconds: u64,
    pub hashrate: f64,
    pub accepted: u64,
    pub refused: u64,
    pub best: f64,
}

const DAY_MS: u64 = 86_400_000;
/// Confirmations after which a coinbase can be spent.
const MATURITY: u32 = 100;

impl Engine {
    pub fn overview(&self) -> Overview {
        let inner = &self.inner;
        let loaded = inner.loaded.read();
        let (config, limits) = (&loaded.config, inner.limits.read().clone());
        let metrics = inner.server.metrics();
        let hashrate = self.hashrates();
        let network = inner.nodes.network().map(|n| NetworkView { height: n.height, difficulty: n.difficulty });
        let update = inner.nodes.templates().borrow().clone();
        let stats = inner.ledger.stats();
        let bound = self.bound();
        Overview {
            brand: config.branding.status_brand_name.clone(),
            location: config.branding.server_location.clone(),
            version: env!("CARGO_PKG_VERSION"),
            chain: config.mining.chain.to_string(),
            started_ms: inner.started_ms,
            profile: limits.profile.to_string(),
            hashrate,
            shares: shares_view(&inner.intake.counts()),
            miners: metrics.mining,
            connections: metrics.plain + metrics.tls,
            connections_tls: metrics.tls,
            workers_online: inner.roster.all().iter().filter(|worker| worker.connections() > 0).count(),
            network,
            job: update.map(|update| JobView {
                height: update.template.height,
                transactions: update.template.transactions.len(),
                coinbase_value_sat: update.template.coinbase_value,
                time: update.template.cur_time,
            }),
            odds: network.and_then(|network| odds(hashrate.hour, network.difficulty)),
            best_share: inner.ledger.best_shares().into_iter().next().map(|best| BestView {
                worker: best.worker,
                difficulty: best.best.difficulty,
                at_ms: best.best.at_ms,
            }),
            blocks_found: self.blocks_found(),
            tip_to_notify: self.tip_to_notify(),
            nodes: inner.nodes.status(),
            ledger: LedgerView {
                state: stats.state,
                message: stats.message,
                bytes: stats.bytes,
                last_commit_at_ms: stats.last_commit_at_ms,
                commit_seconds: limits.ledger_commit_seconds,
            },
            connect: Connect {
                plain_port: bound.plain.map(|address| address.port()),
                tls_port: bound.tls.map(|address| address.port()),
            },
            plain_names_paid_to: config.mining.payout_address.clone(),
        }
    }

    /// Every worker remembered, those here first, then by name.
    pub fn workers(&self) -> Vec<WorkerView> {
        let inner = &self.inner;
        let now = inner.intake.now();
        let sessions = inner.server.sessions();
        let mut by_name: HashMap<&str, Vec<&SessionInfo>> = HashMap::new();
        for session in &sessions {
            by_name.entry(session.name.as_deref().unwrap_or_default()).or_default().push(session);
        }
        let mut views: Vec<WorkerView> = inner
            .ledger
            .workers()
            .into_iter()
            .map(|known| {
                let here = by_name.get(&*known.name).map_or(&[][..], Vec::as_slice);
                let pace = inner.roster.by_name(&known.name);
                let rate = |minutes| pace.as_ref().map_or(0.0, |worker| worker.hashrate(minutes, now));
                WorkerView {
                    online: !here.is_empty(),
                    connections: here.len(),
                    tls: here.iter().any(|session| session.tls),
                    difficulty: here.first().and_then(|session| session.difficulty),
                    hashrate: WorkerRates { five_minutes: rate(5), hour: rate(60) },
                    accepted: known.totals.accepted,
                    refused: known.totals.rejected_total(),
                    refused_by: reasons(&known.totals),
                    work: known.totals.work,
                    best: known.best.map(|Best { difficulty, at_ms, height }| BestOf { difficulty, at_ms, height }),
                    blocks_found: known.blocks_found,
                    first_seen_ms: known.first_seen_ms,
                    last_share_ms: here.iter().filter_map(|session| session.last_share_ms).max(),
                    agent: known.agent,
                    name: known.name,
                }
            })
            .collect();
        views.sort_by(|a, b| b.online.cmp(&a.online).then_with(|| a.name.cmp(&b.name)));
        views
    }

    /// Found blocks, the newest first.
    pub fn blocks(&self, most: usize) -> Result<Vec<BlockView>, LedgerError> {
        let tip = self.inner.nodes.network().map(|network| network.height);
        let explorer = self.inner.loaded.read().config.mining.block_explorer_url.clone();
        let mut rows: BTreeMap<_, _> =
            self.inner.ledger.blocks(most)?.into_iter().map(|row| ((Reverse(row.height), row.hash), row)).collect();
        // The list on disk follows a moment later, or much later where the disk is slow.
        rows.extend(self.inner.blocks.open_rows().into_iter().map(|row| ((Reverse(row.height), row.hash), row)));
        let rows = rows.into_values().take(most);
        Ok(rows.map(|row| block_view(row, tip, explorer.as_deref())).collect())
    }

    /// The pace over a span of time by bucket, the pool's or one worker's; `None` for a worker nobody knows.
    pub fn hashrate(&self, worker: Option<&str>, span_ms: u64) -> Result<Option<Vec<HashratePoint>>, LedgerError> {
        let id = match worker {
            Some(name) => match self.inner.ledger.worker(name) {
                Some(worker) => Some(worker.id),
                None => return Ok(None),
            },
            None => None,
        };
        let now = crate::desk::now_ms();
        let span = now.saturating_sub(span_ms)..now;
        let buckets = self.inner.ledger.hashrate(id, span, Resolution::for_span(span_ms))?;
        Ok(Some(buckets.into_iter().map(|bucket| point(&bucket, now)).collect()))
    }

    pub fn server_metrics(&self) -> Metrics {
        self.inner.server.metrics()
    }

    pub fn node_status(&self) -> Vec<NodeStatus> {
        self.inner.nodes.status()
    }

    pub fn rpc_latency(&self) -> LatencySnapshot {
        self.inner.nodes.latency()
    }

    /// All shares since the ledger began.
    pub fn ledger_totals(&self) -> Tally {
        self.inner.ledger.pool_totals()
    }

    pub fn ledger_stats(&self) -> warppool_ledger::Stats {
        self.inner.ledger.stats()
    }

    pub fn started_ms(&self) -> u64 {
        self.inner.started_ms
    }

    /// Seconds since the node's last good template, by the node in use; `None` before the first.
    pub fn template_age(&self) -> Option<f64> {
        self.inner.nodes.status().into_iter().filter_map(|node| node.last_template_age_s).min_by(f64::total_cmp)
    }

    /// There is a template to mine on.
    pub fn has_job(&self) -> bool {
        self.inner.nodes.templates().borrow().is_some()
    }

    /// Addresses and workers shut out now.
    pub fn bans(&self) -> Vec<Ban> {
        self.inner.server.bans()
    }

    /// Found blocks that are or were in the chain, and those still on the way.
    pub fn blocks_found(&self) -> usize {
        self.inner.blocks.count()
    }

    /// A found block no node has in its chain yet.
    pub fn has_unconfirmed_block(&self) -> bool {
        self.inner.blocks.has_unconfirmed()
    }

    pub fn tip_to_notify(&self) -> TipToNotify {
        let NotifySummary { samples, p50_ms, p99_ms } = self.inner.ledger.notify_summary();
        let last_ms = self.inner.ledger.notify_samples().last().map(|sample| sample.last_ms);
        TipToNotify { samples, p50_ms, p99_ms, last_ms }
    }

    pub fn hashrates(&self) -> Hashrates {
        let intake = &self.inner.intake;
        Hashrates { five_minutes: intake.hashrate(5), hour: intake.hashrate(60), day: self.mean_over_day() }
    }

    /// From the ledger, so that it holds across restarts.
    fn mean_over_day(&self) -> f64 {
        let now = crate::desk::now_ms();
        let span = now.saturating_sub(DAY_MS)..now;
        let Ok(buckets) = self.inner.ledger.hashrate(None, span, Resolution::Hour) else { return 0.0 };
        let mut sum = Tally::default();
        for bucket in &buckets {
            sum.merge(&bucket.tally);
        }
        // A pool that has just started is not averaged over the time before.
        let since = match &buckets[..] {
            [] => now,
            [only] => only.start_ms.max(self.inner.started_ms),
            [first, ..] => first.start_ms,
        };
        sum.hashrate((now.saturating_sub(since)).clamp(60_000, DAY_MS))
    }
}

fn shares_view(counts: &ShareCounts) -> Shares {
    let named = RefusedFor::ALL.into_iter().zip(counts.refused);
    Shares {
        accepted: counts.accepted,
        refused: counts.refused_total(),
        refused_by: named.map(|(reason, count)| ReasonCount { reason: reason.name(), count }).collect(),
        work: counts.work,
    }
}

fn reasons(tally: &Tally) -> Vec<ReasonCount> {
    let named = Reason::ALL.into_iter().zip(tally.rejected).filter(|(_, count)| *count > 0);
    named.map(|(reason, count)| ReasonCount { reason: reason.name(), count }).collect()
}

/// `None` while nobody mines.
fn odds(hashrate: f64, difficulty: f64) -> Option<Odds> {
    let expected_seconds = difficulty * 2f64.powi(32) / hashrate;
    (hashrate > 0.0 && difficulty > 0.0)
        .then(|| Odds { expected_seconds, chance_per_day: -(-86_400.0 / expected_seconds).exp_m1() })
}

fn point(bucket: &Bucket, now: u64) -> HashratePoint {
    // The running bucket is not full yet.
    let span = bucket.span_ms.min(now.saturating_sub(bucket.start_ms)).max(60_000);
    HashratePoint {
        at_ms: bucket.start_ms,
        seconds: bucket.span_ms / 1000,
        hashrate: bucket.tally.hashrate(span),
        accepted: bucket.tally.accepted,
        refused: bucket.tally.rejected_total(),
        best: bucket.tally.best,
    }
}

fn block_view(row: BlockRow, tip: Option<u32>, explorer: Option<&str>) -> BlockView {
    let mut displayed = row.hash;
    displayed.reverse();
    let hash = hex::encode(displayed);
    let in_chain = matches!(row.fate, BlockFate::Confirmed | BlockFate::Mature);
    // Between two changes of its fate a block's depth follows from the tip.
    let by_tip = tip.and_then(|tip| (tip + 1).checked_sub(row.height)).filter(|_| in_chain);
    BlockView {
        explorer_url: explorer.map(|base| format!("{}/{hash}", base.trim_end_matches('/'))),
        hash,
        height: row.height,
        at_ms: row.at_ms,
        worker: row.worker,
        address: row.address,
        value_sat: row.value_sat,
        fate: row.fate,
        confirmations: by_tip.unwrap_or(0).max(row.confirmations),
        spendable_height: row.height + MATURITY,
        difficulty: row.difficulty,
        network_difficulty: row.network_difficulty,
        payouts: row
            .payouts
            .into_iter()
            .map(|payout| Paid { address: payout.address, value_sat: payout.value_sat })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_those_of_a_poisson_process() {
        let odds = odds(1e12, 1e12 * 86_400.0 / 2f64.powi(32)).unwrap();
        assert!((odds.expected_seconds - 86_400.0).abs() < 1e-6);
        assert!((odds.chance_per_day - (1.0 - (-1f64).exp())).abs() < 1e-12);
        assert!(super::odds(0.0, 1.0).is_none());
    }

    #[test]
    fn confirmations_follow_the_tip_only_while_the_block_is_in_the_chain() {
        let case = |fate, stored, tip, expected| {
            let mut row = crate::spool::tests::found(1).row;
            (row.fate, row.confirmations, row.height) = (fate, stored, 101);
            assert_eq!(block_view(row, tip, None).confirmations, expected, "{fate:?}");
        };
        case(BlockFate::Confirmed, 1, Some(101), 1);
        case(BlockFate::Confirmed, 1, Some(150), 50);
        case(BlockFate::Confirmed, 1, None, 1);
        case(BlockFate::Orphaned, 0, Some(150), 0);
        case(BlockFate::Pending, 0, Some(100), 0);
    }
}
