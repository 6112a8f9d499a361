//! The pool as its users meet it: the binary as a process, real Bitcoin Core beside it, miners in front of it.
//!
//! The modules are the bench the tests stand on. Everything they start ends with them, whatever happens; a panic here is the
//! test's failure, so nothing returns errors that a test could forget to look at.

#![allow(clippy::unwrap_used, clippy::must_use_candidate, clippy::missing_panics_doc)]

pub mod bitcoind;
pub mod build;
pub mod damage;
pub mod hand;
pub mod http;
pub mod pool;
pub mod process;
pub mod replay;
pub mod signet;
pub mod wait;
pub mod wallet;

use warppool_sim::miner::{Budget, Miner, MinerOptions, MinerStats, Persona};

/// A miner that does nothing but listen, and notes every line a strict firmware would choke on.
pub fn listener(target: String, user: &str, persona: Persona) -> Miner {
    miner(target, user, persona, Budget::HashesPerSecond(0.0))
}

/// A simulated miner of its persona's manners.
pub fn miner(target: String, user: &str, persona: Persona, budget: Budget) -> Miner {
    let seed = user.bytes().fold(persona as u64 + 1, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let options = MinerOptions { budget, seed, ..MinerOptions::new(target, user, persona) };
    Miner::start(options, &tokio_util::sync::CancellationToken::new())
}

/// Ends a miner that must never have been sent away nor found fault with the pool.
#[track_caller]
pub fn content(stats: &MinerStats) {
    assert_eq!(stats.violations, [], "violations of the protocol");
    assert_eq!((stats.connects, stats.losses), (1, 0), "the connection was lost: {:?}", stats.last_error);
}
