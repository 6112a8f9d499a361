//! A pool that is made up: its views are values a test can change.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use warppool_api::{Counters, Pool, Readiness};
use warppool_engine::view::{
    BestOf, BestView, BlockView, Connect, HashratePoint, Hashrates, JobView, LedgerView, NetworkView, Odds, Overview,
    Paid, ReasonCount, Shares, TipToNotify, WorkerRates, WorkerView,
};
use warppool_events::{BlockFate, Bus, LedgerState, NodeState};
use warppool_ledger::{LedgerError, Stats, Tally};
use warppool_node::{LatencySnapshot, NodeStatus, ZmqState, ZmqStatus};
use warppool_stratum::{Metrics, Reason, TurnedAway};

pub const NASTY: &str = "<script>alert('x')</script>&\"\\ \u{202e}ß/…";
pub const HOUR_MS: u64 = 3_600_000;

#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    bus: Bus,
    started_ms: u64,
}

pub struct State {
    pub overview: Overview,
    pub workers: Vec<WorkerView>,
    pub blocks: Vec<BlockView>,
    /// Reading the ledger fails.
    pub is_unreadable: bool,
    pub counters: Counters,
    pub readiness: Readiness,
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

impl Fake {
    pub fn new() -> Self {
        let started_ms = now_ms() - 5 * HOUR_MS;
        let overview = overview(started_ms);
        let state = State {
            workers: vec![worker("bc1qexample.rig1", true), worker("bc1qexample.rig2", true), worker(NASTY, false)],
            blocks: vec![block(840_002, BlockFate::Pending, 0), block(840_001, BlockFate::Confirmed, 12)],
            is_unreadable: false,
            counters: counters(),
            readiness: Readiness { is_listening: true, has_job: true, nodes: overview.nodes.clone() },
            overview,
        };
        Self { state: Arc::new(Mutex::new(state)), bus: Bus::new(), started_ms }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Pool for Fake {
    fn overview(&self) -> Overview {
        self.state().overview.clone()
    }

    fn workers(&self) -> Vec<WorkerView> {
        self.state().workers.clone()
    }

    fn blocks(&self, most: usize) -> Result<Vec<BlockView>, LedgerError> {
        let state = self.state();
        if state.is_unreadable {
            return Err(LedgerError::Unreadable("a bad page".into()));
        }
        Ok(state.blocks.iter().take(most).cloned().collect())
    }

    fn hashrate(&self, worker: Option<&str>, span_ms: u64) -> Result<Option<Vec<HashratePoint>>, LedgerError> {
        let state = self.state();
        if state.is_unreadable {
            return Err(LedgerError::Unreadable("a bad page".into()));
        }
        let is_known = worker.is_none_or(|name| state.workers.iter().any(|worker| worker.name == name));
        let step = if span_ms <= 24 * HOUR_MS { HOUR_MS / 12 } else { HOUR_MS * 24 };
        let end = now_ms() / step * step;
        let point = |n: u64| HashratePoint {
            at_ms: end - n * step,
            seconds: step / 1000,
            hashrate: 6e12 + 1e12 * (n as f64 / 5.0).sin(),
            accepted: 90,
            refused: 1,
            best: 65_536.0,
        };
        Ok(is_known.then(|| (0..(span_ms / step).min(120)).rev().map(point).collect()))
    }

    fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    fn readiness(&self) -> Readiness {
        self.state().readiness.clone()
    }

    fn bus(&self) -> &Bus {
        &self.bus
    }

    fn started_ms(&self) -> u64 {
        self.started_ms
    }
}

fn overview(started_ms: u64) -> Overview {
    Overview {
        brand: "Quote \" and \\ <b>".into(),
        location: "cellar".into(),
        version: "0.1.0",
        chain: "regtest".into(),
        started_ms,
        profile: "small".into(),
        hashrate: Hashrates { five_minutes: 6.1e12, hour: 5.9e12, day: 5.5e12 },
        shares: Shares { accepted: 4321, refused: 12, refused_by: refusals(), work: 1.5e7 },
        miners: 3,
        connections: 4,
        connections_tls: 1,
        workers_online: 2,
        network: Some(NetworkView { height: 840_002, difficulty: 1.1e14 }),
        job: Some(JobView {
            height: 840_003,
            transactions: 3120,
            coinbase_value_sat: 315_000_000,
            time: 1_790_000_000,
        }),
        odds: Some(Odds { expected_seconds: 2.5e9, chance_per_day: 3.4e-5 }),
        best_share: Some(BestView { worker: NASTY.into(), difficulty: 9.87e9, at_ms: started_ms + HOUR_MS }),
        blocks_found: 2,
        tip_to_notify: TipToNotify { samples: 40, p50_ms: 1.4, p99_ms: 5.0, last_ms: Some(1.2) },
        nodes: vec![node("main", NodeState::Ready)],
        ledger: LedgerView {
            state: LedgerState::Durable,
            message: String::new(),
            bytes: 1 << 20,
            last_commit_at_ms: started_ms + HOUR_MS,
            commit_seconds: 60,
        },
        connect: Connect { plain_port: Some(3333), tls_port: Some(3334) },
        plain_names_paid_to: Some("bcrt1qexample".into()),
    }
}

pub fn node(name: &str, state: NodeState) -> NodeStatus {
    let is_ready = state == NodeState::Ready;
    let when_down = |text: &str| if is_ready { String::new() } else { text.to_owned() };
    NodeStatus {
        name: name.into(),
        address: "127.0.0.1:18443".into(),
        state,
        message: when_down("nothing answers at 127.0.0.1:18443"),
        remedy: when_down("start Bitcoin Core"),
        active: is_ready,
        height: Some(840_002),
        headers: Some(840_002),
        initial_download: false,
        progress: Some(1.0),
        peers: Some(11),
        version: Some(300_000),
        subversion: Some("/Satoshi:30.0.0/".into()),
        latency_ms: Some(0.8),
        last_template_age_s: Some(3.5),
        zmq: ZmqStatus {
            state: ZmqState::Connected,
            endpoint: Some("tcp://127.0.0.1:28332".into()),
            announced: 40,
            ..ZmqStatus::default()
        },
    }
}

fn refusals() -> Vec<ReasonCount> {
    vec![ReasonCount { reason: "stale", count: 9 }, ReasonCount { reason: "low_difficulty", count: 3 }]
}

pub fn worker(name: &str, online: bool) -> WorkerView {
    WorkerView {
        name: name.into(),
        online,
        connections: usize::from(online),
        agent: "bitaxe/BM1370/v2.9 <i>".into(),
        tls: online,
        difficulty: online.then_some(1024.0),
        hashrate: WorkerRates { five_minutes: 1.2e12, hour: 1.1e12 },
        accepted: 2100,
        refused: 12,
        refused_by: refusals(),
        work: 7e6,
        best: Some(BestOf { difficulty: 123_456.0, at_ms: 1_790_000_000_000, height: 840_000 }),
        blocks_found: 1,
        first_seen_ms: 1_780_000_000_000,
        last_share_ms: online.then(now_ms),
    }
}

pub fn block(height: u32, fate: BlockFate, confirmations: u32) -> BlockView {
    BlockView {
        hash: format!("{height:064x}"),
        height,
        at_ms: now_ms() - 120_000,
        worker: NASTY.into(),
        address: "bcrt1qexample".into(),
        value_sat: 315_000_000,
        fate,
        confirmations,
        spendable_height: height + 100,
        difficulty: 2.2e14,
        network_difficulty: 1.1e14,
        payouts: vec![Paid { address: "bcrt1qexample".into(), value_sat: 315_000_000 }],
        explorer_url: Some(format!("https://explorer.example/block/{height:064x}")),
    }
}

fn counters() -> Counters {
    let mut stratum = Metrics::default();
    (stratum.plain, stratum.tls, stratum.mining) = (3, 1, 3);
    stratum.turned_away = TurnedAway::ALL.into_iter().map(|cause| (cause, 2)).collect();
    stratum.disconnects = vec![(Reason::Closed, 7), (Reason::SlowReader, 5)];
    (stratum.connects, stratum.authorized, stratum.broadcasts) = (16, 9, 120);
    Counters {
        totals: Tally { accepted: 4321, rejected: [9, 0, 3, 0, 0, 0, 0, 0, 0], work: 1.5e7, best: 9.87e9 },
        stratum,
        bans: 1,
        rpc_latency: LatencySnapshot { cumulative: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], sum_seconds: 3.25 },
        ledger: Stats {
            state: LedgerState::Durable,
            message: String::new(),
            is_clock_trusted: true,
            bytes: 1 << 20,
            commits: 300,
            failed_commits: 1,
            last_commit_at_ms: 1_790_000_000_000,
            last_commit_us: 12_500,
            raw_rows_skipped: 0,
            records_skipped: 0,
            owed: 2,
            workers: 3,
        },
        template_age_seconds: Some(3.5),
    }
}
