//! A file that is cut, flipped, deleted, replaced, or of a later release: the ledger is always usable, and says what it found.

use std::ffi::OsString;
use std::path::Path;

use warppool_events::LedgerState;
use warppool_ledger::{Checker, Ledger, Options, Resolution, check};

use crate::pool::{NOW, Pool, block, copy_folder, fill, share};

/// Not a test: what the checker's child process runs, with the ledger's folder as its last argument.
#[test]
#[ignore = "started by other tests"]
fn a_child_that_checks() {
    let last = std::env::args_os().next_back().unwrap();
    if Path::new(&last).is_absolute()
        && let Err(damage) = check::walk(Path::new(&last))
    {
        eprintln!("{damage}");
        std::process::exit(3);
    }
}

fn child() -> Checker {
    let arguments = ["--ignored", "--exact", "--nocapture", "damage::a_child_that_checks"].map(OsString::from);
    Checker::Command(std::env::current_exe().unwrap(), arguments.to_vec())
}

/// A ledger with something of everything, closed; and the length of its file.
async fn filled() -> (Pool, usize) {
    let pool = Pool::new();
    let ledger = pool.open();
    fill(&ledger).await;
    ledger.close().await.unwrap();
    let length = std::fs::metadata(pool.file()).unwrap().len() as usize;
    (pool, length)
}

/// The ledger must work whatever its file was: everything can be written, and is there after a restart.
async fn works(pool: &Pool, ledger: &Ledger) {
    let worker = ledger.worker_id("after.1", "");
    ledger.shares(&[share(NOW, worker, 1.0)]);
    ledger.put_block(&block(900_000, 99)).await.unwrap();
    ledger.flush().await.unwrap();
    assert_eq!(ledger.blocks(1).unwrap()[0].height, 900_000);
    assert!(!ledger.hashrate(Some(worker), 0..u64::MAX, Resolution::Hour).unwrap().is_empty());
    ledger.close().await.unwrap();
    let again = Ledger::open(Options { checker: Checker::InProcess, ..pool.options() });
    assert_eq!((again.state, again.message.as_str()), (LedgerState::Durable, ""));
    assert_eq!(again.ledger.blocks(1).unwrap()[0].height, 900_000);
    again.ledger.close().await.unwrap();
}

#[tokio::test]
async fn the_child_is_content_with_a_whole_ledger() {
    let (pool, _) = filled().await;
    let opened = Ledger::open(Options { checker: child(), ..pool.options() });
    assert_eq!((opened.state, opened.message.as_str()), (LedgerState::Durable, ""));
    assert_eq!(opened.ledger.pool_totals().accepted, 4000);
}

#[tokio::test]
async fn a_file_cut_anywhere_is_set_aside_and_what_can_be_read_is_rescued() {
    let (whole, length) = filled().await;
    let cuts =
        (0..=length).step_by(length / 25).chain([1, 100, 4095, 4096, 8191, 8192, 8193, length - 1, length - 4096]);
    for (round, cut) in cuts.enumerate() {
        let pool = Pool::new();
        copy_folder(&whole.folder(), &pool.folder());
        std::fs::File::options().write(true).open(pool.file()).unwrap().set_len(cut as u64).unwrap();
        // A child for some; it is slow to start. Both run the same walk.
        let checker = if round % 5 == 0 { child() } else { Checker::InProcess };
        let opened = Ledger::open(Options { checker, ..pool.options() });
        assert_eq!(opened.state, LedgerState::Durable, "cut at {cut}: {}", opened.message);
        let is_whole = opened.ledger.pool_totals().accepted == 4000 && opened.message.is_empty();
        assert_eq!(pool.aside(), usize::from(!is_whole && cut > 0), "cut at {cut}");
        assert!(cut >= length || cut == 0 || !opened.message.is_empty() || is_whole);
        works(&pool, &opened.ledger).await;
    }
}

#[tokio::test]
async fn two_hundred_flipped_bits_one_at_a_time_never_stop_it_and_never_lie() {
    let (whole, length) = filled().await;
    let original = std::fs::read(whole.file()).unwrap();
    let reference = whole.open();
    let (blocks, settings) = (reference.blocks(usize::MAX).unwrap(), reference.settings().unwrap());
    reference.close().await.unwrap();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut noticed = 0;
    for round in 0..200 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Every tenth hits the headers, which matter most and are small.
        let bit = random as usize % if round % 10 == 0 { 2 * 4096 * 8 } else { length * 8 };
        let pool = Pool::new();
        copy_folder(&whole.folder(), &pool.folder());
        let mut bytes = original.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(pool.file(), &bytes).unwrap();
        let opened = Ledger::open(Options { checker: child(), ..pool.options() });
        assert_eq!(opened.state, LedgerState::Durable, "bit {bit}: {}", opened.message);
        let ledger = opened.ledger;
        if opened.message.is_empty() {
            // Unnoticed: it hit nothing that is in use.
            assert_eq!(ledger.pool_totals().accepted, 4000, "bit {bit}");
            assert_eq!(ledger.blocks(usize::MAX).unwrap(), blocks, "bit {bit}");
            assert_eq!(ledger.settings().unwrap(), settings, "bit {bit}");
        } else {
            noticed += 1;
            assert_eq!(pool.aside(), 1);
            // Something is lost, nothing is invented.
            assert!(ledger.blocks(usize::MAX).unwrap().iter().all(|block| blocks.contains(block)), "bit {bit}");
            assert!(
                ledger.settings().unwrap().iter().all(|(name, text)| settings.get(name) == Some(text)),
                "bit {bit}"
            );
            assert!(ledger.pool_totals().accepted <= 4000, "bit {bit}");
        }
        ledger.put_block(&block(900_000, 99)).await.unwrap();
        assert_eq!(ledger.blocks(1).unwrap()[0].height, 900_000);
        if round % 20 == 0 {
            works(&pool, &ledger).await;
        }
    }
    assert!(noticed > 20, "only {noticed} of 200 flips were noticed");
}

#[tokio::test]
async fn a_flipped_bit_in_a_value_loses_that_record_and_the_rest_is_rescued() {
    let (pool, _) = filled().await;
    let mut bytes = std::fs::read(pool.file()).unwrap();
    // Within the value of one setting, in every copy of its page that the file holds.
    let key = b"ssetting-7";
    let places: Vec<_> = (0..bytes.len() - 80)
        .filter(|&at| bytes[at..].starts_with(key) && bytes[at + 40..].starts_with(&[b'x'; 40]))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 40] ^= 1;
    }
    std::fs::write(pool.file(), &bytes).unwrap();
    let opened = Ledger::open(pool.options());
    assert!(opened.message.contains("set aside"), "{}", opened.message);
    assert_eq!(opened.ledger.settings().unwrap().len(), 29);
    assert_eq!(opened.ledger.blocks(usize::MAX).unwrap().len(), 30);
    assert_eq!(opened.ledger.pool_totals().accepted, 4000);
}

#[tokio::test]
async fn a_root_page_overwritten_costs_no_record() {
    let (pool, _) = filled().await;
    let mut bytes = std::fs::read(pool.file()).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    // The header with the later transaction, and the root of its second tree.
    let header = if number(144) > number(4096 + 144) { 0 } else { 4096 };
    let root = number(header + 128) as usize * 4096;
    assert_eq!(bytes[root + 10], 1, "a tree this large has a branch at its root");
    bytes[root..root + 4096].fill(0xa5);
    std::fs::write(pool.file(), &bytes).unwrap();
    let opened = Ledger::open(Options { checker: child(), ..pool.options() });
    assert!(opened.message.contains("set aside"), "{}", opened.message);
    assert_eq!(opened.ledger.settings().unwrap().len(), 30);
    assert_eq!(opened.ledger.blocks(usize::MAX).unwrap().len(), 30);
    assert_eq!(opened.ledger.pool_totals().accepted, 4000);
    assert_eq!(opened.ledger.hashrate(None, 0..u64::MAX, Resolution::Day).unwrap()[0].tally.accepted, 4000);
}

#[tokio::test]
async fn only_a_few_damaged_files_are_kept() {
    let pool = Pool::new();
    for n in 0..6 {
        let ledger = Ledger::open(pool.options()).ledger;
        ledger.close().await.unwrap();
        std::fs::write(pool.file(), format!("no ledger {n}")).unwrap();
    }
    let opened = Ledger::open(pool.options());
    assert_eq!(opened.state, LedgerState::Durable);
    assert_eq!(pool.aside(), 3);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_deleted_while_in_use_is_written_anew_with_everything() {
    let pool = Pool::new();
    let ledger = pool.open();
    fill(&ledger).await;
    let mut events = pool.bus.subscribe();
    std::fs::remove_dir_all(pool.folder()).unwrap();
    works(&pool, &ledger).await;
    let told = events.next().await.unwrap();
    assert!(format!("{told:?}").contains("written anew"), "{told:?}");
    assert_eq!(pool.open().blocks(usize::MAX).unwrap().len(), 31);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_replaced_while_in_use_is_set_aside_for_our_own() {
    let pool = Pool::new();
    let ledger = pool.open();
    fill(&ledger).await;
    std::fs::write(pool.folder().join("other"), "another file").unwrap();
    std::fs::rename(pool.folder().join("other"), pool.file()).unwrap();
    works(&pool, &ledger).await;
    assert_eq!(pool.aside(), 1);
    assert_eq!(pool.open().settings().unwrap().len(), 30);
}

#[tokio::test]
async fn a_file_cut_while_in_use_is_noticed_before_it_is_touched() {
    let pool = Pool::new();
    let ledger = pool.open();
    fill(&ledger).await;
    let mut events = pool.bus.subscribe();
    std::fs::File::options().write(true).open(pool.file()).unwrap().set_len(8192).unwrap();
    works(&pool, &ledger).await;
    let told = events.next().await.unwrap();
    assert!(format!("{told:?}").contains("was cut"), "{told:?}");
    let again = pool.open();
    assert_eq!(again.worker("bc1qx.rig7").unwrap().totals.accepted, 200, "what is in memory outlives the file");
    assert_eq!(again.pool_totals().accepted, 4001);
}
