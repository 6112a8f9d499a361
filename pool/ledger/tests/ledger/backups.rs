//! A backup holds everything, and a damaged one changes nothing.

use std::fs;

use warppool_events::LedgerState;
use warppool_ledger::backup::{RestoreError, Summary, restore};
use warppool_ledger::{Ledger, Resolution};

use crate::pool::{NOW, Pool, fill, share};

async fn backed_up(ledger: &Ledger) -> Vec<u8> {
    let ledger = ledger.clone();
    tokio::task::spawn_blocking(move || {
        let mut stream = Vec::new();
        let mut last = Summary::default();
        let summary = ledger.backup(&mut stream, |summary| last = summary).unwrap();
        assert_eq!((summary.bytes, summary.records), (stream.len() as u64, last.records));
        stream
    })
    .await
    .unwrap()
}

/// Everything a ledger shows, but for the ids of commits.
fn shown(ledger: &Ledger) -> impl PartialEq + std::fmt::Debug {
    let mut workers = ledger.workers();
    workers.sort_by_key(|worker| worker.id);
    (
        workers,
        ledger.blocks(usize::MAX).unwrap(),
        ledger.settings().unwrap(),
        ledger.audit_rows(0..u64::MAX, usize::MAX).unwrap(),
        Resolution::ALL.map(|tier| ledger.hashrate(None, 0..u64::MAX, tier).unwrap()),
        ledger.raw_shares(None, 0).unwrap(),
        (ledger.best_shares(), ledger.pool_totals()),
    )
}

#[tokio::test]
async fn a_restored_ledger_shows_what_the_backed_up_one_did() {
    let (from, to) = (Pool::new(), Pool::new());
    let source = from.open();
    fill(&source).await;
    let stream = backed_up(&source).await;

    // Into a pool that runs: it takes the restored ledger at its next start, and keeps the one before.
    let target = to.open();
    target.put_setting("old", "1").await.unwrap();
    let mut steps = 0;
    let summary = restore(stream.as_slice(), &to.folder(), |_| steps += 1).unwrap();
    assert_eq!((summary.records, summary.bytes), (steps, stream.len() as u64));
    assert_eq!(target.setting("old").unwrap().as_deref(), Some("1"));
    target.close().await.unwrap();
    let opened = Ledger::open(to.options());
    assert_eq!(opened.state, LedgerState::Durable);
    assert!(opened.message.contains("restored ledger is in use; the one before"), "{}", opened.message);
    assert_eq!(shown(&opened.ledger), shown(&source));
    let worker = opened.ledger.worker_id("bc1qx.rig1", "");
    opened.ledger.shares(&[share(NOW, worker, 1.0)]);
    opened.ledger.close().await.unwrap();
    assert_eq!(to.open().pool_totals().accepted, 4001);
}

#[tokio::test]
async fn a_backup_with_any_bit_flipped_any_byte_missing_or_one_too_many_is_refused_and_changes_nothing() {
    let pool = Pool::new();
    let ledger = pool.open();
    ledger.put_setting("a", "one").await.unwrap();
    let worker = ledger.worker_id("a", "");
    ledger.shares(&[share(NOW, worker, 2.0)]);
    let stream = backed_up(&ledger).await;
    ledger.close().await.unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(pool.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (before, bytes) = (names(), fs::read(pool.file()).unwrap());
    let refused = |stream: &[u8], what: &str| {
        let error = restore(stream, &pool.folder(), |_| {}).expect_err(what);
        assert!(!matches!(error, RestoreError::Write { .. }), "{what}: {error}");
    };
    for bit in 0..stream.len() * 8 {
        let mut flipped = stream.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped, &format!("bit {bit} flipped"));
    }
    for length in 0..stream.len() {
        refused(&stream[..length], &format!("cut to {length}"));
    }
    refused(&[stream.as_slice(), b"x"].concat(), "something after its end");
    assert_eq!(names(), before);
    assert_eq!(fs::read(pool.file()).unwrap(), bytes);
    restore(stream.as_slice(), &pool.folder(), |_| {}).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_backup_is_told_as_such() {
    let pool = Pool::new();
    pool.open().close().await.unwrap();
    for foreign in [b"".as_slice(), b"PK\x03\x04", &[0xff; 100]] {
        assert!(matches!(restore(foreign, &pool.folder(), |_| {}), Err(RestoreError::Foreign)));
    }
}

#[tokio::test]
async fn a_backup_to_a_full_disk_fails_and_the_ledger_goes_on() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let pool = Pool::new();
    let ledger = pool.open();
    fill(&ledger).await;
    let clone = ledger.clone();
    let failed = tokio::task::spawn_blocking(move || clone.backup(Full, |_| {}).unwrap_err()).await.unwrap();
    assert!(failed.to_string().contains("cannot be written"));
    ledger.put_setting("after", "1").await.unwrap();
}
