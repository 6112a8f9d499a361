//! What is deleted by its age, and what a wrong clock must not delete.

use std::time::Duration;

use warppool_ledger::{Ledger, Options, Resolution, Retention};

use crate::pool::{DAY, HOUR, MINUTE, NOW, Pool, audit, share};

/// How many buckets of each tier, raw rows and audit rows there are.
fn counts(ledger: &Ledger) -> [usize; 5] {
    let tier = |tier| ledger.hashrate(None, 0..u64::MAX, tier).unwrap().len();
    [
        ledger.raw_shares(None, 0).unwrap().len(),
        tier(Resolution::FiveMinutes),
        tier(Resolution::Hour),
        tier(Resolution::Day),
        ledger.audit_rows(0..u64::MAX, usize::MAX).unwrap().len(),
    ]
}

/// A share and an audit row at each of these times before now.
async fn history(pool: &Pool, options: Options) -> Ledger {
    let ledger = Ledger::open(options).ledger;
    let worker = ledger.worker_id("a", "");
    for ago in [0, 30 * MINUTE, 2 * HOUR, 8 * DAY, 91 * DAY, 400 * DAY] {
        ledger.shares(&[share(NOW - ago, worker, 1.0)]);
        ledger.audit(audit(NOW - ago, "change")).await.unwrap();
    }
    ledger.flush().await.unwrap();
    pool.set_clock(NOW + 5 * MINUTE);
    ledger.flush().await.unwrap();
    ledger
}

#[tokio::test]
async fn nothing_is_deleted_by_age_until_the_clock_is_trusted() {
    let pool = Pool::new();
    let ledger = history(&pool, pool.options()).await;
    pool.set_clock(NOW + 4000 * DAY);
    ledger.flush().await.unwrap();
    assert_eq!(counts(&ledger), [6, 6, 6, 4, 6]);
}

#[tokio::test]
async fn each_tier_is_kept_as_long_as_its_retention_says() {
    let pool = Pool::new();
    let ledger = history(&pool, pool.options()).await;
    ledger.set_clock_trusted(true);
    ledger.worker_id("someone", "");
    pool.set_clock(NOW + 10 * MINUTE);
    ledger.flush().await.unwrap();
    assert_eq!(counts(&ledger), [2, 3, 4, 4, 4]);
    assert_eq!(ledger.pool_totals().accepted, 6);
}

#[tokio::test]
async fn a_retention_of_its_own_is_obeyed_and_none_keeps_for_ever() {
    let pool = Pool::new();
    let retention = Retention {
        raw: None,
        five_minutes: Some(Duration::from_mins(1)),
        hours: None,
        days: Some(Duration::from_hours(24 * 100)),
        audit: None,
    };
    let ledger = history(&pool, Options { retention, ..pool.options() }).await;
    ledger.set_clock_trusted(true);
    ledger.worker_id("someone", "");
    pool.set_clock(NOW + 10 * MINUTE);
    ledger.flush().await.unwrap();
    assert_eq!(counts(&ledger), [6, 0, 6, 3, 6]);
}

#[tokio::test]
async fn what_a_clock_ahead_of_time_wrote_is_not_deleted_when_it_is_set_right() {
    let pool = Pool::new();
    let ledger = pool.open();
    let worker = ledger.worker_id("a", "");
    pool.set_clock(NOW + 3650 * DAY);
    ledger.shares(&[share(NOW + 3650 * DAY, worker, 1.0)]);
    ledger.flush().await.unwrap();
    // Set right, backwards by ten years.
    pool.set_clock(NOW);
    ledger.set_clock_trusted(true);
    ledger.shares(&[share(NOW, worker, 2.0), share(NOW + 1, worker, 4.0)]);
    ledger.flush().await.unwrap();
    let buckets = ledger.hashrate(None, 0..u64::MAX, Resolution::FiveMinutes).unwrap();
    let found: Vec<_> = buckets.iter().map(|bucket| (bucket.start_ms, bucket.tally.accepted)).collect();
    assert_eq!(found, [(NOW, 2), (NOW + 3650 * DAY, 1)]);
    let raw = ledger.raw_shares(None, 0).unwrap();
    assert!(raw.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
    assert_eq!(raw.len(), 3);
}
