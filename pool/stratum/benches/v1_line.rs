//! A line of a miner's to its answer, in memory, beside what the hashing in it costs alone.

#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{ANY_HASH, Bench, HARD, d, payout, settings, template};
use warppool_stratum::line;
use warppool_work::{Duplicates, ShareRules, Submission, VersionMask, judge};

/// Lines of one read.
const PIPELINE: usize = 16;
/// Different shares: far more than are remembered as seen, so that they can be sent again and again.
const SHARES: u32 = 200_000;

fn v1_line(c: &mut Criterion) {
    let bench = Bench::new(settings());
    // 4000 transactions give 12 branches.
    let job = Arc::new(bench.factory.build(&template(1, HARD, 4000), true).unwrap());
    assert_eq!(job.branches.len(), 12);
    bench.server.publish(Arc::clone(&job));
    let (mut talk, miner) = bench.miner("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig");
    let mut share = miner.clone().share();
    let reads: Vec<String> = (0..SHARES / PIPELINE as u32)
        .map(|read| {
            (0..PIPELINE as u32)
                .map(|n| {
                    share.nonce = read * PIPELINE as u32 + n;
                    miner.line(&share)
                })
                .collect()
        })
        .collect();

    let mut group = c.benchmark_group("v1_line");
    group.throughput(Throughput::Elements(1));
    let first = reads[0].lines().next().unwrap().as_bytes();
    group.bench_function("parse", |b| b.iter(|| line::parse(black_box(first)).unwrap()));

    let coinbase = job.coinbase(&payout("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")).unwrap();
    let rules = ShareRules {
        difficulty: d(ANY_HASH),
        target: d(ANY_HASH).target(),
        mask: VersionMask::NONE,
        safe_mode: true,
        stale: false,
    };
    let (mut seen, mut nonce) = (Duplicates::default(), 0);
    let submission = |nonce| Submission { en2: [0; 8], time: job.time, nonce, version_bits: None };
    let floor = format!("judge/{}_compressions", job.compressions(&coinbase));
    group.bench_function(floor, |b| {
        b.iter(|| {
            nonce += 1;
            judge(&job, &coinbase, [0; 4], black_box(&submission(nonce)), &rules, &mut seen)
        });
    });

    group.throughput(Throughput::Elements(PIPELINE as u64));
    let (mut next, mut out) = (0, Vec::new());
    group.bench_function(format!("read_of_{PIPELINE}_to_answers"), |b| {
        b.iter(|| {
            out.clear();
            talk.with.receive(reads[next].as_bytes(), &mut out).unwrap();
            next = (next + 1) % reads.len();
            bench.pool.shares.lock().unwrap().clear();
            black_box(out.len())
        });
    });
    group.finish();
    let refused = talk.with.info().refused.total();
    assert_eq!(refused, 0, "every share is accepted");
}

criterion_group!(benches, v1_line);
criterion_main!(benches);
