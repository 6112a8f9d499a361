//! What the pool tells PID 1 with every heart-beat.

use serde::{Deserialize, Serialize};

/// The pool's own account of itself, every second. PID 1 lights the LED by it and judges a trial by it; a pool that sends none for
/// a while is restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Somebody owns this device: set-up is done, by the web page or a hand-over file.
    pub claimed: bool,
    /// Miners' port is open.
    pub listening: bool,
    /// The HTTP server answered its own request.
    pub api: bool,
    /// There is a current job.
    pub has_job: bool,
    pub node: crate::Node,
    /// Miners that get jobs.
    pub miners: u32,
    /// Blocks found since the pool started; a rise is celebrated.
    pub blocks_found: u64,
    /// A found block is not yet settled: no restart, no update.
    pub block_pending: bool,
    /// The ledger is in memory.
    pub memory_ledger: bool,
}
