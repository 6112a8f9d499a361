//! A ledger in a folder of its own with a clock that the test moves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use warppool_events::{BlockFate, Bus, LedgerState};
use warppool_ledger::{
    AuditRow, BlockRow, Checker, Clock, Ledger, Opened, Options, Outcome, Payout, Reason, ShareRow, WorkerId,
};

/// 2023-11-14, 22:00 UTC: the start of an hour.
pub(crate) const NOW: u64 = 1_699_999_200_000;
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) struct Pool {
    pub(crate) dir: TempDir,
    pub(crate) bus: Bus,
    now_ms: Arc<AtomicU64>,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), bus: Bus::new(), now_ms: Arc::new(NOW.into()) }
    }

    pub(crate) fn set_clock(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join("data.mdb")
    }

    /// Commits only when told to.
    pub(crate) fn options(&self) -> Options {
        let now_ms = Arc::clone(&self.now_ms);
        Options {
            commit_every: Duration::from_hours(1),
            map_size: 1 << 30,
            clock: Clock::new(move || now_ms.load(Ordering::Relaxed)),
            checker: Checker::InProcess,
            ..Options::new(self.folder(), self.bus.clone())
        }
    }

    pub(crate) fn open(&self) -> Ledger {
        let Opened { ledger, state, message } = Ledger::open(self.options());
        assert_eq!((state, message.as_str()), (LedgerState::Durable, ""));
        ledger
    }

    /// Files that were set aside.
    pub(crate) fn aside(&self) -> usize {
        let names = std::fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("aside")).count()
    }
}

pub(crate) fn share(at_ms: u64, worker: WorkerId, difficulty: f64) -> ShareRow {
    ShareRow { at_ms, worker, difficulty, actual: difficulty * 1.5, outcome: Outcome::Accepted }
}

pub(crate) fn reject(at_ms: u64, worker: WorkerId, reason: Reason) -> ShareRow {
    ShareRow { outcome: Outcome::Rejected(reason), ..share(at_ms, worker, 1.0) }
}

pub(crate) fn block(height: u32, tag: u8) -> BlockRow {
    BlockRow {
        hash: [tag; 32],
        height,
        at_ms: NOW,
        worker: "bc1qx.rig".into(),
        address: "bc1qx".into(),
        value_sat: 312_500_000,
        fate: BlockFate::Pending,
        confirmations: 0,
        network_difficulty: 1e14,
        difficulty: 2e14,
        payouts: vec![Payout { address: "bc1qx".into(), value_sat: 312_500_000 }],
    }
}

pub(crate) fn audit(at_ms: u64, what: &str) -> AuditRow {
    let text = |text: &str| text.to_owned();
    AuditRow {
        at_ms,
        who: text("admin"),
        what: text(what),
        target: text("payout"),
        from: text("192.168.1.2"),
        result: text("done"),
        details: text("{}"),
    }
}

/// Something of everything, committed with a checkpoint by closing.
pub(crate) async fn fill(ledger: &Ledger) {
    for n in 0..20 {
        let worker = ledger.worker_id(&format!("bc1qx.rig{n}"), "bitaxe/1.0");
        let rows: Vec<_> = (0..200).map(|s| share(NOW + s * 7000, worker, 512.0 + s as f64)).collect();
        ledger.shares(&rows);
    }
    for n in 0..30 {
        ledger.put_block(&block(840_000 + n, n as u8)).await.unwrap();
        ledger.audit(audit(NOW + u64::from(n), "login")).await.unwrap();
        ledger.put_setting(&format!("setting-{n}"), &"x".repeat(n as usize * 200)).await.unwrap();
    }
    ledger.flush().await.unwrap();
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
