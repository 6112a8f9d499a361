//! What Bitcoin Core validates in a block, in Core's order and with Core's words for what is wrong.
//! It is written against rust-bitcoin alone: it is there to check the pool's own arithmetic, so it shares none of it.
//!
//! Not checked, because nothing synthetic has them: signatures (a transaction the node knows is good with the very
//! witness it was known with), relative lock times, and blocks beneath forgotten coins.

use std::collections::{HashMap, HashSet};

use bitcoin::block::Header;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use bitcoin::script::Builder;
use bitcoin::{Amount, Block, OutPoint, ScriptBuf, Transaction, TxMerkleNode, TxOut, VarInt, Weight};

use super::chain::State;
use super::options::target_of;
use super::transactions::sigop_cost;

/// Why a block is refused, as Core's `submitblock` says it.
pub type Reason = &'static str;

/// Proof of work is demanded, or the block is the node's own and made by fiat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pow {
    Required,
    Fiat,
}

/// Reasons that speak of the body and not of the header: the same header with another body may still be good.
pub(crate) const MUTATED: [Reason; 3] = ["bad-witness-nonce-size", "bad-witness-merkle-match", "unexpected-witness"];

pub(crate) const MAX_WEIGHT: u64 = 4_000_000;
pub(crate) const MAX_SIGOPS: u64 = 80_000;
const MAX_FUTURE: u32 = 2 * 60 * 60;
const LOCKTIME_THRESHOLD: u32 = 500_000_000;

/// Judges a block as if it were submitted now, and changes nothing.
///
/// A block on a known parent that is not the tip is judged as far as Core judges it before it becomes part of the best
/// chain: without its inputs and amounts.
pub fn validate_block(state: &State, block: &Block) -> Result<(), Reason> {
    check_block(block, Pow::Required)?;
    check_header(state, block)?;
    check_body(state, block)?;
    if block.header.prev_blockhash == state.tip() {
        check_connect(state, block)?;
    }
    Ok(())
}

/// Core's `CheckBlock`: what a block shows by itself.
pub(crate) fn check_block(block: &Block, pow: Pow) -> Result<(), Reason> {
    let met = target_of(block.header.bits).is_some_and(|target| target.is_met_by(block.block_hash()));
    ensure(met || pow == Pow::Fiat, "high-hash")?;
    // Of no transactions at all the root is zero.
    let root = block.compute_merkle_root().unwrap_or(TxMerkleNode::all_zeros());
    ensure(block.header.merkle_root == root, "bad-txnmrklroot")?;
    ensure(!merkle_tree_repeats(block), "bad-txns-duplicate")?;
    ensure(!block.txdata.is_empty() && stripped_size(block) * 4 <= MAX_WEIGHT, "bad-blk-length")?;
    ensure(block.txdata.first().is_some_and(Transaction::is_coinbase), "bad-cb-missing")?;
    ensure(!block.txdata.iter().skip(1).any(Transaction::is_coinbase), "bad-cb-multiple")?;
    for tx in &block.txdata {
        check_transaction(tx)?;
    }
    let sigops: usize = block.txdata.iter().map(legacy_sigops).sum();
    ensure(sigops as u64 * 4 <= MAX_SIGOPS, "bad-blk-sigops")
}

/// The bytes of a block without its witnesses.
pub(crate) fn stripped_size(block: &Block) -> u64 {
    let count = VarInt::from(block.txdata.len()).size();
    (Header::SIZE + count + block.txdata.iter().map(Transaction::base_size).sum::<usize>()) as u64
}

/// Core's `CheckTransaction`, but for sizes: a transaction too large for a block is in a block that is too large.
fn check_transaction(tx: &Transaction) -> Result<(), Reason> {
    ensure(!tx.input.is_empty(), "bad-txns-vin-empty")?;
    ensure(!tx.output.is_empty(), "bad-txns-vout-empty")?;
    let mut sum = 0_u64;
    for output in &tx.output {
        let value = output.value.to_sat();
        // On the wire an amount is signed.
        ensure(i64::try_from(value).is_ok(), "bad-txns-vout-negative")?;
        ensure(output.value <= Amount::MAX_MONEY, "bad-txns-vout-toolarge")?;
        sum += value;
        ensure(sum <= Amount::MAX_MONEY.to_sat(), "bad-txns-txouttotal-toolarge")?;
    }
    let mut seen = HashSet::new();
    ensure(tx.input.iter().all(|input| seen.insert(input.previous_output)), "bad-txns-inputs-duplicate")?;
    if tx.is_coinbase() {
        ensure((2..=100).contains(&tx.input[0].script_sig.len()), "bad-cb-length")
    } else {
        ensure(!tx.input.iter().any(|input| input.previous_output.is_null()), "bad-txns-prevout-null")
    }
}

/// Core's `AcceptBlockHeader` and `ContextualCheckBlockHeader`: what the header says in its place in the chain.
pub(crate) fn check_header(state: &State, block: &Block) -> Result<(), Reason> {
    let header = &block.header;
    let parent = state.entry(&header.prev_blockhash).ok_or("prev-blk-not-found")?;
    ensure(!parent.failed(), "bad-prevblk")?;
    ensure(header.bits == state.bits(), "bad-diffbits")?;
    ensure(header.time > state.median_time_past(&header.prev_blockhash), "time-too-old")?;
    ensure(header.time <= state.now().saturating_add(MAX_FUTURE), "time-too-new")?;
    ensure(header.version.to_consensus() >= 4, "bad-version")
}

/// Core's `ContextualCheckBlock`: finality, the height in the coinbase, the witness commitment, the weight.
pub(crate) fn check_body(state: &State, block: &Block) -> Result<(), Reason> {
    let parent = state.entry(&block.header.prev_blockhash).ok_or("prev-blk-not-found")?;
    let height = parent.height + 1;
    let cutoff = state.median_time_past(&block.header.prev_blockhash);
    ensure(block.txdata.iter().all(|tx| is_final(tx, height, cutoff)), "bad-txns-nonfinal")?;
    let signature = &block.txdata[0].input[0].script_sig;
    ensure(signature.as_bytes().starts_with(height_push(height).as_bytes()), "bad-cb-height")?;
    check_witness(block)?;
    ensure(block.weight() <= Weight::MAX_BLOCK, "bad-blk-weight")
}

/// The bytes BIP34 demands at the start of the coinbase's script: one opcode up to height 16, a push after that.
pub(crate) fn height_push(height: u32) -> ScriptBuf {
    Builder::new().push_int(i64::from(height)).into_script()
}

/// Core's `IsFinalTx` with BIP113: a lock time is compared with the height, or with the median time past.
fn is_final(tx: &Transaction, height: u32, median_time_past: u32) -> bool {
    let lock = tx.lock_time.to_consensus_u32();
    let now = if lock < LOCKTIME_THRESHOLD { height } else { median_time_past };
    lock == 0 || lock < now || tx.input.iter().all(|input| input.sequence.is_final())
}

/// The output that commits to the witnesses: the last one that looks like it.
pub(crate) fn commitment_position(coinbase: &Transaction) -> Option<usize> {
    let magic = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    coinbase.output.iter().rposition(|output| {
        let script = output.script_pubkey.as_bytes();
        script.len() >= 38 && script.starts_with(&magic)
    })
}

/// Core's `CheckWitnessMalleation`.
fn check_witness(block: &Block) -> Result<(), Reason> {
    let coinbase = &block.txdata[0];
    let Some(position) = commitment_position(coinbase) else {
        let witness = block.txdata.iter().any(|tx| tx.input.iter().any(|input| !input.witness.is_empty()));
        return ensure(!witness, "unexpected-witness");
    };
    let stack = &coinbase.input[0].witness;
    let reserved =
        stack.nth(0).filter(|value| stack.len() == 1 && value.len() == 32).ok_or("bad-witness-nonce-size")?;
    let root = block.witness_root().ok_or("bad-cb-missing")?;
    let commitment = Block::compute_witness_commitment(&root, reserved);
    let committed = &coinbase.output[position].script_pubkey.as_bytes()[6..38];
    ensure(committed == commitment.to_byte_array(), "bad-witness-merkle-match")
}

/// Core's `ConnectBlock` on the tip: inputs, amounts, signature operations.
///
/// Gives the coins each transaction after the coinbase spends, in the order of its inputs.
pub(crate) fn check_connect(state: &State, block: &Block) -> Result<Vec<Vec<TxOut>>, Reason> {
    let height = state.height() + 1;
    let mut created: HashMap<OutPoint, &TxOut> = HashMap::new();
    let mut gone: HashSet<OutPoint> = HashSet::new();
    let mut fees = 0_u64;
    let mut sigops = legacy_sigops(&block.txdata[0]) as u64 * 4;
    let mut undo = Vec::with_capacity(block.txdata.len() - 1);
    let mut unknown = false;
    for tx in &block.txdata[1..] {
        let mut spent = Vec::with_capacity(tx.input.len());
        for outpoint in tx.input.iter().map(|input| input.previous_output) {
            let coin = created.get(&outpoint).copied().or_else(|| state.coin(&outpoint));
            // Each coin can go once: `gone` holds those earlier transactions of this block took.
            let coin = coin.filter(|_| gone.insert(outpoint)).ok_or("bad-txns-inputs-missingorspent")?;
            spent.push(coin.clone());
        }
        let sum = |outputs: &[TxOut]| outputs.iter().map(|output| output.value.to_sat()).sum::<u64>();
        fees += sum(&spent).checked_sub(sum(&tx.output)).ok_or("bad-txns-in-belowout")?;
        sigops += sigop_cost(tx, &spent);
        ensure(sigops <= MAX_SIGOPS, "bad-blk-sigops")?;
        let txid = tx.compute_txid();
        for (vout, output) in (0_u32..).zip(&tx.output) {
            created.insert(OutPoint::new(txid, vout), output);
        }
        unknown |= state.known(&txid) != Some(tx.compute_wtxid());
        undo.push(spent);
    }
    let paid: u64 = block.txdata[0].output.iter().map(|output| output.value.to_sat()).sum();
    ensure(paid <= state.subsidy(height) + fees, "bad-cb-amount")?;
    ensure(!unknown, "block-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)")?;
    Ok(undo)
}

fn legacy_sigops(tx: &Transaction) -> usize {
    let inputs = tx.input.iter().map(|input| input.script_sig.count_sigops_legacy());
    let outputs = tx.output.iter().map(|output| output.script_pubkey.count_sigops_legacy());
    inputs.chain(outputs).sum()
}

/// Whether two neighbours are equal at any level of the merkle tree, so that another list of transactions would have
/// the same root (CVE-2012-2459).
fn merkle_tree_repeats(block: &Block) -> bool {
    let mut level: Vec<[u8; 32]> = block.txdata.iter().map(|tx| tx.compute_txid().to_byte_array()).collect();
    while level.len() > 1 {
        if level.chunks_exact(2).any(|pair| pair[0] == pair[1]) {
            return true;
        }
        level = level
            .chunks(2)
            .map(|pair| {
                let mut engine = sha256d::Hash::engine();
                engine.input(&pair[0]);
                engine.input(pair.last().expect("a chunk is not empty"));
                sha256d::Hash::from_engine(engine).to_byte_array()
            })
            .collect();
    }
    false
}

fn ensure(good: bool, reason: Reason) -> Result<(), Reason> {
    if good { Ok(()) } else { Err(reason) }
}

/// Fills in what Core fills in for a submitter (`UpdateUncommittedBlockStructures`): a coinbase that commits to the
/// witnesses and has none itself gets the reserved value of zeros, where the parent is known.
pub(crate) fn add_coinbase_witness(state: &State, block: &mut Block) {
    if state.entry(&block.header.prev_blockhash).is_none() {
        return;
    }
    let Some(coinbase) = block.txdata.first_mut() else { return };
    let bare = coinbase.input.iter().all(|input| input.witness.is_empty());
    let commits = commitment_position(coinbase).is_some();
    if let Some(input) = coinbase.input.first_mut().filter(|_| bare && commits) {
        input.witness.push([0; 32]);
    }
}

/// Judges a proposal (BIP23): a whole block on the tip, without proof of work.
pub(crate) fn validate_proposal(state: &State, block: &Block) -> Result<(), Reason> {
    ensure(block.header.prev_blockhash == state.tip(), "inconclusive-not-best-prevblk")?;
    check_block(block, Pow::Fiat)?;
    check_header(state, block)?;
    check_body(state, block)?;
    check_connect(state, block).map(drop)
}
