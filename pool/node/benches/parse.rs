//! A full template's JSON (4000 transactions, 4 MB of hex) to the pool's form: nothing known, and all known before.

use std::hint::black_box;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, consensus};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use warppool_node::TemplateParser;
use warppool_work::Chain;
use warppool_work::hash::{merkle_branches, merkle_root, sha256d_pair};

const TRANSACTIONS: u32 = 4000;

/// 502 bytes, 964 weight units: 4000 of them are what fits into a block.
fn transaction(n: u32) -> Transaction {
    let mut coin = [0; 32];
    coin[..4].copy_from_slice(&n.to_le_bytes());
    let witness = Witness::from_slice(&[&[0x30; 72][..], &[2; 33], &[7; 64]]);
    let input = |vout| TxIn {
        previous_output: OutPoint { txid: Txid::from_byte_array(coin), vout },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: witness.clone(),
    };
    let output = TxOut {
        value: Amount::from_sat(u64::from(n)),
        script_pubkey: ScriptBuf::from_bytes([&[0, 20][..], &[9; 20]].concat()),
    };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input(0), input(1)],
        output: vec![output.clone(), output],
    }
}

fn template() -> Vec<u8> {
    let transactions: Vec<Transaction> = (0..TRANSACTIONS).map(transaction).collect();
    let wtxids: Vec<_> = transactions.iter().map(|tx| tx.compute_wtxid().to_byte_array()).collect();
    let commitment = sha256d_pair(&merkle_root([0; 32], &merkle_branches(&wtxids)), &[0; 32]);
    let transactions: Vec<Value> = transactions
        .iter()
        .map(|tx| {
            json!({
                "data": consensus::encode::serialize_hex(tx), "txid": tx.compute_txid().to_string(),
                "hash": tx.compute_wtxid().to_string(),
                "depends": [], "fee": 1000, "sigops": 4, "weight": tx.weight().to_wu(),
            })
        })
        .collect();
    json!({
        "version": 0x2000_0000, "rules": ["csv", "!segwit", "taproot"], "previousblockhash": "ab".repeat(32),
        "transactions": transactions, "coinbasevalue": 312_500_000, "longpollid": "x", "mintime": 1_700_000_000,
        "curtime": 1_700_000_600, "sigoplimit": 80_000, "weightlimit": 4_000_000, "bits": "17034219", "height": 900_000,
        "default_witness_commitment": format!("6a24aa21a9ed{}", const_hex::encode(commitment)),
    })
    .to_string()
    .into_bytes()
}

fn parse(c: &mut Criterion) {
    let json = template();
    let mut group = c.benchmark_group("parse_template_4000");
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("first", |b| {
        b.iter(|| TemplateParser::new(Chain::Mainnet).parse(black_box(&json)).expect("it is valid"));
    });
    let mut parser = TemplateParser::new(Chain::Mainnet);
    group.bench_function("unchanged", |b| b.iter(|| parser.parse(black_box(&json)).expect("it is valid")));
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
