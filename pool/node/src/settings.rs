//! What the pool is told about its nodes. Plain values: the engine makes them from the configuration file.

use std::time::Duration;

use warppool_work::Chain;

use crate::Auth;

/// How to reach one node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Unique among the nodes; shown to the operator.
    pub name: String,
    /// `http://host:port`; Core speaks nothing else.
    pub rpc_url: String,
    pub auth: Auth,
    /// Where Core publishes block hashes, e.g. `tcp://127.0.0.1:28332`. `None`: long poll and polling only.
    pub zmq_hashblock: Option<String>,
}

/// The nodes in order of preference, and the pool's patience with them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The first usable one is mined on.
    pub nodes: Vec<NodeSettings>,
    /// A node that follows another chain is never used.
    pub chain: Chain,
    /// `false` leaves every ZMQ endpoint alone.
    pub use_zmq: bool,
    /// For every call but long polls and block submissions.
    pub rpc_timeout: Duration,
    /// For block submissions: a node may take long to validate and store a block.
    pub submit_timeout: Duration,
    /// How often the tip and the health of a node that works are looked at.
    pub poll_interval: Duration,
    /// How often a node that does not work is tried again.
    pub retry_interval: Duration,
    /// How often a template is fetched for its fees when nothing else asks for one.
    pub fee_refresh: Duration,
    /// How long a preferred node must have been healthy before the pool returns to it.
    pub return_after: Duration,
    /// How long ZMQ may be down, or silent about a new tip, before the pool says so and connects again.
    pub zmq_patience: Duration,
    /// How long a node may be behind: behind the tip mined on so far, after a fail-over, before its older tip is mined on;
    /// behind another node, before it is left for that; behind its own headers, before that is an ailment.
    pub catch_up: Duration,
}

impl Settings {
    /// The defaults for `chain`, with no nodes yet.
    pub fn new(chain: Chain) -> Self {
        Self {
            nodes: Vec::new(),
            chain,
            use_zmq: true,
            rpc_timeout: Duration::from_secs(15),
            submit_timeout: Duration::from_mins(1),
            poll_interval: Duration::from_secs(5),
            retry_interval: Duration::from_secs(1),
            fee_refresh: Duration::from_secs(30),
            return_after: Duration::from_secs(30),
            zmq_patience: Duration::from_secs(10),
            catch_up: Duration::from_secs(30),
        }
    }
}
