//! What a simulated miner has seen and done, live: a snapshot at any time, and waiting for a condition on it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::violation::Violation;

/// So many violations are kept word for word; all are counted.
const KEPT_VIOLATIONS: usize = 64;

#[derive(Clone, Debug, Default, Serialize)]
pub struct MinerStats {
    pub connected: bool,
    pub authorized: bool,
    /// Connections made, the first included.
    pub connects: u64,
    /// Connection attempts that failed and connections lost, the last reason in `last_error`.
    pub losses: u64,
    pub refused_authorizations: u64,
    pub jobs: u64,
    pub clean_jobs: u64,
    /// The previous block's hash of the latest job, as block explorers show it.
    pub tip: Option<String>,
    #[serde(skip)]
    pub last_notify: Option<Instant>,
    /// The difficulty shares are made for.
    pub difficulty: f64,
    /// The version bits the pool lets us roll; 0 where it does not.
    pub version_mask: u32,
    pub hashes: u64,
    pub submitted: u64,
    pub accepted: u64,
    pub rejected: u64,
    /// Rejections by their error code; 0 where there was none to be read.
    pub rejected_by_code: BTreeMap<i64, u64>,
    /// Accepted shares that met the network target of their job.
    pub blocks: u64,
    pub best_difficulty: f64,
    pub submit_latency: Latency,
    pub violation_count: u64,
    pub violations: Vec<Violation>,
    pub last_error: Option<String>,
    /// What became of hostile inputs, by the name of the attack (the adversary only).
    pub attacks: BTreeMap<&'static str, AttackOutcomes>,
}

impl MinerStats {
    pub(crate) fn violate(&mut self, violation: Violation) {
        self.violation_count += 1;
        if self.violations.len() < KEPT_VIOLATIONS {
            self.violations.push(violation);
        }
    }
}

/// From writing a submit to reading its answer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean_us: f64,
    pub max_us: f64,
    pub last_us: f64,
}

impl Latency {
    pub(crate) fn record(&mut self, took: Duration) {
        let us = took.as_secs_f64() * 1e6;
        self.count += 1;
        self.mean_us += (us - self.mean_us) / self.count as f64;
        self.max_us = self.max_us.max(us);
        self.last_us = us;
    }
}

/// How often a pool answered, closed the connection, or kept silent under one kind of attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttackOutcomes {
    pub answered: u64,
    pub closed: u64,
    pub silent: u64,
}
