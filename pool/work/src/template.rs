//! What a node offers to be mined: the pool's own form of a block template, whichever source it came from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A 32-byte hash in **internal** byte order (as it is hashed and serialised; the reverse of how it is displayed).
pub type Hash = [u8; 32];

/// A block template. Shared, never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Height of the block to be mined.
    pub height: u32,
    /// Block version the node proposes.
    pub version: u32,
    /// Internal byte order.
    pub prev_hash: Hash,
    /// Compact network target.
    pub bits: u32,
    /// Earliest header time, Unix seconds (already BIP94-adjusted by the node).
    pub min_time: u32,
    /// Latest header time for which `bits` is right, Unix seconds; `u32::MAX` where `bits` does not depend on time.
    pub max_time: u32,
    /// The node's idea of now, Unix seconds.
    pub cur_time: u32,
    /// Subsidy and fees, satoshis: the most the coinbase may pay.
    pub coinbase_value: u64,
    /// In block order, without the coinbase.
    pub transactions: Vec<Arc<TemplateTx>>,
    /// The whole scriptPubKey of the witness commitment output for exactly these transactions, when the node gave it.
    pub witness_commitment: Option<Vec<u8>>,
    /// Whether segwit is active, so that a commitment is owed.
    pub segwit: bool,
    /// Most weight units of the whole block.
    pub weight_limit: u32,
    /// Most signature operations (cost units) of the whole block.
    pub sigop_limit: u32,
}

/// One transaction of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateTx {
    /// Without witness; internal byte order.
    pub txid: Hash,
    /// With witness; internal byte order.
    pub wtxid: Hash,
    /// Serialised with witness.
    pub data: Box<[u8]>,
    /// Satoshis.
    pub fee: u64,
    /// Signature operation cost.
    pub sigops: u32,
    /// Weight units.
    pub weight: u32,
}

/// The chains a pool can mine on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chain {
    #[serde(alias = "main", alias = "bitcoin")]
    Mainnet,
    Testnet4,
    Signet,
    Regtest,
}

impl Chain {
    /// As Bitcoin Core names it in `getblockchaininfo`.
    pub fn core_name(self) -> &'static str {
        match self {
            Self::Mainnet => "main",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// Bitcoin Core's usual RPC port.
    pub fn rpc_port(self) -> u16 {
        match self {
            Self::Mainnet => 8332,
            Self::Testnet4 => 48332,
            Self::Signet => 38332,
            Self::Regtest => 18443,
        }
    }

    /// What a block's coinbase may pay without fees, satoshis.
    pub fn subsidy(self, height: u32) -> u64 {
        let halvings = height / if self == Self::Regtest { 150 } else { 210_000 };
        5_000_000_000u64.checked_shr(halvings).unwrap_or(0)
    }

    /// The reverse of [`Chain::core_name`].
    pub fn from_core_name(name: &str) -> Option<Self> {
        [Self::Mainnet, Self::Testnet4, Self::Signet, Self::Regtest].into_iter().find(|c| c.core_name() == name)
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Mainnet { "mainnet" } else { self.core_name() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subsidy_halves_as_the_chain_has_it() {
        for (height, chain, expected) in [
            (0, Chain::Mainnet, 5_000_000_000),
            (209_999, Chain::Mainnet, 5_000_000_000),
            (840_000, Chain::Mainnet, 312_500_000),
            (149, Chain::Regtest, 5_000_000_000),
            (150, Chain::Regtest, 2_500_000_000),
            (u32::MAX, Chain::Regtest, 0),
        ] {
            assert_eq!(chain.subsidy(height), expected, "{chain} {height}");
        }
    }
}
