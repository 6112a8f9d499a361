//! A chain for an open signet, long enough that a wallet has coins to spend.
//!
//! A block there takes five million hashes, and a coinbase needs a hundred blocks on top before it can be spent. So the
//! blocks are always the same, and their nonces were found once; see `the_nonces_of_the_signet_chain` in the tests.

use bitcoin::blockdata::constants::genesis_block;
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Witness, absolute, block, transaction,
};

use crate::wallet::{Kind, Wallet};

/// Two coins of each kind are mature at its end.
pub const LENGTH: usize = 99 + 2 * Kind::ALL.len();

const NONCES: &str = include_str!("signet.nonces");

/// The chain above genesis, lowest first.
pub fn chain() -> Vec<Block> {
    let nonces = NONCES.lines().map(|line| u32::from_str_radix(line, 16).unwrap());
    let mut prev = genesis_block(Network::Signet).block_hash();
    let blocks = nonces.enumerate().map(|(n, nonce)| {
        let mut block = draft(n as u32 + 1, prev);
        block.header.nonce = nonce;
        prev = block.block_hash();
        block
    });
    let blocks: Vec<Block> = blocks.collect();
    assert_eq!(blocks.len(), LENGTH);
    blocks
}

/// The block of this height on top of `prev`, without its nonce.
pub fn draft(height: u32, prev: BlockHash) -> Block {
    let genesis = genesis_block(Network::Signet).header;
    let coinbase = coinbase(height);
    let merkle_root = TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash());
    let header = block::Header {
        version: block::Version::from_consensus(0x2000_0000),
        prev_blockhash: prev,
        merkle_root,
        time: genesis.time + 600 * height,
        bits: CompactTarget::from_consensus(0x1e03_77ae),
        nonce: 0,
    };
    Block { header, txdata: vec![coinbase] }
}

fn coinbase(height: u32) -> Transaction {
    let kind = Kind::ALL[height as usize % Kind::ALL.len()];
    let payee = Wallet::new(Network::Signet).address(kind).script_pubkey();
    // An open signet still wants the commitment to be there. Of a coinbase alone it is to 32 and 32 bytes of zeros.
    let mut engine = sha256d::Hash::engine();
    engine.input(&[0; 64]);
    let commitment =
        [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &serialize(&sha256d::Hash::from_engine(engine))].concat();
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new().push_int(height.into()).push_slice(b"signet").into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: vec![
            TxOut { value: Amount::from_int_btc(50), script_pubkey: payee },
            TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(commitment) },
        ],
    }
}
