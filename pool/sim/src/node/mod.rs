//! A Bitcoin node that is none: it speaks Core's JSON-RPC and ZMQ, validates a submitted block as Core does, and fails
//! in every way a node can fail. It is independent of the pool's own arithmetic, which it is there to check: all it
//! knows of Bitcoin comes from rust-bitcoin.
//!
//! ```
//! # async fn example() -> Result<(), warppool_sim::node::StartError> {
//! use warppool_sim::node::{Options, SimNode};
//!
//! let node = SimNode::start(Options { transactions: 100, ..Options::default() }).await?;
//! println!("{} {:?}", node.rpc_url(), node.zmq_url());
//! node.mine_block().await;
//! node.faults().fail(3, "getblocktemplate", -28, "Loading block index…");
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod assemble;
mod chain;
mod faults;
mod options;
mod peer;
mod rng;
mod rpc;
mod run;
mod shared;
mod template;
#[cfg(test)]
mod tests;
mod transactions;
mod validate;
mod zmq;

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{BlockHash, Transaction};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use chain::{Origin, State};
pub use faults::{BrokenTemplate, Cut, Faults, Loss, Methods};
pub use options::{Credentials, Options, REGTEST_BITS, StartError};
pub use peer::Link;
pub use run::{RunOptions, run};
pub use shared::{ReorgError, Submission, Tip};
pub use transactions::PoolTx;
pub use validate::{Reason, validate_block};

use rpc::server::RpcServer;
use shared::Shared;
use zmq::Publisher;

/// A block of the best chain.
#[derive(Clone, Debug)]
pub struct BlockInfo {
    pub height: u32,
    pub hash: BlockHash,
    pub time: u32,
    pub origin: Origin,
    /// Transactions, the coinbase among them.
    pub transactions: usize,
    pub coinbase: Transaction,
}

/// A running simulated node. Clones are the same node; it stops with the last of them, or at [`SimNode::shutdown`].
#[derive(Clone, Debug)]
pub struct SimNode {
    shared: Arc<Shared>,
    _guard: Arc<DropGuard>,
}

impl SimNode {
    /// Mines the first blocks, fills the mempool, and listens.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        options.target()?;
        let stop = CancellationToken::new();
        let guard = Arc::new(stop.clone().drop_guard());
        let rpc = RpcServer::bind(&options.rpc_bind).await?;
        let zmq = Publisher::start(options.zmq_bind.as_deref(), stop.clone()).await?;
        let shared = tokio::task::spawn_blocking(move || Shared::new(options, rpc, zmq, stop)).await;
        let shared = Arc::new(shared.expect("starting does not panic")?);
        shared.rpc.start(&shared).await?;
        tokio::spawn(Arc::clone(&shared).keep_rendering());
        Ok(Self { shared, _guard: guard })
    }

    /// `http://ADDRESS:PORT/` of the JSON-RPC.
    pub fn rpc_url(&self) -> String {
        format!("http://{}/", self.shared.rpc.address())
    }

    /// `tcp://ADDRESS:PORT` of the ZMQ publisher, where there is one.
    pub fn zmq_url(&self) -> Option<String> {
        self.shared.zmq.endpoint().map(str::to_owned)
    }

    pub fn height(&self) -> u32 {
        self.shared.state.lock().height()
    }

    pub fn tip(&self) -> BlockHash {
        self.shared.state.lock().tip()
    }

    /// Follows the tip.
    pub fn tips(&self) -> watch::Receiver<Tip> {
        self.shared.tips.subscribe()
    }

    /// The best chain, from its genesis block on.
    pub fn blocks(&self) -> Vec<BlockInfo> {
        let state = self.shared.state.lock();
        let entries = state.active().iter().filter_map(|hash| Some((*hash, state.entry(hash)?)));
        let blocks = entries.filter_map(|(hash, entry)| {
            Some(BlockInfo {
                height: entry.height,
                hash,
                time: entry.header.time,
                origin: entry.origin,
                transactions: entry.transactions,
                coinbase: entry.coinbase.clone()?,
            })
        });
        blocks.collect()
    }

    /// The calls of `submitblock` so far and their answers, the last thousand.
    pub fn submissions(&self) -> Vec<Submission> {
        self.shared.submissions()
    }

    /// Looks at the node's state, or judges a block by it with [`validate_block`].
    pub fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.shared.state.lock())
    }

    /// Somebody else finds a block with the whole template.
    ///
    /// The tip stays, and is given, where the clock was set so far back that no block on it is good.
    pub async fn mine_block(&self) -> BlockHash {
        let shared = Arc::clone(&self.shared);
        let mined = tokio::task::spawn_blocking(move || shared.extend(&assemble::nobody())).await;
        mined.unwrap_or_else(|_| self.tip())
    }

    /// New synthetic transactions come in.
    pub async fn add_transactions(&self, count: usize) {
        let shared = Arc::clone(&self.shared);
        let added = tokio::task::spawn_blocking(move || shared.add_synthetic(count)).await;
        if let Err(error) = added {
            tracing::error!(%error, "the simulated node could not make transactions");
        }
    }

    /// Sets the node's clock to stand still at this Unix time, or `None` to follow the machine's.
    pub fn set_time(&self, time: Option<u32>) {
        self.shared.state.lock().set_time(time);
    }

    /// Connects two nodes: each hears of the other's blocks and transactions, all from the beginning, after `delay`.
    ///
    /// They must be of the same chain and bits.
    pub fn connect(&self, other: &Self, delay: Duration) -> Link {
        peer::connect(&self.shared, &other.shared, delay)
    }

    /// The switchboard of what is wrong with the node.
    pub fn faults(&self) -> Faults {
        Faults { shared: Arc::clone(&self.shared) }
    }

    /// Stops the node and waits until its ports are free. A cookie file is removed.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.rpc.stop().await;
        self.shared.zmq.stopped().await;
        let Credentials::Cookie(path) = &self.shared.options.credentials else { return };
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(%error, path = %path.display(), "the simulated node's cookie is gone already");
        }
    }
}
