//! What cannot be had on every desk, simulated: a node that validates like Bitcoin Core, miners, load, faults, scenarios.

pub mod load;
pub mod miner;
pub mod node;
pub mod notify;
pub mod scenario;
