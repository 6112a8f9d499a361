//! All the API needs of the pool behind it. The engine is one; tests have another.

use warppool_engine::Engine;
use warppool_engine::view::{BlockView, HashratePoint, Overview, WorkerView};
use warppool_events::Bus;
use warppool_ledger::{LedgerError, Stats, Tally};
use warppool_node::{LatencySnapshot, NodeStatus};
use warppool_stratum::Metrics;

/// The pool to be shown. All but [`Pool::readiness`], [`Pool::bus`] and [`Pool::started_ms`] may wait for a disk.
pub trait Pool: Send + Sync + 'static {
    fn overview(&self) -> Overview;

    /// Every worker remembered, those here first.
    fn workers(&self) -> Vec<WorkerView>;

    /// Found blocks, the newest first.
    fn blocks(&self, most: usize) -> Result<Vec<BlockView>, LedgerError>;

    /// The pace over the last `span_ms`, the pool's or one worker's; `None` for a worker nobody knows.
    fn hashrate(&self, worker: Option<&str>, span_ms: u64) -> Result<Option<Vec<HashratePoint>>, LedgerError>;

    fn counters(&self) -> Counters;

    fn readiness(&self) -> Readiness;

    fn bus(&self) -> &Bus;

    /// Tells one run of the pool from another, Unix time in milliseconds.
    fn started_ms(&self) -> u64;
}

/// What metrics need beyond the overview.
#[derive(Clone, Debug)]
pub struct Counters {
    /// All shares since the ledger began.
    pub totals: Tally,
    pub stratum: Metrics,
    /// Addresses and workers shut out now.
    pub bans: usize,
    pub rpc_latency: LatencySnapshot,
    pub ledger: Stats,
    /// Since the last good template of any node.
    pub template_age_seconds: Option<f64>,
}

/// Whether miners can be served.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// A port for miners is open.
    pub is_listening: bool,
    /// There is a template to mine on.
    pub has_job: bool,
    pub nodes: Vec<NodeStatus>,
}

impl Pool for Engine {
    fn overview(&self) -> Overview {
        Self::overview(self)
    }

    fn workers(&self) -> Vec<WorkerView> {
        Self::workers(self)
    }

    fn blocks(&self, most: usize) -> Result<Vec<BlockView>, LedgerError> {
        Self::blocks(self, most)
    }

    fn hashrate(&self, worker: Option<&str>, span_ms: u64) -> Result<Option<Vec<HashratePoint>>, LedgerError> {
        Self::hashrate(self, worker, span_ms)
    }

    fn counters(&self) -> Counters {
        Counters {
            totals: self.ledger_totals(),
            stratum: self.server_metrics(),
            bans: self.bans().len(),
            rpc_latency: self.rpc_latency(),
            ledger: self.ledger_stats(),
            template_age_seconds: self.template_age(),
        }
    }

    fn readiness(&self) -> Readiness {
        let bound = self.bound();
        Readiness {
            is_listening: bound.plain.or(bound.tls).is_some(),
            has_job: self.has_job(),
            nodes: self.node_status(),
        }
    }

    fn bus(&self) -> &Bus {
        Self::bus(self)
    }

    fn started_ms(&self) -> u64 {
        Self::started_ms(self)
    }
}
