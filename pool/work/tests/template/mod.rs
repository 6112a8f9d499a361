//! A template to test with: transactions that parse, the first of them the parent of the second.
#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses its part.

use std::sync::Arc;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute, transaction};
use warppool_work::{JobFactory, Payout, Reserve, START_TAG_SIZE, Tags, Template, TemplateTx};

pub const SUBSIDY: u64 = 312_500_000;
pub const FEE: u64 = 1_000;

/// A payout to a P2WPKH script.
pub fn payout() -> Payout {
    Payout::new([vec![0x00, 0x14], vec![0x42; 20]].concat(), Vec::new()).unwrap()
}

pub fn factory() -> JobFactory {
    let tags = Tags::new("WarpPool", [0xab; START_TAG_SIZE]).unwrap();
    JobFactory::new(tags, Reserve::default(), 1_700_000_000)
}

/// Regtest's easiest target, height 840000, `count` transactions of which every other one has a witness.
pub fn template(count: usize) -> Template {
    Template {
        height: 840_000,
        version: 0x2000_0000,
        prev_hash: [0x11; 32],
        bits: 0x207f_ffff,
        min_time: 1_700_000_000,
        max_time: u32::MAX,
        cur_time: 1_700_000_600,
        coinbase_value: SUBSIDY + FEE * count as u64,
        transactions: (0..count).map(|n| Arc::new(transaction(n as u32))).collect(),
        witness_commitment: None,
        segwit: true,
        weight_limit: 4_000_000,
        sigop_limit: 80_000,
    }
}

fn transaction(n: u32) -> TemplateTx {
    let mut id = [0x77; 32];
    id[..4].copy_from_slice(&n.to_le_bytes());
    let witness =
        if n.is_multiple_of(2) { Witness::from_slice(&[vec![n as u8; 71], vec![3; 33]]) } else { Witness::new() };
    let tx = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(bitcoin::Txid::from_byte_array(id), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness,
        }],
        output: vec![TxOut { value: Amount::from_sat(10_000), script_pubkey: vec![0x51; 22].into() }],
    };
    TemplateTx {
        txid: tx.compute_txid().to_byte_array(),
        wtxid: tx.compute_wtxid().to_byte_array(),
        data: serialize(&tx).into(),
        fee: FEE,
        sigops: 4,
        weight: tx.weight().to_wu() as u32,
    }
}
