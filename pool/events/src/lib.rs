//! The words the rooms of the pool use to tell each other what happened, and the bus that carries them.
//!
//! Events are for those who watch (ledger, notifiers, API, LED); nothing on the way of a share or a block waits for them.
//! A watcher that falls behind loses events, never the sender's time: what must not be lost goes through the ledger.

mod bus;

pub use bus::{Bus, Envelope, Subscription};
use serde::{Deserialize, Serialize};

/// What happened. The serialised form (`{"type": "...", ...}`) is what the API's event stream sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A node's usability changed. `message` says what is wrong and `remedy` what to do about it; both are empty when ready.
    NodeState {
        node: String,
        state: NodeState,
        message: String,
        remedy: String,
    },
    /// The chain has a new tip. `hash` is in display order (hex, big-endian).
    NewTip {
        height: u32,
        hash: String,
        source: TipSource,
    },
    /// A job was sent to every miner.
    NewJob {
        job: String,
        height: u32,
        clean: bool,
        transactions: usize,
        coinbase_value_sat: u64,
    },
    /// How long a new tip took, from its news to the last miner's notify handed to the kernel.
    TipToNotify {
        height: u32,
        miners: usize,
        first_ms: f64,
        last_ms: f64,
    },
    WorkerConnected {
        worker: String,
        agent: String,
        peer: String,
        tls: bool,
    },
    WorkerDisconnected {
        worker: String,
        peer: String,
        reason: String,
    },
    /// A pulse, about once a second while shares come: counts since the last one, `work` in units of difficulty 1.
    Shares {
        accepted: u64,
        rejected: u64,
        work: f64,
    },
    /// A worker beat its own best share.
    BestShare {
        worker: String,
        difficulty: f64,
    },
    /// A share met the network's target. Its fate follows as `BlockFate`.
    BlockFound {
        hash: String,
        height: u32,
        worker: String,
        value_sat: u64,
    },
    BlockFate {
        hash: String,
        height: u32,
        fate: BlockFate,
        confirmations: u32,
    },
    /// An address or a worker was shut out for a while.
    Banned {
        who: String,
        reason: String,
        seconds: u64,
    },
    LedgerState {
        state: LedgerState,
        message: String,
    },
    /// Configuration was read again; `changed` names the keys that took effect, `needs_restart` those that wait.
    ConfigReloaded {
        changed: Vec<String>,
        needs_restart: Vec<String>,
    },
    /// Something the operator should see that has no event of its own.
    Notice {
        level: Level,
        message: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    Ready,
    Unreachable,
    /// RPC credentials were refused, or the cookie cannot be read.
    Unauthorized,
    /// Core answers "loading block index" and the like (RPC error -28).
    WarmingUp,
    InitialDownload,
    /// The node follows another chain than the pool is configured for.
    WrongChain,
    NoPeers,
    /// It answers, but with something that is not usable (error, malformed template, unsigned signet).
    Faulty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TipSource {
    Zmq,
    LongPoll,
    Poll,
}

/// What became of a found block, as the chain tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockFate {
    /// Found, no node has taken it yet.
    Pending,
    /// In the main chain.
    Confirmed,
    /// A hundred blocks deep: its reward can be spent.
    Mature,
    /// Known to the node, but not in the main chain (it may come back).
    Orphaned,
    /// Every node says it is invalid.
    Rejected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerState {
    Durable,
    /// The disk is full: mining goes on, statistics are not written.
    StatisticsPaused,
    /// The file was unusable; everything is kept in memory until the next start.
    MemoryOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warning,
    Error,
}
