//! A day of a small pool in a minute: prints how much the ledger's process wrote, as the kernel counts it.
//!
//! `cargo run --release -p warppool-ledger --example sectors [FOLDER [MINERS [WARM_DAYS]]]`. The folder must lie on a real file
//! system; its journal is not in the figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use warppool_events::Bus;
use warppool_ledger::{Checker, Clock, Ledger, NotifySample, Options, Outcome, ShareRow, VardiffState, WorkerId};

const MINUTES_A_DAY: u64 = 1440;
const SHARES_A_MINUTE: u64 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| std::env::temp_dir().join("warppool-sectors"), Into::into);
    let miners = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let warm_days: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;

    let now_ms = Arc::new(AtomicU64::new(1_700_000_000_000));
    let clock = Arc::clone(&now_ms);
    let options = Options {
        commit_every: Duration::from_hours(24),
        clock: Clock::new(move || clock.load(Ordering::Relaxed)),
        checker: Checker::None,
        ..Options::new(&folder, Bus::new())
    };
    let ledger = Ledger::open(options).ledger;
    ledger.set_clock_trusted(true);
    let workers: Vec<_> = (0..miners).map(|n| ledger.worker_id(&format!("bc1qexample.rig{n}"), "bitaxe/2.9")).collect();

    for day in 0..warm_days {
        live_a_day(&ledger, &workers, &now_ms, day).await?;
    }
    let (before, started) = (written()?, Instant::now());
    live_a_day(&ledger, &workers, &now_ms, warm_days).await?;
    let wrote = (written()? - before) as f64 / f64::from(1 << 20);
    let stats = ledger.stats();
    println!(
        "{miners} miners at {SHARES_A_MINUTE} shares a minute, a commit every minute: {wrote:.1} MiB a day; \
         file {:.1} MiB; {:.2} ms a commit",
        stats.bytes as f64 / f64::from(1 << 20),
        started.elapsed().as_secs_f64() * 1000.0 / MINUTES_A_DAY as f64,
    );
    ledger.close().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

async fn live_a_day(ledger: &Ledger, workers: &[WorkerId], now_ms: &AtomicU64, day: u64) -> anyhow::Result<()> {
    for minute in 0..MINUTES_A_DAY {
        let start = now_ms.fetch_add(60_000, Ordering::Relaxed);
        for (n, worker) in (0..).zip(workers) {
            let row = |share: u64| {
                let at_ms = start + share * 29_000 + n * 977 % 25_000;
                // A hash this lucky comes once in so many: the best shares improve ever more seldom.
                let luck = 2_654_435_761_u64.wrapping_mul(at_ms ^ n << 7) >> 11;
                let actual = 1024.0 * f64::from(u32::MAX) / f64::from((luck as u32).max(1));
                ShareRow { at_ms, worker: *worker, difficulty: 1024.0, actual, outcome: Outcome::Accepted }
            };
            let rows: Vec<_> = (0..SHARES_A_MINUTE).map(row).collect();
            ledger.shares(&rows);
            ledger.set_vardiff(*worker, VardiffState { difficulty: 1024.0, rate: 34.0, updated_ms: start });
        }
        if minute % 10 == 0 {
            let height = (day * 144 + minute / 10) as u32;
            ledger.notify_sample(NotifySample { at_ms: start, height, miners: 20, first_ms: 0.3, last_ms: 1.5 });
        }
        ledger.flush().await?;
    }
    Ok(())
}

/// Bytes this process has caused to be written to storage, as Linux counts them.
fn written() -> anyhow::Result<u64> {
    let counters = std::fs::read_to_string("/proc/self/io").context("this figure needs Linux")?;
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.parse()?)
}
