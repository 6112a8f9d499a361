//! The node's chain, coins and mempool: what is known, what is best, and how it moves from one tip to another.
//! Everything here is plain data under one lock; nothing waits, listens or speaks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, Transaction, TxOut, Txid, Work, Wtxid, consensus,
};
use bytes::Bytes;

use super::options::Options;
use super::transactions::PoolTx;
use super::validate::{self, MUTATED, Pow, Reason};

/// Who made a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The chain's first block.
    Genesis,
    /// This node, in place of all the other miners in the world.
    Node,
    /// Whoever called `submitblock`.
    Submitted,
    /// A connected node.
    Peer,
}

/// How much the node has of a block, and what it thinks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// The header is good; no body yet fitted it.
    Header,
    /// Stored.
    Stored,
    /// Broke a rule.
    Failed,
}

/// A block in the index.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) header: Header,
    pub(crate) height: u32,
    pub(crate) work: Work,
    pub(crate) origin: Origin,
    pub(crate) fiat: bool,
    pub(crate) coinbase: Option<Transaction>,
    pub(crate) transactions: usize,
    /// The whole block as serialized, until it is pruned.
    pub(crate) body: Option<Bytes>,
    /// The coins its transactions spent, while it is part of the best chain and not pruned.
    undo: Option<Vec<Vec<TxOut>>>,
    status: Status,
}

impl Entry {
    pub(crate) fn failed(&self) -> bool {
        self.status == Status::Failed
    }

    /// A body was accepted, even if pruned since.
    pub(crate) fn stored(&self) -> bool {
        self.status == Status::Stored
    }
}

/// What became of a good block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It is the new tip.
    Tip,
    /// It was known before.
    Known,
    /// It is stored beside the best chain.
    Side,
}

/// The chain, the coins, the mempool, and the clock they are judged by.
#[derive(Debug)]
pub struct State {
    chain: Network,
    bits: CompactTarget,
    halving: u32,
    reserved_weight: u64,
    keep_bytes: usize,
    mock_time: Option<u32>,
    index: HashMap<BlockHash, Entry>,
    active: Vec<BlockHash>,
    coins: HashMap<OutPoint, TxOut>,
    /// In an order in which parents come before their children.
    mempool: Vec<Arc<PoolTx>>,
    /// Transactions whose signatures count as good, with the witness they are good with.
    known: HashMap<Txid, Wtxid>,
    /// Stored bodies, oldest first.
    bodies: VecDeque<(BlockHash, usize)>,
    body_bytes: usize,
    sequence: u64,
}

impl State {
    /// A chain of its genesis block alone, an empty mempool.
    pub fn new(options: &Options) -> Self {
        let genesis = genesis_block(options.chain);
        let hash = genesis.block_hash();
        let body = Bytes::from(consensus::serialize(&genesis));
        let entry = Entry {
            header: genesis.header,
            height: 0,
            work: genesis.header.work(),
            origin: Origin::Genesis,
            fiat: false,
            coinbase: genesis.txdata.first().cloned(),
            transactions: 1,
            body: Some(body),
            undo: None,
            status: Status::Stored,
        };
        Self {
            chain: options.chain,
            bits: CompactTarget::from_consensus(options.bits),
            halving: options.halving(),
            reserved_weight: options.reserved_weight,
            keep_bytes: options.keep_bytes,
            mock_time: options.mock_time,
            index: HashMap::from([(hash, entry)]),
            active: vec![hash],
            coins: HashMap::new(),
            mempool: Vec::new(),
            known: HashMap::new(),
            bodies: VecDeque::new(),
            body_bytes: 0,
            sequence: 0,
        }
    }

    /// Height of the tip.
    pub fn height(&self) -> u32 {
        self.active.len() as u32 - 1
    }

    /// Hash of the tip.
    pub fn tip(&self) -> BlockHash {
        *self.active.last().expect("the genesis block is always there")
    }

    /// Unix time by the node's clock.
    pub fn now(&self) -> u32 {
        self.mock_time
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32))
    }

    /// What a block's coinbase may claim beside the fees, in satoshis.
    pub fn subsidy(&self, height: u32) -> u64 {
        (50 * Amount::ONE_BTC.to_sat()).checked_shr(height / self.halving).unwrap_or(0)
    }

    /// The target every block must have.
    pub fn bits(&self) -> CompactTarget {
        self.bits
    }

    /// The transactions that wait for a block, parents before children.
    pub fn mempool(&self) -> &[Arc<PoolTx>] {
        &self.mempool
    }

    pub(crate) fn chain(&self) -> Network {
        self.chain
    }

    pub(crate) fn set_time(&mut self, time: Option<u32>) {
        self.mock_time = time;
    }

    /// Counts changes of the chain and the mempool.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn entry(&self, hash: &BlockHash) -> Option<&Entry> {
        self.index.get(hash)
    }

    pub(crate) fn tip_entry(&self) -> &Entry {
        &self.index[&self.tip()]
    }

    pub(crate) fn hash_at(&self, height: u32) -> Option<BlockHash> {
        self.active.get(height as usize).copied()
    }

    pub(crate) fn active(&self) -> &[BlockHash] {
        &self.active
    }

    pub(crate) fn in_best_chain(&self, hash: &BlockHash) -> bool {
        self.index.get(hash).is_some_and(|entry| self.hash_at(entry.height) == Some(*hash))
    }

    pub(crate) fn coin(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.coins.get(outpoint)
    }

    pub(crate) fn known(&self, txid: &Txid) -> Option<Wtxid> {
        self.known.get(txid).copied()
    }

    /// The median time of a block and the ten before it.
    pub(crate) fn median_time_past(&self, hash: &BlockHash) -> u32 {
        let mut times = Vec::with_capacity(11);
        let mut next = self.index.get(hash);
        while let Some(entry) = next.filter(|_| times.len() < 11) {
            times.push(entry.header.time);
            next = self.index.get(&entry.header.prev_blockhash);
        }
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }

    /// The earliest time of a block on this parent, with BIP94's rule at the heights where difficulty changes.
    pub(crate) fn minimum_time(&self, parent: &BlockHash) -> u32 {
        let interval = if self.chain == Network::Regtest { 144 } else { 2016 };
        let after_median = self.median_time_past(parent) + 1;
        match self.index.get(parent) {
            Some(entry) if (entry.height + 1) % interval == 0 => {
                after_median.max(entry.header.time.saturating_sub(600))
            }
            _ => after_median,
        }
    }

    /// The transactions the next template holds: what fits, parents before children, never a child alone.
    pub(crate) fn select(&self) -> Vec<Arc<PoolTx>> {
        let mut weight = validate::MAX_WEIGHT.saturating_sub(self.reserved_weight);
        // Core sets 400 aside for the coinbase.
        let mut sigops = validate::MAX_SIGOPS - 400;
        let mut skipped: HashSet<Txid> = HashSet::new();
        let mut chosen = Vec::with_capacity(self.mempool.len());
        for tx in &self.mempool {
            let orphan = tx.tx.input.iter().any(|input| skipped.contains(&input.previous_output.txid));
            if orphan || tx.weight > weight || tx.sigops > sigops {
                skipped.insert(tx.txid);
                continue;
            }
            weight -= tx.weight;
            sigops -= tx.sigops;
            chosen.push(Arc::clone(tx));
        }
        chosen
    }

    /// Takes transactions into the mempool, with the coins they spend.
    ///
    /// A coin is made for an input whose parent was never seen. With `room` for fewer, the rest are only remembered as
    /// good, so that a block may hold them. Gives those that were not known before.
    pub(crate) fn add_transactions(&mut self, transactions: Vec<Arc<PoolTx>>, room: usize) -> Vec<Arc<PoolTx>> {
        let mut fresh = Vec::with_capacity(transactions.len());
        for tx in transactions {
            if self.known.insert(tx.txid, tx.wtxid).is_some() {
                continue;
            }
            for (input, coin) in tx.tx.input.iter().zip(&tx.spent) {
                if !self.known.contains_key(&input.previous_output.txid) {
                    self.coins.insert(input.previous_output, coin.clone());
                }
            }
            fresh.push(tx);
        }
        if !fresh.is_empty() {
            self.mempool.extend(fresh.iter().take(room).cloned());
            self.settle_mempool();
        }
        fresh
    }

    /// Judges a block and stores it; makes it the tip when its chain has the most work.
    pub(crate) fn accept(&mut self, block: &Block, origin: Origin, pow: Pow) -> Result<Accepted, Reason> {
        validate::check_block(block, pow)?;
        let hash = block.block_hash();
        match self.index.get(&hash).map(|entry| entry.status) {
            Some(Status::Failed) => return Err("duplicate-invalid"),
            Some(Status::Stored) => return Ok(Accepted::Known),
            Some(Status::Header) => {}
            None => {
                validate::check_header(self, block)?;
                let parent = &self.index[&block.header.prev_blockhash];
                let entry = Entry {
                    header: block.header,
                    height: parent.height + 1,
                    work: parent.work + block.header.work(),
                    origin,
                    fiat: pow == Pow::Fiat,
                    coinbase: None,
                    transactions: 0,
                    body: None,
                    undo: None,
                    status: Status::Header,
                };
                self.index.insert(hash, entry);
            }
        }
        if let Err(reason) = validate::check_body(self, block) {
            if !MUTATED.contains(&reason) {
                self.entry_mut(&hash).status = Status::Failed;
            }
            return Err(reason);
        }
        self.store(hash, block, origin);
        let best = self.tip_entry().work;
        if self.index[&hash].work <= best {
            return Ok(Accepted::Side);
        }
        match self.activate(hash, block) {
            Ok(()) if self.tip() == hash => Ok(Accepted::Tip),
            Err((bad, reason)) if bad == hash => Err(reason),
            // A block before it is missing or bad: nothing is known of this one yet.
            Ok(()) | Err(_) => Ok(Accepted::Side),
        }
    }

    fn store(&mut self, hash: BlockHash, block: &Block, origin: Origin) {
        let body = Bytes::from(consensus::serialize(block));
        self.body_bytes += body.len();
        self.bodies.push_back((hash, body.len()));
        let entry = self.entry_mut(&hash);
        entry.status = Status::Stored;
        entry.origin = origin;
        entry.coinbase = block.txdata.first().cloned();
        entry.transactions = block.txdata.len();
        entry.body = Some(body);
        while self.body_bytes > self.keep_bytes && self.bodies.len() > 1 {
            self.prune();
        }
    }

    /// Forgets the oldest body, and with it the coins it made: nothing spends what is that old.
    fn prune(&mut self) {
        let Some((hash, bytes)) = self.bodies.pop_front() else { return };
        self.body_bytes -= bytes;
        let entry = self.entry_mut(&hash);
        entry.undo = None;
        let block = entry.body.take().and_then(|body| consensus::deserialize::<Block>(&body).ok());
        for tx in block.iter().flat_map(|block| block.txdata.iter().skip(1)) {
            let txid = tx.compute_txid();
            self.known.remove(&txid);
            for vout in 0..tx.output.len() as u32 {
                self.coins.remove(&OutPoint::new(txid, vout));
            }
        }
    }

    /// Moves the tip to a stored block; on failure back to where it was, with the block at fault and its fault.
    fn activate(&mut self, hash: BlockHash, block: &Block) -> Result<(), (BlockHash, Reason)> {
        let mut path = vec![];
        let mut next = hash;
        while !self.in_best_chain(&next) {
            let entry = &self.index[&next];
            if entry.body.is_none() && next != hash {
                // A parent came without a body that fits it, or its body is forgotten: the chain waits beside.
                return Ok(());
            }
            path.push(next);
            next = entry.header.prev_blockhash;
        }
        let fork = self.index[&next].height;
        if self.active[fork as usize + 1..].iter().any(|old| self.index[old].undo.is_none()) {
            return Ok(());
        }
        let mut returned = vec![];
        let mut rolled_back = vec![];
        while self.height() > fork {
            let (old, transactions) = self.disconnect();
            rolled_back.push(old);
            returned.splice(0..0, transactions);
        }
        let mut result = Ok(());
        for step in path.iter().rev() {
            let connected = if *step == hash { self.connect(block) } else { self.connect(&self.body(step)) };
            if let Err(reason) = connected {
                self.entry_mut(step).status = Status::Failed;
                result = Err((*step, reason));
                break;
            }
        }
        if result.is_err() {
            while self.height() > fork {
                self.disconnect();
            }
            for old in rolled_back.iter().rev() {
                self.connect(&self.body(old)).expect("it was connected before, on the same coins");
            }
        } else {
            returned.append(&mut self.mempool);
            self.mempool = returned;
        }
        self.settle_mempool();
        result
    }

    /// The stored block, whose body the caller knows to be there.
    fn body(&self, hash: &BlockHash) -> Block {
        let body = self.index[hash].body.as_ref().expect("the caller looked for the body");
        consensus::deserialize(body).expect("it was serialized from a block")
    }

    fn connect(&mut self, block: &Block) -> Result<(), Reason> {
        let undo = validate::check_connect(self, block)?;
        for tx in &block.txdata[1..] {
            for input in &tx.input {
                self.coins.remove(&input.previous_output);
            }
            let txid = tx.compute_txid();
            for (vout, output) in (0_u32..).zip(&tx.output) {
                self.coins.insert(OutPoint::new(txid, vout), output.clone());
            }
        }
        let hash = block.block_hash();
        self.entry_mut(&hash).undo = Some(undo);
        self.active.push(hash);
        Ok(())
    }

    /// Takes the tip off the chain; gives its hash and its transactions.
    fn disconnect(&mut self) -> (BlockHash, Vec<Arc<PoolTx>>) {
        let hash = self.active.pop().expect("never the genesis block");
        let block = self.body(&hash);
        let undo = self.entry_mut(&hash).undo.take().expect("the caller looked for it");
        let mut transactions = Vec::with_capacity(undo.len());
        for (tx, spent) in block.txdata.into_iter().skip(1).zip(undo).rev() {
            let txid = tx.compute_txid();
            for vout in 0..tx.output.len() as u32 {
                self.coins.remove(&OutPoint::new(txid, vout));
            }
            for (input, coin) in tx.input.iter().zip(&spent) {
                self.coins.insert(input.previous_output, coin.clone());
            }
            transactions.push(Arc::new(PoolTx::new(tx, spent)));
        }
        transactions.reverse();
        (hash, transactions)
    }

    /// Drops from the mempool what can no longer be mined, and counts the change.
    fn settle_mempool(&mut self) {
        let mut created: HashSet<OutPoint> = HashSet::new();
        let mut gone: HashSet<OutPoint> = HashSet::new();
        let coins = &self.coins;
        self.mempool.retain(|tx| {
            let outpoints = || tx.tx.input.iter().map(|input| input.previous_output);
            let spendable =
                |outpoint| (coins.contains_key(&outpoint) || created.contains(&outpoint)) && !gone.contains(&outpoint);
            if !outpoints().all(spendable) {
                return false;
            }
            gone.extend(outpoints());
            created.extend((0..tx.tx.output.len() as u32).map(|vout| OutPoint::new(tx.txid, vout)));
            true
        });
        self.sequence += 1;
    }

    /// What a connected node needs to follow: every stored block from the first on, with the transactions it spends.
    pub(crate) fn history(&self) -> Vec<(Arc<Block>, bool, Vec<Arc<PoolTx>>)> {
        let mut history = vec![];
        for hash in &self.active[1..] {
            let entry = &self.index[hash];
            let Some(undo) = entry.undo.as_ref().filter(|_| entry.body.is_some()) else { continue };
            let block = self.body(hash);
            let spent = block.txdata.iter().skip(1).zip(undo);
            let transactions = spent.map(|(tx, coins)| Arc::new(PoolTx::new(tx.clone(), coins.clone()))).collect();
            history.push((Arc::new(block), entry.fiat, transactions));
        }
        history
    }

    fn entry_mut(&mut self, hash: &BlockHash) -> &mut Entry {
        self.index.get_mut(hash).expect("the caller has it from the index")
    }
}
