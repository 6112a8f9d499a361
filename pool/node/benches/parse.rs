//! A full template's JSON (4000 transactions, 4 MB of hex) to the pool's form: nothing known, and all known before.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use warppool_node::TemplateParser;
use warppool_work::Chain;

const TRANSACTIONS: usize = 4000;
/// Bytes each: together what fits into a block.
const SIZE: usize = 500;

fn template() -> Vec<u8> {
    let transactions: Vec<Value> = (0..TRANSACTIONS)
        .map(|n| {
            let id = format!("{n:064x}");
            let data = format!("{n:08x}").repeat(SIZE / 4);
            json!({ "data": data, "txid": id, "hash": id, "depends": [], "fee": 1000, "sigops": 4, "weight": 900 })
        })
        .collect();
    json!({
        "version": 0x2000_0000, "rules": ["csv", "!segwit", "taproot"], "previousblockhash": "ab".repeat(32),
        "transactions": transactions, "coinbasevalue": 312_500_000, "longpollid": "x", "mintime": 1_700_000_000,
        "curtime": 1_700_000_600, "sigoplimit": 80_000, "weightlimit": 4_000_000, "bits": "17034219", "height": 900_000,
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
