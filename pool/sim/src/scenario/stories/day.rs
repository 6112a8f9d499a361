//! A day of a home pool without its pauses: all its shares, blocks and templates, and memory that does not grow.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, timeout};

use super::OUT_OF_REACH;
use crate::miner::Persona;
use crate::node::{Options, SimNode};
use crate::scenario::child::Pool;
use crate::scenario::crew::{Crew, Shape};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const MINERS: usize = 20;
/// Two a minute of each miner.
const SHARES: u64 = 57_600;
const TIPS: u32 = 144;
/// One every half minute.
const REFRESHES: u32 = 2_880;
/// What the profile small may take, bytes.
const MOST_MEMORY: u64 = 200_000_000;
/// Growth from the first third to the last that is still called flat: what malloc keeps for later, and the ledger's file,
/// whose mapped pages count as resident.
const FLAT: u64 = 8 << 20;
const LONGEST: Duration = Duration::from_secs(110);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, transactions: 100, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node)).await?;
    let shape = Shape {
        miners: MINERS,
        shares_per_second: 110.0,
        personas: Persona::honest().collect(),
        // A day's keep-alives and silences in half a minute would be more than any device does.
        acceleration: 20.0,
        ..Shape::default()
    };
    let crew = Crew::at_work(pool.plain(), &shape).await?;
    let started = Instant::now();
    let begin = crew.standing();
    let memory = day(&node, &pool, &crew, &begin).await;
    let took = started.elapsed();

    let now = crew.standing();
    let accepted = now.sum(|stats| stats.accepted);
    stage.check(
        accepted >= SHARES,
        format!("{accepted} shares accepted, {TIPS} tips and {REFRESHES} templates in {:.0} s", took.as_secs_f64()),
    );
    let jobs = pool.metric("warppool_job_broadcasts_total").await?;
    stage.check(jobs >= f64::from(REFRESHES), format!("{jobs} jobs sent to every miner"));
    crew.judge(stage, &begin, "through the day");
    let (commits, failed) = (
        pool.metric("warppool_ledger_commits_total").await?,
        pool.metric("warppool_ledger_commits_failed_total").await?,
    );
    stage.check(commits >= 5.0 && failed == 0.0, format!("the ledger commits {commits} times, {failed} fail"));
    crew.stop().await;
    // Counted when they are committed at the latest.
    let wanted = now.sum(|stats| stats.accepted) as f64;
    let kept = pool.metric("warppool_shares_accepted_total").await?;
    stage.check(kept >= wanted, format!("the ledger has counted {kept} shares"));
    judge_memory(stage, &memory);
    stage.stop(pool).await;
    Ok(())
}

/// Lives the day; gives the resident memory over its course.
async fn day(node: &SimNode, pool: &Pool, crew: &Crew, begin: &crate::scenario::crew::Standing) -> Vec<u64> {
    let mut memory = Vec::new();
    let mut first = crew.miners()[0].watch();
    let started = Instant::now();
    let rate_of = |done: u64| f64::from(REFRESHES) * done as f64 / SHARES as f64;
    for refresh in 1..=REFRESHES {
        let jobs = first.borrow_and_update().jobs;
        if refresh.is_multiple_of(REFRESHES / TIPS) {
            node.mine_block().await;
        } else {
            node.add_transactions(1).await;
        }
        // The next one when this one is at work: two changes at once would be one template.
        let _ = timeout(Duration::from_secs(2), first.wait_for(|stats| stats.jobs > jobs)).await;
        // Shares and templates are spread over the day alike.
        while started.elapsed() < LONGEST {
            let shares = crew.standing().sum(|s| s.accepted) - begin.sum(|s| s.accepted);
            if rate_of(shares) + 20.0 >= f64::from(refresh) {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        if refresh.is_multiple_of(10) {
            memory.extend(pool.memory().map(|memory| memory.resident));
        }
    }
    while crew.standing().sum(|s| s.accepted) < SHARES && started.elapsed() < LONGEST {
        sleep(Duration::from_millis(20)).await;
    }
    memory
}

fn judge_memory(stage: &mut Stage, memory: &[u64]) {
    if memory.len() < 9 {
        stage.note("this system does not tell the memory of another process");
        return;
    }
    let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len() as u64;
    let third = memory.len() / 3;
    let (early, late) = (mean(&memory[..third]), mean(&memory[memory.len() - third..]));
    let most = memory.iter().copied().max().unwrap_or(0);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    stage.check(
        late <= early + FLAT,
        format!(
            "resident memory stays flat: {:.1} MiB in the first third, {:.1} MiB in the last",
            mib(early),
            mib(late)
        ),
    );
    stage.check(most < MOST_MEMORY, format!("it never exceeds {:.1} MiB (200 MB are allowed)", mib(most)));
}
