//! Shares, workers and what they add up to.

use std::collections::BTreeMap;

use proptest::prelude::*;
use warppool_ledger::{Bucket, Caps, Ledger, Outcome, Reason, Resolution, ShareRow, Tally, VardiffState, WorkerId};

use crate::pool::{DAY, HOUR, MINUTE, NOW, Pool, block, reject, share};

fn sum(rows: &[ShareRow]) -> Tally {
    let mut tally = Tally::default();
    for row in rows {
        tally.add(row);
    }
    tally
}

/// What every tier must say, from the raw rows.
fn expected(rows: &[ShareRow], worker: Option<WorkerId>, tier: Resolution) -> Vec<Bucket> {
    let mut buckets: BTreeMap<u64, Tally> = BTreeMap::new();
    for row in rows.iter().filter(|row| worker.is_none_or(|worker| worker == row.worker)) {
        buckets.entry(tier.bucket(row.at_ms)).or_default().add(row);
    }
    let span_ms = tier.span_ms();
    buckets.into_iter().map(|(start_ms, tally)| Bucket { start_ms, span_ms, tally }).collect()
}

fn check_all(ledger: &Ledger, rows: &[ShareRow], workers: &[WorkerId]) {
    for tier in Resolution::ALL {
        for worker in workers.iter().copied().map(Some).chain([None]) {
            let found = ledger.hashrate(worker, 0..u64::MAX, tier).unwrap();
            assert_eq!(found, expected(rows, worker, tier), "{worker:?} {tier:?}");
        }
    }
    assert_eq!(ledger.pool_totals(), sum(rows));
    for worker in ledger.workers() {
        let own: Vec<_> = rows.iter().filter(|row| row.worker == worker.id).copied().collect();
        assert_eq!(worker.totals, sum(&own), "{}", worker.name);
    }
}

#[tokio::test]
async fn every_tier_says_the_same_before_a_commit_after_it_and_after_a_restart() {
    let pool = Pool::new();
    let ledger = pool.open();
    let workers = [ledger.worker_id("a.1", "x"), ledger.worker_id("a.2", "x")];
    let mut rows = Vec::new();
    for n in 0..500 {
        let row = if n % 7 == 0 {
            reject(NOW + n * 31_000, workers[0], Reason::Stale)
        } else {
            share(NOW + n * 31_000, workers[n as usize % 2], 2_f64.powi((n % 12) as i32))
        };
        rows.push(row);
    }
    ledger.shares(&rows);
    check_all(&ledger, &rows, &workers);
    ledger.flush().await.unwrap();
    check_all(&ledger, &rows, &workers);
    assert_eq!(ledger.raw_shares(None, 0).unwrap(), rows);

    // Five minutes on, the flush is a checkpoint: the tiers on disk hold everything.
    pool.set_clock(NOW + 5 * MINUTE);
    ledger.flush().await.unwrap();
    check_all(&ledger, &rows, &workers);
    ledger.close().await.unwrap();

    let ledger = pool.open();
    check_all(&ledger, &rows, &workers);
    assert_eq!(ledger.raw_shares(Some(workers[1]), NOW + 100 * 31_000).unwrap().len(), 200 - 29);
}

#[tokio::test]
async fn a_span_takes_the_buckets_it_touches_and_no_other() {
    let pool = Pool::new();
    let ledger = pool.open();
    let worker = ledger.worker_id("a", "");
    ledger.shares(&(0..24).map(|n| share(NOW + n * HOUR, worker, 1.0)).collect::<Vec<_>>());
    let starts = |span| -> Vec<u64> {
        let buckets = ledger.hashrate(None, span, Resolution::Hour).unwrap();
        buckets.iter().map(|bucket| (bucket.start_ms - NOW) / HOUR).collect()
    };
    assert_eq!(starts(NOW + 2 * HOUR + 1..NOW + 4 * HOUR), [2, 3]);
    ledger.flush().await.unwrap();
    assert_eq!(starts(NOW + 2 * HOUR + 1..NOW + 4 * HOUR), [2, 3]);
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = NOW + HOUR..NOW - HOUR;
    assert_eq!(starts(backwards), [], "a span that ends before it begins is empty");
}

#[tokio::test]
async fn more_raw_shares_than_are_kept_are_counted_all_the_same() {
    let pool = Pool::new();
    let ledger = pool.open();
    let workers = [ledger.worker_id("a.1", ""), ledger.worker_id("a.2", "")];
    let rows: Vec<_> = (0..100_000).map(|n| share(NOW + n * 8, workers[n as usize % 2], 4.0)).collect();
    for batch in rows.chunks(30_000) {
        ledger.shares(batch);
    }
    check_all(&ledger, &rows, &workers);
    assert_eq!(ledger.stats().raw_rows_skipped, 100_000 - 65_536);
    ledger.flush().await.unwrap();
    // A kill without a checkpoint: the chunks alone must restore every count.
    let copy = Pool::new();
    crate::pool::copy_folder(&pool.folder(), &copy.folder());
    let ledger = copy.open();
    check_all(&ledger, &rows, &workers);
    assert_eq!(ledger.raw_shares(None, 0).unwrap().len(), 65_536);
    assert_eq!(ledger.stats().raw_rows_skipped, 100_000 - 65_536);
}

#[tokio::test]
async fn numbers_that_make_no_sense_spoil_no_sum() {
    let pool = Pool::new();
    let ledger = pool.open();
    let worker = ledger.worker_id("a", "");
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -5.0, f64::MAX];
    let rows: Vec<_> = odd.map(|difficulty| share(u64::MAX, worker, difficulty)).to_vec();
    ledger.shares(&rows);
    ledger.shares(&[share(0, worker, 3.0), share(NOW, WorkerId(4_000_000), 5.0)]);
    ledger.close().await.unwrap();
    let ledger = pool.open();
    let totals = ledger.pool_totals();
    assert_eq!(totals.accepted, 7, "a share of a worker nobody knows counts for the pool");
    assert!(totals.work.is_finite() && totals.best.is_finite());
    assert_eq!(ledger.worker("a").unwrap().totals.accepted, 6);
}

#[tokio::test]
async fn the_best_shares_are_told_listed_and_kept() {
    let pool = Pool::new();
    let ledger = pool.open();
    ledger.set_height(840_000);
    let (a, b) = (ledger.worker_id("a", ""), ledger.worker_id("b", ""));
    let told = ledger.shares(&[share(NOW, a, 4.0), share(NOW, a, 2.0), share(NOW, b, 8.0), share(NOW, a, 16.0)]);
    let told: Vec<_> = told.iter().map(|best| (best.worker, best.difficulty)).collect();
    assert_eq!(told, [(a, 6.0), (b, 12.0), (a, 24.0)]);
    let huge = ShareRow { outcome: Outcome::Rejected(Reason::Stale), ..share(NOW, a, 1e9) };
    assert!(ledger.shares(&[huge]).is_empty(), "a rejected share is no best share");
    for n in 0..300 {
        ledger.shares(&[share(NOW + 1, b, 1.0 + f64::from(n) / 1000.0)]);
    }
    let listed = |ledger: &Ledger| {
        let bests = ledger.best_shares();
        assert_eq!(bests.len(), 100);
        assert!(bests.windows(2).all(|pair| pair[0].best.difficulty >= pair[1].best.difficulty));
        bests.iter().take(3).map(|line| (line.worker.clone(), line.best.difficulty)).collect::<Vec<_>>()
    };
    let top = [("a".to_owned(), 24.0), ("b".to_owned(), 12.0), ("a".to_owned(), 6.0)];
    assert_eq!(listed(&ledger), top);
    ledger.flush().await.unwrap();
    // Before any checkpoint the list is restored from the raw shares.
    let copy = Pool::new();
    crate::pool::copy_folder(&pool.folder(), &copy.folder());
    let ledger = copy.open();
    assert_eq!(listed(&ledger), top);
    assert_eq!(ledger.worker("a").unwrap().best.unwrap().height, 840_000);
    ledger.close().await.unwrap();
    let ledger = copy.open();
    assert_eq!(listed(&ledger), top);
}

#[tokio::test]
async fn at_the_caps_the_longest_unseen_goes_but_never_the_finder_of_a_block_and_no_number_comes_twice() {
    let pool = Pool::new();
    let options = || warppool_ledger::Options { caps: Caps { workers_per_user: 3, workers: 5 }, ..pool.options() };
    let ledger = Ledger::open(options()).ledger;
    let finder = ledger.worker_id("a.finder", "");
    ledger.put_block(&warppool_ledger::BlockRow { worker: "a.finder".into(), ..block(1, 1) }).await.unwrap();
    let mut given = vec![finder];
    for n in 1..10 {
        pool.set_clock(NOW + n * MINUTE);
        let worker = ledger.worker_id(&format!("a.{n}"), "");
        ledger.shares(&[share(NOW + n * MINUTE, worker, 1.0)]);
        given.push(worker);
        assert!(ledger.workers().len() <= 3);
    }
    assert!(ledger.worker("a.finder").is_some() && ledger.worker("a.9").is_some() && ledger.worker("a.8").is_some());
    for n in 0..10 {
        given.push(ledger.worker_id(&format!("user{n}"), ""));
        assert!(ledger.workers().len() <= 5);
    }
    assert_eq!(ledger.pool_totals().accepted, 9, "what the forgotten did still counts");
    ledger.close().await.unwrap();

    let ledger = Ledger::open(options()).ledger;
    assert_eq!(ledger.workers().len(), 5);
    assert_eq!(ledger.worker("a.finder").unwrap().blocks_found, 1);
    assert_eq!(ledger.pool_totals().accepted, 9);
    given.push(ledger.worker_id("late", ""));
    let count = given.len();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), count);
}

#[tokio::test]
async fn a_worker_comes_back_with_its_difficulty_and_its_first_day() {
    let pool = Pool::new();
    let ledger = pool.open();
    let worker = ledger.worker_id("a.1", "bitaxe/2.0");
    let state = VardiffState { difficulty: 1024.0, rate: 3.5, updated_ms: NOW };
    ledger.set_vardiff(worker, state);
    ledger.close().await.unwrap();
    pool.set_clock(NOW + DAY);
    let ledger = pool.open();
    assert_eq!(ledger.worker_id("a.1", "bitaxe/2.1"), worker);
    assert_eq!(ledger.vardiff(worker), Some(state));
    let found = ledger.worker("a.1").unwrap();
    assert_eq!((found.first_seen_ms, found.last_seen_ms, found.agent.as_str()), (NOW, NOW + DAY, "bitaxe/2.1"));
    assert_eq!(ledger.vardiff(WorkerId(999)), None);
}

/// What may happen between two looks at the ledger.
#[derive(Clone, Debug)]
enum Step {
    Shares(Vec<(u64, usize, u8, bool)>),
    Flush,
    Checkpoint,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0_u64..3 * HOUR, 0_usize..3, 0_u8..20, any::<bool>());
    let step = prop_oneof![
        4 => prop::collection::vec(row, 1..30).prop_map(Step::Shares),
        2 => Just(Step::Flush),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Also when a clock jumps back and forth, and whatever was committed when the process ends.
    #[test]
    fn the_tiers_always_sum_to_the_raw_input(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let pool = Pool::new();
            let mut ledger = pool.open();
            let workers = ["a.1", "a.2", "b"].map(|name| ledger.worker_id(name, ""));
            let mut rows = Vec::new();
            let mut clock = NOW;
            for step in steps {
                match step {
                    Step::Shares(made) => {
                        let made: Vec<_> = made.into_iter().map(|(after, worker, power, good)| {
                            // Powers of two sum without rounding, in any order.
                            let row = share(NOW + after, workers[worker], f64::from(1_u32 << power));
                            if good { row } else { ShareRow { outcome: Outcome::Rejected(Reason::Other), ..row } }
                        }).collect();
                        ledger.shares(&made);
                        rows.extend(made);
                    }
                    Step::Flush => ledger.flush().await.unwrap(),
                    Step::Checkpoint => {
                        clock += 5 * MINUTE;
                        pool.set_clock(clock);
                        ledger.flush().await.unwrap();
                    }
                    Step::Restart => {
                        ledger.close().await.unwrap();
                        ledger = pool.open();
                    }
                }
                check_all(&ledger, &rows, &workers);
            }
            let mut raw = ledger.raw_shares(None, 0).unwrap();
            prop_assert_eq!(raw.len(), rows.len());
            let order = |row: &ShareRow| (row.at_ms, row.worker, row.difficulty.to_bits(), row.outcome == Outcome::Accepted);
            raw.sort_by_key(order);
            rows.sort_by_key(order);
            prop_assert_eq!(raw, rows);
            Ok(())
        })?;
    }
}
