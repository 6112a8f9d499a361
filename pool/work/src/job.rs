//! From a template to a job: everything about a block that does not depend on who is paid.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitcoin::Script;

use crate::coinbase::{Coinbase, CoinbaseError, Tags, push_size};
use crate::extranonce::{EN1_SIZE, EN2_SIZE};
use crate::hash::{merkle_branches, merkle_root, sha256d, sha256d_pair};
use crate::target::{Target, TargetError};
use crate::version::ROLLABLE;
use crate::{Hash, Payout, Template, TemplateTx};

/// Weight of a block's header and the longest transaction count, weight units.
const HEADER_WEIGHT: u64 = (80 + 5) * 4;
/// Most branches a device bears; 2^32 transactions are out of reach anyway.
const MOST_BRANCHES: usize = 32;

/// Names a job to miners; given out once, also across restarts of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    #[error("the template's network target is unusable: {0}")]
    Target(#[from] TargetError),
    #[error(transparent)]
    Coinbase(#[from] CoinbaseError),
    #[error("the template's block has no room for a coinbase")]
    NoRoom,
    #[error("the template pays {fees} satoshis of fees but offers only {value} in all")]
    Value { fees: u64, value: u64 },
    #[error("the template has a transaction too many for a block ({0})")]
    TooManyTransactions(usize),
    #[error("the template's times contradict each other (from {min} to {max})")]
    Times { min: u32, max: u32 },
    #[error("the coinbase of this payout needs {needed} weight units, {reserved} are reserved")]
    CoinbaseTooHeavy { needed: u32, reserved: u32 },
    #[error("the coinbase of this payout needs {needed} signature operations, {reserved} are reserved")]
    CoinbaseTooManySigops { needed: u32, reserved: u32 },
}

/// Room kept for the coinbase: what the heaviest payout of this pool can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Weight units.
    pub weight: u32,
    /// Signature operation cost.
    pub sigops: u32,
}

impl Default for Reserve {
    /// Three outputs of the longest address there can be, a full scriptSig and the commitment come to 1,392 units; three
    /// P2PKH outputs to 12 operations.
    fn default() -> Self {
        Self { weight: 1_400, sigops: 12 }
    }
}

/// Makes jobs of templates. One for the whole pool, so that ids and tags are its own.
#[derive(Debug)]
pub struct JobFactory {
    tags: Tags,
    reserve: Reserve,
    next_id: AtomicU64,
}

impl JobFactory {
    /// `started` is the time of this start, Unix seconds. Ids count on from sixteen times that, so that they do not repeat
    /// those of an earlier start as long as jobs come at less than sixteen a second.
    pub fn new(tags: Tags, reserve: Reserve, started: u64) -> Self {
        Self { tags, reserve, next_id: AtomicU64::new(started << 4) }
    }

    /// A job with the template's transactions. Where the node left too little room for the coinbase, transactions are
    /// dropped from the end, so that no parent goes without its children.
    pub fn build(&self, template: &Arc<Template>, clean: bool) -> Result<Job, JobError> {
        self.job(template, self.fitting(template)?, clean)
    }

    /// A job without any transaction but the coinbase, on the tip `template` builds on.
    pub fn build_empty(&self, template: &Arc<Template>, clean: bool) -> Result<Job, JobError> {
        self.job(template, 0, clean)
    }

    /// How many of the template's transactions fit beside the coinbase.
    fn fitting(&self, template: &Template) -> Result<usize, JobError> {
        let transactions = &template.transactions;
        let mut weight: u64 = transactions.iter().map(|tx| u64::from(tx.weight)).sum();
        let mut sigops: u64 = transactions.iter().map(|tx| u64::from(tx.sigops)).sum();
        let own_weight = HEADER_WEIGHT + u64::from(self.reserve.weight);
        let weight_limit = u64::from(template.weight_limit).checked_sub(own_weight).ok_or(JobError::NoRoom)?;
        let sigop_limit =
            u64::from(template.sigop_limit).checked_sub(self.reserve.sigops.into()).ok_or(JobError::NoRoom)?;
        let mut kept = transactions.len();
        while weight > weight_limit || sigops > sigop_limit {
            kept -= 1;
            weight -= u64::from(transactions[kept].weight);
            sigops -= u64::from(transactions[kept].sigops);
        }
        Ok(kept)
    }

    fn job(&self, template: &Arc<Template>, kept: usize, clean: bool) -> Result<Job, JobError> {
        let (mined, dropped) = template.transactions.split_at(kept);
        let lost: u64 = dropped.iter().map(|tx| tx.fee).sum();
        let value = template
            .coinbase_value
            .checked_sub(lost)
            .ok_or(JobError::Value { fees: lost, value: template.coinbase_value })?;
        if template.max_time < template.min_time {
            return Err(JobError::Times { min: template.min_time, max: template.max_time });
        }
        let txids: Vec<Hash> = mined.iter().map(|tx| tx.txid).collect();
        let branches = merkle_branches(&txids);
        if branches.len() > MOST_BRANCHES {
            return Err(JobError::TooManyTransactions(mined.len()));
        }
        let commitment = match &template.witness_commitment {
            _ if !template.segwit => None,
            Some(script) if dropped.is_empty() => Some(script.clone()),
            _ => Some(witness_commitment(mined)),
        };
        Ok(Job {
            id: JobId(self.next_id.fetch_add(1, Ordering::Relaxed)),
            height: template.height,
            version: template.version & !ROLLABLE,
            prev_hash: template.prev_hash,
            bits: template.bits,
            network_target: Target::from_compact(template.bits)?,
            min_time: template.min_time,
            max_time: template.max_time,
            time: template.cur_time.clamp(template.min_time, template.max_time),
            value,
            branches,
            clean,
            transactions: kept,
            template: Arc::clone(template),
            commitment,
            tags: self.tags.clone(),
            reserve: self.reserve,
        })
    }
}

/// The scriptPubKey of the commitment to these transactions' witnesses (BIP141), the reserved value being zeros.
pub fn witness_commitment(transactions: &[Arc<TemplateTx>]) -> Vec<u8> {
    let wtxids: Vec<Hash> = transactions.iter().map(|tx| tx.wtxid).collect();
    // The coinbase's own wtxid counts as zeros.
    let root = merkle_root([0; 32], &merkle_branches(&wtxids));
    [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &sha256d_pair(&root, &[0; 32])].concat()
}

/// A block to be mined but for its coinbase. Shared by all miners; each payout adds its [`Coinbase`].
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub height: u32,
    /// Block version with all rollable bits zero.
    pub version: u32,
    /// Internal byte order.
    pub prev_hash: Hash,
    /// Compact network target.
    pub bits: u32,
    pub network_target: Target,
    /// Earliest header time, Unix seconds.
    pub min_time: u32,
    /// Latest header time for which `bits` holds, Unix seconds.
    pub max_time: u32,
    /// Header time to start from, Unix seconds.
    pub time: u32,
    /// What the coinbase pays in all, satoshis.
    pub value: u64,
    /// Merkle branches over txids, internal byte order, from the leaves up.
    pub branches: Vec<Hash>,
    /// The job starts a new tip: whatever miners worked on before is worthless.
    pub clean: bool,
    /// Transactions mined, without the coinbase: the first so many of the template's.
    pub transactions: usize,
    template: Arc<Template>,
    commitment: Option<Vec<u8>>,
    tags: Tags,
    reserve: Reserve,
}

impl Job {
    /// The coinbase that pays `payout`. Equal payouts give equal coinbases.
    pub fn coinbase(&self, payout: &Payout) -> Result<Coinbase, JobError> {
        let coinbase = Coinbase::new(self.height, &self.tags, payout.outputs(self.value), self.commitment.as_deref())?;
        let weight = coinbase.weight();
        if weight > self.reserve.weight {
            return Err(JobError::CoinbaseTooHeavy { needed: weight, reserved: self.reserve.weight });
        }
        let sigops: usize =
            coinbase.outputs().iter().map(|o| Script::from_bytes(&o.script).count_sigops_legacy() * 4).sum();
        if sigops as u32 > self.reserve.sigops {
            return Err(JobError::CoinbaseTooManySigops { needed: sigops as u32, reserved: self.reserve.sigops });
        }
        Ok(coinbase)
    }

    /// The 80 bytes that are hashed.
    #[inline]
    pub fn header(&self, version: u32, merkle_root: &Hash, time: u32, nonce: u32) -> [u8; 80] {
        let mut header = [0; 80];
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(&self.prev_hash);
        header[36..68].copy_from_slice(merkle_root);
        header[68..72].copy_from_slice(&time.to_le_bytes());
        header[72..76].copy_from_slice(&self.bits.to_le_bytes());
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        header
    }

    /// The whole block as a node takes it, complete with the coinbase's witness.
    pub fn block(&self, coinbase: &Coinbase, header: &[u8; 80], en1: [u8; EN1_SIZE], en2: [u8; EN2_SIZE]) -> Vec<u8> {
        let mined = &self.template.transactions[..self.transactions];
        let size: usize = mined.iter().map(|tx| tx.data.len()).sum();
        let mut block = Vec::with_capacity(size + 1024);
        block.extend_from_slice(header);
        push_size(&mut block, mined.len() + 1);
        // Without a commitment a witness would be invalid.
        block.extend(if self.commitment.is_some() {
            coinbase.with_witness(en1, en2)
        } else {
            coinbase.without_witness(en1, en2)
        });
        for tx in mined {
            block.extend_from_slice(&tx.data);
        }
        block
    }

    /// SHA-256 compressions it takes to judge one share.
    pub fn compressions(&self, coinbase: &Coinbase) -> usize {
        coinbase.compressions() + 3 * self.branches.len() + 3
    }

    pub fn template(&self) -> &Arc<Template> {
        &self.template
    }
}

/// The block hash of a header, internal byte order.
pub fn block_hash(header: &[u8; 80]) -> Hash {
    sha256d(header)
}
