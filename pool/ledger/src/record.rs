//! What the ledger keeps besides shares: workers, blocks, audit, block-notify times. These are also their stored forms.
//!
//! Fields may be appended here, never moved or removed: see the `value` module for how releases live together.

use serde::{Deserialize, Serialize};
use warppool_events::BlockFate;

use crate::{Tally, WorkerId};

/// A worker as the ledger knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    pub id: WorkerId,
    /// `address.worker`, or a plain name.
    pub name: String,
    /// What the miner last called itself when it subscribed.
    pub agent: String,
    pub first_seen_ms: u64,
    /// The last share or authorization.
    pub last_seen_ms: u64,
    /// All its shares since it was first seen.
    pub totals: Tally,
    pub best: Option<Best>,
    pub blocks_found: u32,
    pub vardiff: Option<VardiffState>,
}

/// The part of a worker's name before the first dot: the payout address, or a plain name.
pub fn user_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// A share better than those before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub difficulty: f64,
    pub at_ms: u64,
    /// The height that was being mined.
    pub height: u32,
}

/// One line of the pool's list of best shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestShare {
    pub worker: String,
    pub best: Best,
}

/// What the difficulty control of a worker needs to go on after a restart. The ledger only keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VardiffState {
    pub difficulty: f64,
    /// Work per second, in units of difficulty 1.
    pub rate: f64,
    pub updated_ms: u64,
}

/// A worker as it is stored. `seq` is the last commit group whose shares the totals hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    pub(crate) name: String,
    pub(crate) agent: String,
    pub(crate) first_seen_ms: u64,
    pub(crate) last_seen_ms: u64,
    pub(crate) totals: Tally,
    pub(crate) best: Option<Best>,
    pub(crate) vardiff: Option<VardiffState>,
    pub(crate) seq: u64,
}

/// A found block and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockRow {
    /// In internal byte order (as hashed, not as displayed).
    pub hash: [u8; 32],
    pub height: u32,
    pub at_ms: u64,
    pub worker: String,
    /// Whom the coinbase pays the most.
    pub address: String,
    /// The whole coinbase: subsidy and fees.
    pub value_sat: u64,
    #[serde(with = "fate")]
    pub fate: BlockFate,
    pub confirmations: u32,
    /// The network's difficulty when it was found.
    pub network_difficulty: f64,
    /// The difficulty its hash really has.
    pub difficulty: f64,
    /// Every output of the coinbase that carries value.
    pub payouts: Vec<Payout>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payout {
    pub address: String,
    pub value_sat: u64,
}

/// Who changed what, from where, and whether it worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    pub at_ms: u64,
    pub who: String,
    pub what: String,
    pub target: String,
    /// The address the request came from.
    pub from: String,
    pub result: String,
    pub details: String,
}

/// How long a new tip took to reach the miners.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotifySample {
    pub at_ms: u64,
    pub height: u32,
    pub miners: u32,
    /// From the news of the tip to the first miner's notify.
    pub first_ms: f64,
    /// From the news of the tip to the last miner's notify.
    pub last_ms: f64,
}

/// The time to the last miner over the samples kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NotifySummary {
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl NotifySummary {
    pub(crate) fn of<'a>(samples: impl Iterator<Item = &'a NotifySample>) -> Self {
        let mut times: Vec<f64> = samples.map(|sample| sample.last_ms).collect();
        times.sort_by(f64::total_cmp);
        // The nearest rank: the smallest time that the asked share of all samples does not exceed.
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Self { samples: times.len(), p50_ms: rank(50).unwrap_or(0.0), p99_ms: rank(99).unwrap_or(0.0) }
    }
}

/// Written with every fold of shares into the tiers, in the same transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Counts the folds; readers use it to see whether a fold happened between two looks.
    pub(crate) generation: u64,
    /// The last commit group whose shares the tiers hold.
    pub(crate) seq: u64,
    /// All shares ever, of all workers, also forgotten ones.
    pub(crate) pool: Tally,
    /// Raw rows that were counted but not kept one by one.
    pub(crate) raw_skipped: u64,
}

/// One bucket of a tier: the pool's sum first, so that it can be read without the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TierRecord {
    pub(crate) total: Tally,
    /// Sorted by worker.
    pub(crate) workers: Vec<(WorkerId, Tally)>,
}

/// The first record of a ledger: which release's format it has, and the oldest one that can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) written_as: u16,
    pub(crate) usable_from: u16,
}

/// The format this release writes.
pub(crate) const FORMAT: u16 = 1;

impl Format {
    pub(crate) const CURRENT: Self = Self { written_as: FORMAT, usable_from: 1 };

    pub(crate) fn is_usable(self) -> bool {
        self.usable_from <= FORMAT
    }
}

/// Fates have numbers of their own here, so that the order of the enum's variants is nobody's format.
mod fate {
    use serde::{Deserialize, Deserializer, Serializer};
    use warppool_events::BlockFate;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn serialize<S: Serializer>(fate: &BlockFate, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match fate {
            BlockFate::Pending => 0,
            BlockFate::Confirmed => 1,
            BlockFate::Mature => 2,
            BlockFate::Orphaned => 3,
            BlockFate::Rejected => 4,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BlockFate, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(BlockFate::Pending),
            1 => Ok(BlockFate::Confirmed),
            2 => Ok(BlockFate::Mature),
            3 => Ok(BlockFate::Orphaned),
            4 => Ok(BlockFate::Rejected),
            other => Err(serde::de::Error::custom(format_args!("unknown fate of a block: {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(last_ms: f64) -> NotifySample {
        NotifySample { at_ms: 0, height: 1, miners: 2, first_ms: 0.1, last_ms }
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let cases: [(usize, f64, f64); 4] = [(0, 0.0, 0.0), (1, 1.0, 1.0), (100, 50.0, 99.0), (1000, 500.0, 990.0)];
        for (count, p50_ms, p99_ms) in cases {
            let samples: Vec<_> = (1..=count).rev().map(|n| sample(n as f64)).collect();
            assert_eq!(NotifySummary::of(samples.iter()), NotifySummary { samples: count, p50_ms, p99_ms });
        }
    }

    #[test]
    fn a_user_is_the_part_before_the_first_dot() {
        for (name, user) in [("bc1q.rig.1", "bc1q"), ("rig1", "rig1"), (".x", ""), ("", "")] {
            assert_eq!(user_of(name), user);
        }
    }
}
