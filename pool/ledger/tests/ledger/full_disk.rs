//! A full disk pauses statistics; nothing else stops, and nothing counted is lost while the pool runs.

use std::path::Path;
use std::process::Command;

use warppool_events::{Event, LedgerState};
use warppool_ledger::{Ledger, LedgerError, Opened, Options, Resolution};

use crate::pool::{MINUTE, NOW, Pool, block, share};

#[tokio::test]
async fn when_the_reserved_space_is_used_up_statistics_pause_and_counting_goes_on() {
    let pool = Pool::new();
    let opened = Ledger::open(Options { map_size: 256 << 10, ..pool.options() });
    let ledger = opened.ledger;
    let mut events = pool.bus.subscribe();
    let mut refused = None;
    for n in 0..100 {
        let result = ledger.put_setting(&n.to_string(), &"x".repeat(8000)).await;
        if let Err(error) = result {
            refused = Some((n, error));
            break;
        }
    }
    let (n, error) = refused.unwrap();
    assert!(matches!(&error, LedgerError::NotDurable(why) if why.contains("map size")), "{error}");
    assert!(ledger.setting(&n.to_string()).unwrap().is_some(), "readers see what is owed");
    assert_eq!(ledger.stats().state, LedgerState::StatisticsPaused);
    let told = events.next().await.unwrap();
    assert!(matches!(told.event, Event::LedgerState { state: LedgerState::StatisticsPaused, .. }), "{told:?}");
    let worker = ledger.worker_id("a", "");
    for n in 0..10 {
        ledger.shares(&[share(NOW, worker, 1.0)]);
        pool.set_clock(NOW + n * 5 * MINUTE);
        assert!(ledger.flush().await.is_err());
    }
    assert_eq!(ledger.hashrate(Some(worker), 0..u64::MAX, Resolution::Day).unwrap()[0].tally.accepted, 10);
    assert!(ledger.put_block(&block(1, 1)).await.is_err());
    assert_eq!(ledger.blocks(1).unwrap()[0].height, 1);
    let _ = ledger.close().await;
    // With more space reserved, it goes on where it could last write.
    let ledger = pool.open();
    assert_eq!(ledger.settings().unwrap().len(), n);
}

/// A file system of its own, of a few hundred kilobytes; `None` where the test may not mount one.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=512k", "warppool-test"];
        let mounted = Command::new("mount").args(arguments).arg(at).output().is_ok_and(|done| done.status.success());
        mounted.then_some(Self(at))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_full_disk_statistics_pause_and_resume_by_themselves_when_there_is_space() {
    let pool = Pool::new();
    let folder = pool.folder();
    let Some(_mounted) = Tmpfs::mount(&folder) else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let Opened { ledger, state, message } = Ledger::open(pool.options());
    assert_eq!((state, message.as_str()), (LedgerState::Durable, ""));
    let worker = ledger.worker_id("a", "");
    ledger.shares(&[share(NOW, worker, 1.0)]);
    ledger.flush().await.unwrap();
    // Somebody else fills the disk.
    let filler = folder.join("filler");
    let mut size = 1 << 20;
    while size >= 512 {
        let mut bytes = std::fs::read(&filler).unwrap_or_default();
        bytes.resize(bytes.len() + size, 0);
        if std::fs::write(&filler, &bytes).is_err() {
            bytes.truncate(bytes.len() - size);
            let _ = std::fs::write(&filler, &bytes);
            size /= 2;
        }
    }
    let mut events = pool.bus.subscribe();
    for n in 0..40 {
        ledger.shares(&vec![share(NOW + n * 1000, worker, 1.0); 2000]);
        let _ = ledger.flush().await;
    }
    assert_eq!(ledger.stats().state, LedgerState::StatisticsPaused);
    let refused = ledger.put_setting("big", &"x".repeat(200_000)).await;
    assert!(matches!(refused, Err(LedgerError::NotDurable(_))), "{refused:?}");
    assert_eq!(ledger.pool_totals().accepted, 80_001);

    std::fs::remove_file(filler).unwrap();
    ledger.flush().await.unwrap();
    assert_eq!(ledger.stats().state, LedgerState::Durable);
    assert_eq!(ledger.stats().owed, 0);
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Event::LedgerState { state, .. } = events.next().await.unwrap().event {
            told.push(state);
        }
    }
    assert_eq!(told, [LedgerState::StatisticsPaused, LedgerState::Durable]);
    ledger.close().await.unwrap();
    let ledger = pool.open();
    assert_eq!(ledger.pool_totals().accepted, 80_001);
    assert_eq!(ledger.setting("big").unwrap().unwrap().len(), 200_000);
    assert_eq!(ledger.hashrate(None, 0..u64::MAX, Resolution::Day).unwrap()[0].tally.accepted, 80_001);
    ledger.close().await.unwrap();
}
