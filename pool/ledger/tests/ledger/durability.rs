//! What is there after the process was killed, and while two want the same ledger.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use warppool_events::{BlockFate, Event, LedgerState};
use warppool_ledger::{BlockRow, Ledger, Options};

use crate::pool::{NOW, Pool, audit, block, share};

/// The environment variable that makes this test binary a pool which writes until it is killed.
const WRITE_TO: &str = "WARPPOOL_TEST_WRITE_TO";

/// Not a test: the process that `everything_acknowledged…` starts and kills.
#[test]
#[ignore = "started by another test"]
fn a_pool_that_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(WRITE_TO) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ledger = Ledger::open(Options::new(folder, warppool_events::Bus::new())).ledger;
        let worker = ledger.worker_id("a", "");
        for n in 0.. {
            ledger.shares(&[share(NOW + u64::from(n), worker, 1.0)]);
            ledger.put_setting("last", &n.to_string()).await.unwrap();
            ledger.put_block(&block(n, n as u8)).await.unwrap();
            ledger.audit(audit(NOW, &n.to_string())).await.unwrap();
            if n % 3 == 0 {
                ledger.flush().await.unwrap();
            }
            println!("\nacknowledged {n}");
        }
    });
}

#[tokio::test]
async fn everything_acknowledged_survives_kill_9() {
    let pool = Pool::new();
    for round in 0..4_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "durability::a_pool_that_writes_until_it_is_killed"])
            .env(WRITE_TO, pool.folder())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut said = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u32>().ok());
        let mut acknowledged = said.find(|&n| n >= 20 + round * 7).unwrap();
        child.kill().unwrap();
        // What it said before it died counts too.
        acknowledged = said.last().unwrap_or(acknowledged);
        child.wait().unwrap();

        let ledger = pool.open();
        let last: u32 = ledger.setting("last").unwrap().unwrap().parse().unwrap();
        assert!((acknowledged..=acknowledged + 1).contains(&last), "{last} after {acknowledged}");
        let blocks = ledger.blocks(usize::MAX).unwrap();
        assert!((0..=acknowledged).all(|n| blocks.iter().any(|block| block.height == n)));
        let rows = ledger.audit_rows(0..u64::MAX, usize::MAX).unwrap();
        assert!((0..=acknowledged).all(|n| rows.iter().any(|row| row.what == n.to_string())));
        let flushed = u64::from(acknowledged / 3 * 3 + 1);
        assert!(ledger.worker("a").unwrap().totals.accepted >= flushed);
        ledger.close().await.unwrap();
        std::fs::remove_file(pool.file()).unwrap();
    }
}

/// Not a test: what the next one runs with little address space.
#[test]
#[ignore = "started by another test"]
fn a_pool_that_opens_its_ledger() {
    let Some(folder) = std::env::var_os(WRITE_TO) else { return };
    let opened = Ledger::open(Options::new(folder, warppool_events::Bus::new()));
    assert_eq!(opened.state, LedgerState::Durable, "{}", opened.message);
}

#[cfg(target_os = "linux")]
#[test]
fn where_address_space_is_limited_less_is_reserved() {
    let pool = Pool::new();
    let arguments = "--ignored --exact durability::a_pool_that_opens_its_ledger";
    let ended = Command::new("/bin/sh")
        .args(["-c", &format!("ulimit -v 3000000 && exec \"$0\" {arguments}")])
        .arg(std::env::current_exe().unwrap())
        .env(WRITE_TO, pool.folder())
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    assert!(pool.file().exists());
}

#[tokio::test]
async fn a_ledger_in_use_is_left_to_its_pool_and_the_second_works_in_memory() {
    let pool = Pool::new();
    let first = pool.open();
    let second = Ledger::open(pool.options());
    assert_eq!(second.state, LedgerState::MemoryOnly);
    assert!(second.message.contains("another pool uses the ledger"), "{}", second.message);
    second.ledger.put_setting("a", "1").await.unwrap();
    assert_eq!(second.ledger.setting("a").unwrap().as_deref(), Some("1"));
    assert_eq!(first.setting("a").unwrap(), None);
}

#[tokio::test]
async fn the_last_handle_dropped_commits_and_closes() {
    let pool = Pool::new();
    let ledger = pool.open();
    let worker = ledger.worker_id("a", "");
    ledger.shares(&[share(NOW, worker, 1.0)]);
    drop(ledger);
    // The writer ends on its own time: until then the folder is taken.
    let again = loop {
        let opened = Ledger::open(pool.options());
        if opened.state == LedgerState::Durable {
            break opened.ledger;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(again.pool_totals().accepted, 1);
}

#[tokio::test]
async fn a_closed_ledger_says_so_and_still_counts() {
    let pool = Pool::new();
    let ledger = pool.open();
    let worker = ledger.worker_id("a", "");
    ledger.close().await.unwrap();
    ledger.shares(&[share(NOW, worker, 1.0)]);
    assert!(ledger.put_setting("a", "1").await.is_err());
    assert!(ledger.blocks(1).is_err() && ledger.flush().await.is_err() && ledger.close().await.is_err());
    assert_eq!(ledger.pool_totals().accepted, 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_means_a_ledger_in_memory_and_a_message() {
    let pool = Pool::new();
    std::fs::write(pool.folder(), "a file where the folder should be").unwrap();
    let mut events = pool.bus.subscribe();
    let opened = Ledger::open(pool.options());
    assert_eq!(opened.state, LedgerState::MemoryOnly);
    assert!(opened.message.contains("cannot be made or written to"), "{}", opened.message);
    let told = events.next().await.unwrap();
    assert_eq!(told.event, Event::LedgerState { state: LedgerState::MemoryOnly, message: opened.message });
    let worker = opened.ledger.worker_id("a", "");
    opened.ledger.shares(&[share(NOW, worker, 1.0)]);
    opened.ledger.flush().await.unwrap();
    assert_eq!(opened.ledger.raw_shares(None, 0).unwrap().len(), 1);
}

#[tokio::test]
async fn asked_for_memory_only_the_file_is_not_touched() {
    let pool = Pool::new();
    let ledger = pool.open();
    ledger.put_setting("a", "1").await.unwrap();
    ledger.close().await.unwrap();
    let before = std::fs::read(pool.file()).unwrap();
    let opened = Ledger::open(Options { memory_only: true, ..pool.options() });
    assert_eq!(opened.state, LedgerState::MemoryOnly);
    assert_eq!(opened.ledger.setting("a").unwrap(), None);
    opened.ledger.put_setting("a", "2").await.unwrap();
    opened.ledger.close().await.unwrap();
    assert_eq!(std::fs::read(pool.file()).unwrap(), before);
    assert_eq!(pool.open().setting("a").unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn blocks_settings_and_audit_are_read_as_written_newest_first() {
    let pool = Pool::new();
    let ledger = pool.open();
    for height in [5, 300, 70_000, 2] {
        ledger.put_block(&block(height, height as u8)).await.unwrap();
    }
    let mature = BlockRow { fate: BlockFate::Mature, confirmations: 100, ..block(300, 44) };
    ledger.put_block(&mature).await.unwrap();
    for (name, text) in [("b", "2"), ("a", "1"), ("c", "3")] {
        ledger.put_setting(name, text).await.unwrap();
    }
    ledger.put_setting("a", "one").await.unwrap();
    ledger.delete_setting("c").await.unwrap();
    for n in 0..3 {
        // All in one millisecond: none writes over another.
        ledger.audit(audit(NOW, &n.to_string())).await.unwrap();
    }
    ledger.close().await.unwrap();

    let ledger = pool.open();
    let heights = |most| ledger.blocks(most).unwrap().iter().map(|block| block.height).collect::<Vec<_>>();
    assert_eq!(heights(usize::MAX), [70_000, 300, 5, 2]);
    assert_eq!(heights(2), [70_000, 300]);
    assert_eq!(ledger.blocks(2).unwrap()[1], mature);
    let settings: Vec<_> = ledger.settings().unwrap().into_iter().collect();
    assert_eq!(settings, [("a".into(), "one".into()), ("b".into(), "2".into())]);
    // The process's counter begins anew; rows of the same millisecond stay.
    ledger.audit(audit(NOW, "3")).await.unwrap();
    let what: Vec<_> = ledger.audit_rows(NOW..NOW + 1, 9).unwrap().into_iter().map(|row| row.what).collect();
    assert_eq!(what, ["3", "2", "1", "0"]);
    assert!(ledger.audit_rows(0..NOW, 9).unwrap().is_empty());
}

#[tokio::test]
async fn settings_too_long_are_refused_and_audit_texts_cut() {
    let pool = Pool::new();
    let ledger = pool.open();
    assert!(ledger.put_setting(&"n".repeat(401), "").await.is_err());
    assert!(ledger.put_setting("n", &"x".repeat((1 << 20) + 1)).await.is_err());
    ledger.put_setting(&"n".repeat(400), &"x".repeat(1 << 20)).await.unwrap();
    ledger.audit(warppool_ledger::AuditRow { details: "ä".repeat(1 << 20), ..audit(NOW, "x") }).await.unwrap();
    assert_eq!(ledger.audit_rows(0..u64::MAX, 1).unwrap()[0].details.len(), 4096);
    assert_eq!(ledger.settings().unwrap().len(), 1);
}

#[tokio::test]
async fn block_notify_times_keep_the_last_thousand() {
    let pool = Pool::new();
    let sample = |n: u64| warppool_ledger::NotifySample {
        at_ms: NOW + n,
        height: n as u32,
        miners: 3,
        first_ms: 0.5,
        last_ms: n as f64,
    };
    let ledger = pool.open();
    (0..1500).for_each(|n| ledger.notify_sample(sample(n)));
    ledger.close().await.unwrap();
    let ledger = pool.open();
    let check = |ledger: &Ledger, first| {
        let samples = ledger.notify_samples();
        assert_eq!((samples.len(), samples[0]), (1000, sample(first)));
        assert_eq!(ledger.notify_summary().p50_ms.to_bits(), ((first + 499) as f64).to_bits());
    };
    check(&ledger, 500);
    (1500..1510).for_each(|n| ledger.notify_sample(sample(n)));
    ledger.close().await.unwrap();
    check(&pool.open(), 510);
}
