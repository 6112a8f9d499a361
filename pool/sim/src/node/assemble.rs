//! The node's own blocks: what the rest of the world's miners find, and the branches of a reorganisation.
//! They go through the same validation as a submitted block, except for proof of work nobody could do.

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Amount, Block, BlockHash, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    WitnessCommitment, WitnessMerkleNode, Wtxid, merkle_tree, transaction,
};

use super::chain::State;
use super::options::target_of;
use super::transactions::PoolTx;
use super::validate::height_push;

/// The output that commits to these witnesses, with a reserved value of zeros.
pub(crate) fn commitment_script<'a>(transactions: impl Iterator<Item = &'a PoolTx>) -> ScriptBuf {
    let coinbase = std::iter::once(Wtxid::all_zeros().to_raw_hash());
    let mut leaves: Vec<_> = coinbase.chain(transactions.map(|tx| tx.wtxid.to_raw_hash())).collect();
    let root = merkle_tree::calculate_root_inline(&mut leaves).expect("the coinbase is a leaf");
    let commitment: WitnessCommitment =
        Block::compute_witness_commitment(&WitnessMerkleNode::from_raw_hash(root), &[0; 32]);
    let mut push = PushBytesBuf::from(&[0xaa, 0x21, 0xa9, 0xed]);
    push.extend_from_slice(&commitment.to_byte_array()).expect("36 bytes are a push");
    ScriptBuf::new_op_return(push)
}

/// A block on `parent` that pays `script`, without its nonce yet.
///
/// `salt` makes it differ from its brothers.
pub(crate) fn assemble(
    state: &State,
    parent: &BlockHash,
    script: &Script,
    transactions: &[Arc<PoolTx>],
    salt: u64,
) -> Option<Block> {
    let height = state.entry(parent)?.height + 1;
    let fees: u64 = transactions.iter().map(|tx| tx.fee).sum();
    let mut script_sig = height_push(height);
    script_sig.push_slice(salt.to_le_bytes());
    let reward = TxOut { value: Amount::from_sat(state.subsidy(height) + fees), script_pubkey: script.to_owned() };
    let commitment = commitment_script(transactions.iter().map(AsRef::as_ref));
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::from_consensus(height - 1),
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::ENABLE_LOCKTIME_NO_RBF,
            witness: Witness::from_slice(&[[0_u8; 32]]),
        }],
        output: vec![reward, TxOut { value: Amount::ZERO, script_pubkey: commitment }],
    };
    let mut leaves = vec![coinbase.compute_txid().to_raw_hash()];
    leaves.extend(transactions.iter().map(|tx| tx.txid.to_raw_hash()));
    let root = merkle_tree::calculate_root_inline(&mut leaves)?;
    let mut txdata = vec![coinbase];
    txdata.extend(transactions.iter().map(|tx| tx.tx.clone()));
    let header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: *parent,
        merkle_root: TxMerkleNode::from_raw_hash(root),
        time: state.now().max(state.minimum_time(parent)),
        bits: state.bits(),
        nonce: 0,
    };
    Some(Block { header, txdata })
}

/// Looks for the nonce that meets the header's own target.
///
/// Runs through all nonces once; false when none does, so it is for targets that are near.
pub(crate) fn grind(header: &mut Header) -> bool {
    let Some(target) = target_of(header.bits) else { return false };
    for nonce in 0..=u32::MAX {
        header.nonce = nonce;
        if target.is_met_by(header.block_hash()) {
            return true;
        }
    }
    false
}

/// What the node's own coinbases pay: a witness program nobody holds the key of.
pub(crate) fn nobody() -> ScriptBuf {
    Builder::new().push_int(0).push_slice([0x57; 20]).into_script()
}
