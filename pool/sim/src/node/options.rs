//! What a simulated node is started with: where it listens, how full its mempool is, how hard its blocks are.
//! The defaults are a small regtest node whose next block anybody finds at once.

use std::io;
use std::path::PathBuf;

use bitcoin::{CompactTarget, Network, Target};

/// The compact target of regtest: every second hash is a block.
pub const REGTEST_BITS: u32 = 0x207f_ffff;

/// Blocks that take more hashes than this on average are not ground by the node itself but made by fiat.
const GRINDABLE_LOG2: f64 = 18.0;

/// Who may call the RPC.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Everybody, also without an `Authorization` header.
    #[default]
    Any,
    /// `rpcuser` and `rpcpassword`.
    UserPassword { user: String, password: String },
    /// A cookie file written to this path at start (mode 0600) and removed at shutdown, as Core does.
    Cookie(PathBuf),
}

/// How the node starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the JSON-RPC listener. Port 0 takes a free one.
    pub rpc_bind: String,
    /// ZMQ endpoint of the publisher, or `None` for a node without ZMQ.
    pub zmq_bind: Option<String>,
    /// Synthetic transactions the mempool is filled with.
    pub transactions: usize,
    /// Whether the mempool is filled up again after a block took transactions out of it.
    pub refill: bool,
    /// Compact target every block must have.
    ///
    /// Where it takes more than some 2^18 hashes to meet it, the node's own blocks are made by fiat: they have
    /// everything but proof of work. Submitted blocks must always have it.
    pub bits: u32,
    /// The chain: genesis block, address prefix, name, and the rules getblocktemplate demands (signet).
    pub chain: Network,
    /// Who may call the RPC.
    pub credentials: Credentials,
    /// Everything random follows from it.
    pub seed: u64,
    /// Blocks on top of genesis at start, a minute apart, the last one a minute old.
    pub initial_blocks: u32,
    /// A clock that stands still at this Unix time, or `None` for the machine's. See [`super::SimNode::set_time`].
    pub mock_time: Option<u32>,
    /// Blocks between two halvings of the subsidy; `None` takes the chain's (regtest 150).
    pub halving_interval: Option<u32>,
    /// Weight units a template leaves free for header, count and coinbase (Core's `-blockreservedweight`).
    pub reserved_weight: u64,
    /// Peers the node pretends to have, beside the nodes really connected to it.
    pub peers: usize,
    /// Bytes of block bodies kept; older bodies are pruned and cannot be rolled back any more.
    pub keep_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rpc_bind: "127.0.0.1:0".to_owned(),
            zmq_bind: Some("tcp://127.0.0.1:0".to_owned()),
            transactions: 20,
            refill: true,
            bits: REGTEST_BITS,
            chain: Network::Regtest,
            credentials: Credentials::Any,
            seed: 1,
            initial_blocks: 20,
            mock_time: None,
            halving_interval: None,
            reserved_weight: 8_000,
            peers: 8,
            keep_bytes: 64 << 20,
        }
    }
}

impl Options {
    /// The target of `bits`, or why it is none.
    pub(crate) fn target(&self) -> Result<Target, StartError> {
        target_of(CompactTarget::from_consensus(self.bits)).ok_or(StartError::Bits(self.bits))
    }

    /// Whether the node makes its own blocks without proof of work.
    pub(crate) fn by_fiat(&self) -> bool {
        target_of(CompactTarget::from_consensus(self.bits))
            .is_none_or(|target| target.to_work().log2() > GRINDABLE_LOG2)
    }

    pub(crate) fn halving(&self) -> u32 {
        self.halving_interval.unwrap_or(if self.chain == Network::Regtest { 150 } else { 210_000 }).max(1)
    }
}

/// The target a compact one stands for; `None` where it is negative, zero, or above regtest's limit.
pub(crate) fn target_of(bits: CompactTarget) -> Option<Target> {
    if bits.to_consensus() >> 24 > 0x20 {
        return None;
    }
    let target = Target::from_compact(bits);
    let limit = Target::from_compact(CompactTarget::from_consensus(REGTEST_BITS));
    (target != Target::ZERO && target <= limit).then_some(target)
}

/// Why a simulated node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("bits {0:08x} are no target between 1 and regtest's limit 207fffff: give another compact target")]
    Bits(u32),
    #[error("the simulated node cannot listen for RPC on {address}: {error}; choose a free address, or port 0")]
    Rpc { address: String, error: io::Error },
    #[error("the simulated node cannot publish ZMQ on {endpoint}: {error}; choose a free endpoint, or port 0")]
    Zmq { endpoint: String, error: zeromq::ZmqError },
    #[error("the cookie cannot be written to {path}: {error}; make its folder writable")]
    Cookie { path: PathBuf, error: io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_target_that_is_no_target_is_refused() {
        for (bits, good) in [
            (REGTEST_BITS, true),
            (0x1d00_ffff, true),
            (0x1700_0001, true),
            (0, false),
            (0x1d80_ffff, false),
            (0x2100_ffff, false),
            (0xff12_3456, false),
            (0x207f_ffff + 0x0100_0000, false),
        ] {
            let options = Options { bits, ..Options::default() };
            assert_eq!(options.target().is_ok(), good, "{bits:08x}");
        }
    }

    #[test]
    fn only_targets_out_of_reach_make_blocks_by_fiat() {
        for (bits, fiat) in [(REGTEST_BITS, false), (0x1f00_ffff, false), (0x1e00_ffff, true), (0x1d00_ffff, true)] {
            assert_eq!(Options { bits, ..Options::default() }.by_fiat(), fiat, "{bits:08x}");
        }
    }
}
