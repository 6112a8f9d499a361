//! What the operator sees of each node.

use serde::Serialize;
use warppool_events::NodeState;

/// One node's whole health.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeStatus {
    pub name: String,
    /// `host:port` of its RPC.
    pub address: String,
    pub state: NodeState,
    /// What is wrong; empty when ready.
    pub message: String,
    /// What to do about it; empty when ready.
    pub remedy: String,
    /// Its templates are the ones mined on.
    pub active: bool,
    /// Of its best block.
    pub height: Option<u32>,
    /// Of the best header it knows.
    pub headers: Option<u32>,
    /// Its own word of it; a node with an old tip says so too where that does no harm.
    pub initial_download: bool,
    /// Its estimate of how much of the chain it has verified, 0 to 1.
    pub progress: Option<f64>,
    pub peers: Option<u32>,
    /// E.g. 280100.
    pub version: Option<u32>,
    /// E.g. `/Satoshi:28.1.0/`.
    pub subversion: Option<String>,
    /// How long its last health check took.
    pub latency_ms: Option<f64>,
    /// Since its last good template.
    pub last_template_age_s: Option<f64>,
    pub zmq: ZmqStatus,
}

/// How a node's block news by ZMQ are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ZmqStatus {
    pub state: ZmqState,
    pub endpoint: Option<String>,
    /// What is wrong; empty when connected or off.
    pub message: String,
    /// What to do about it; empty when connected or off.
    pub remedy: String,
    /// Blocks announced since start.
    pub announced: u64,
    /// Announcements lost on the way, by the gaps in their numbers.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ZmqState {
    /// Not configured, or switched off.
    #[default]
    Off,
    Connecting,
    Connected,
    /// Nothing answers there; tried again for ever.
    Down,
    /// Connected, but new blocks are not announced.
    Silent,
}

/// The chain as the node in use sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Network {
    /// Of the best block.
    pub height: u32,
    /// Of the block to be mined next.
    pub difficulty: f64,
}
