//! The scenarios: what a pool is for, in accelerated time.

mod day;
mod empty;
mod enterprise;
mod failover;
mod outage;
mod reorg;
mod restart;
mod solo;
mod storm;

use super::play::Act;

/// A target of some four thousand hashes: a simulated miner finds a block within moments.
const EASY: u32 = 0x1f0f_ffff;
/// About half a million hashes: found within seconds by a miner that does nothing else, never by chance.
pub(super) const HARD: u32 = 0x1e1f_ffff;
/// Difficulty 1: nobody here finds a block, and the node makes its own by fiat.
pub(super) const OUT_OF_REACH: u32 = 0x1d00_ffff;

pub(super) const ACTS: &[Act] = &[
    Act {
        name: "solo-block-found",
        about: "a miner's block is accepted by the node, pays the miner, and is shown",
        alone: false,
        play: |stage| Box::pin(solo::play(stage)),
    },
    Act {
        name: "connection-storm-defense",
        about: "hundreds of connects and authorizations from one address are limited while the others mine on",
        alone: true,
        play: |stage| Box::pin(storm::play(stage)),
    },
    Act {
        name: "enterprise-load-smoke",
        about: "200 miners of all kinds on the profile enterprise, and nothing they would choke on",
        alone: true,
        play: |stage| Box::pin(enterprise::play(stage)),
    },
    Act {
        name: "small-24h-stability",
        about: "a day's shares, blocks and templates of 20 miners without pauses: flat memory below 200 MB",
        alone: true,
        play: |stage| Box::pin(day::play(stage)),
    },
    Act {
        name: "rpc-outage-recovery",
        about: "the node refuses, hangs and warms up: miners keep their jobs, and a block found then is not lost",
        alone: false,
        play: |stage| Box::pin(outage::play(stage)),
    },
    Act {
        name: "reorg",
        about: "our block is orphaned: work moves to the new tip, and its fate is told",
        alone: false,
        play: |stage| Box::pin(reorg::play(stage)),
    },
    Act {
        name: "restart-of-the-pool",
        about: "stopped and killed: miners come back to their difficulties, statistics and blocks are kept",
        alone: false,
        play: |stage| Box::pin(restart::play(stage)),
    },
    Act {
        name: "two-nodes",
        about: "fail-over to the second node and back, with a block found in between",
        alone: false,
        play: |stage| Box::pin(failover::play(stage)),
    },
    Act {
        name: "empty-first-job",
        about: "an empty job right after ZMQ while the node takes 300 ms for its template, and good blocks on it",
        alone: true,
        play: |stage| Box::pin(empty::play(stage)),
    },
];
