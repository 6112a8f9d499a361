//! What judging a share and building a job cost, beside the hashing nobody can avoid.
#![allow(clippy::unwrap_used)]

#[path = "../tests/template/mod.rs"]
mod template;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use warppool_work::{Difficulty, Duplicates, ShareRules, Submission, Vardiff, VardiffSettings, VersionMask, judge};

/// Transactions that give so many merkle branches.
const TRANSACTIONS_FOR_BRANCHES: [(usize, usize); 3] = [(0, 0), (8, 255), (12, 4000)];

fn validate(c: &mut Criterion) {
    let mut group = c.benchmark_group("share");
    for (branches, transactions) in TRANSACTIONS_FOR_BRANCHES {
        let mut offered = template::template(transactions);
        offered.bits = 0x1703_4219;
        let job = template::factory().build(&Arc::new(offered), true).expect("the template is sound");
        assert_eq!(job.branches.len(), branches);
        let coinbase = job.coinbase(&template::payout()).expect("the payout is small");
        let compressions = job.compressions(&coinbase);
        println!("validate_full/{branches}: {compressions} compressions after the midstate");

        // The floor: as many compressions, each needing the one before, as those of a share do.
        group.bench_function(BenchmarkId::new("hash_floor", branches), |b| {
            let mut state = [1u32; 8];
            let blocks = [[0x5au8; 64]; 1];
            b.iter(|| {
                for _ in 0..compressions {
                    sha2::block_api::compress256(&mut state, black_box(&blocks));
                }
                black_box(state)
            });
        });

        let difficulty = Difficulty::new(1e-10).expect("above zero");
        let rules = ShareRules {
            difficulty,
            target: difficulty.target(),
            mask: VersionMask::requested(u32::MAX),
            safe_mode: true,
            stale: false,
        };
        let mut seen = Duplicates::default();
        let mut n = 0u64;
        group.bench_function(BenchmarkId::new("validate_full", branches), |b| {
            b.iter(|| {
                n += 1;
                let share =
                    Submission { en2: n.to_le_bytes(), time: job.time, nonce: n as u32, version_bits: Some(0x2000) };
                let judged = judge(&job, &coinbase, [1, 2, 3, 4], black_box(&share), &rules, &mut seen);
                assert!(judged.verdict.is_ok() && judged.difficulty() > 0.0);
                judged
            });
        });
    }
    group.finish();
}

fn build_job(c: &mut Criterion) {
    let mut group = c.benchmark_group("job");
    for transactions in [0, 100, 1000, 4000] {
        let mut offered = template::template(transactions);
        // Nodes send the commitment along; without dropping transactions it is theirs.
        offered.witness_commitment = Some(vec![0x6a; 38]);
        let offered = Arc::new(offered);
        let (factory, payout) = (template::factory(), template::payout());
        group.bench_function(BenchmarkId::new("build_job", transactions), |b| {
            b.iter(|| {
                let job = factory.build(black_box(&offered), true).expect("the template is sound");
                let coinbase = job.coinbase(&payout).expect("the payout is small");
                (job, coinbase)
            });
        });
    }
    group.finish();
}

fn vardiff(c: &mut Criterion) {
    let start = Difficulty::new(1000.0).expect("above zero");
    let mut vardiff = Vardiff::new(VardiffSettings::default(), start, 0.0);
    let mut now = 0.0;
    c.bench_function("vardiff", |b| {
        b.iter(|| {
            now += 10.0;
            vardiff.on_share(black_box(start), now)
        });
    });
}

criterion_group!(benches, validate, build_job, vardiff);
criterion_main!(benches);
