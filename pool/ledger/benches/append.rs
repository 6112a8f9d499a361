//! What a share costs its caller: kept one by one, and when more come than are kept.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warppool_events::Bus;
use warppool_ledger::{Checker, Ledger, Options, Outcome, ShareRow, WorkerId};

/// Shares handed over at a time.
const BATCH: u64 = 64;
const WORKERS: u64 = 50;

fn append(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for the benchmark");
    let options = Options {
        commit_every: Duration::from_hours(1),
        checker: Checker::None,
        ..Options::new(dir.path(), Bus::new())
    };
    let ledger = Ledger::open(options).ledger;
    let workers: Vec<WorkerId> = (0..WORKERS).map(|n| ledger.worker_id(&format!("bc1q.{n}"), "bench")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let batch = |round: u64| -> Vec<ShareRow> {
        let row = |n: u64| ShareRow {
            at_ms: 1_700_000_000_000 + round % 1000,
            worker: workers[(n % WORKERS) as usize],
            difficulty: 512.0,
            actual: 600.0 + (n * 7 % 13) as f64,
            outcome: Outcome::Accepted,
        };
        (0..BATCH).map(row).collect()
    };

    let mut group = criterion.benchmark_group("ledger_append");
    group.throughput(Throughput::Elements(BATCH));
    for (name, is_kept) in [("kept", true), ("counted", false)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for round in 0..rounds {
                    // Kept rows are taken away in time; the commit itself is the writer's, not the caller's.
                    if is_kept && round % 500 == 0 {
                        runtime.block_on(ledger.flush()).expect("the ledger can be written");
                    }
                    let rows = batch(round);
                    let started = Instant::now();
                    ledger.shares(&rows);
                    spent += started.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
