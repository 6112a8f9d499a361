//! The pool is stopped, and killed, and comes back: miners find their difficulty again, nothing that was counted is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::EASY;
use crate::miner::{Budget, Miner, MinerOptions, Persona};
use crate::node::{Options, SimNode};
use crate::scenario::child::Pool;
use crate::scenario::crew::address;
use crate::scenario::setup::Setup;
use crate::scenario::stage::{Stage, until};

/// None of them asks for a difficulty of its own.
const PERSONAS: [Persona; 4] = [Persona::Cpuminer, Persona::Whatsminer, Persona::AvalonQ, Persona::Cpuminer];
const SOON: Duration = Duration::from_secs(20);

/// What is to outlive a restart.
#[derive(Debug)]
struct Kept {
    accepted: f64,
    /// Of each worker.
    shares: BTreeMap<String, u64>,
    blocks: Vec<String>,
    difficulties: BTreeMap<String, f64>,
}

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: EASY, ..Options::default() }).await?;
    let data = stage.dir().join("data");
    let mut setup = Setup::new(&node)
        .set("vardiff.min_diff", "1e-9")
        .set("vardiff.max_diff", "1e-6")
        .set("vardiff.initial_diff", "1e-9")
        .set("vardiff.target_seconds_per_share", "0.2")
        .set("stratum.job_keepalive_seconds", 1);
    setup.data = Some(data);
    let pool = stage.pool(setup.clone()).await?;
    // Miners come back to where they were.
    let setup = setup.text("stratum.listen", pool.plain().to_string());
    let stop = CancellationToken::new();
    let miners: Vec<Miner> = (0..PERSONAS.len()).map(|n| start(&pool, n, &stop)).collect();
    for miner in &miners {
        let raised = miner.wait_for(SOON, |stats| stats.difficulty > 1e-8 && stats.accepted > 20).await;
        raised.map_err(|stats| anyhow::anyhow!("a miner's difficulty stays at {}", stats.difficulty))?;
    }
    until(SOON, "a block", || async { pool.shows("/blocks_found").await.as_u64() >= Some(1) }).await?;

    let before = kept(&pool).await?;
    stage.stop(pool).await;
    let pool = stage.pool(setup.clone()).await?;
    back(stage, &pool, &miners, &before, "a stop").await?;

    // What came since the last commit may be lost: a second or two here.
    let before = kept(&pool).await?;
    sleep(Duration::from_millis(2_500)).await;
    pool.kill().await?;
    let pool = stage.pool(setup).await?;
    back(stage, &pool, &miners, &before, "a kill").await?;

    for miner in miners {
        let stats = miner.stop().await;
        if let Some(violation) = stats.violations.first() {
            stage.check(false, format!("a miner cannot bear it: {violation}"));
        }
    }
    stage.stop(pool).await;
    Ok(())
}

fn start(pool: &Pool, n: usize, stop: &CancellationToken) -> Miner {
    let options = MinerOptions {
        budget: Budget::HashesPerSecond(500.0 * (n + 1) as f64),
        seed: n as u64 + 1,
        acceleration: 30.0,
        ..MinerOptions::new(pool.plain().to_string(), format!("{}.{n}", address(n as u8)), PERSONAS[n])
    };
    Miner::start(options, stop)
}

async fn kept(pool: &Pool) -> Result<Kept> {
    let workers = pool.get("/api/workers").await?;
    let workers = workers["workers"].as_array().context("/api/workers has no workers")?.clone();
    let named = |worker: &Value| worker["name"].as_str().unwrap_or_default().to_owned();
    let blocks = pool.get("/api/blocks").await?;
    let blocks = blocks["blocks"].as_array().context("/api/blocks has no blocks")?.clone();
    Ok(Kept {
        accepted: pool.metric("warppool_shares_accepted_total").await?,
        shares: workers.iter().map(|w| (named(w), w["accepted"].as_u64().unwrap_or(0))).collect(),
        difficulties: workers.iter().map(|w| (named(w), w["difficulty"].as_f64().unwrap_or(0.0))).collect(),
        blocks: blocks.iter().filter_map(|block| block["hash"].as_str().map(str::to_owned)).collect(),
    })
}

/// Waits until all are at work again and compares.
async fn back(stage: &mut Stage, pool: &Pool, miners: &[Miner], before: &Kept, after: &str) -> Result<()> {
    let here = until(SOON, "every miner at work again", || async {
        pool.shows("/miners").await == miners.len() && miners.iter().all(|miner| miner.stats().authorized)
    });
    stage.happened(here.await, format!("after {after} all {} miners are back", miners.len()));
    let first: Vec<f64> = miners.iter().map(|miner| miner.stats().difficulty).collect();
    let lowest = first.iter().copied().fold(f64::INFINITY, f64::min);
    let was = before.difficulties.values().copied().fold(f64::INFINITY, f64::min);
    // Vardiff may have taken a step since.
    stage.check(
        lowest >= was / 5.0 && lowest > 2e-9,
        format!("their difficulties are kept: the lowest was {was:.2e} and is {lowest:.2e} (they begin with 1e-9)"),
    );
    let now = kept(pool).await?;
    let lost: Vec<_> =
        before.shares.iter().filter(|(name, count)| now.shares.get(*name).is_none_or(|now| now < count)).collect();
    stage.check(
        lost.is_empty() && now.accepted >= before.accepted,
        format!(
            "statistics are kept: {} shares before, {} now; workers that lost some: {lost:?}",
            before.accepted, now.accepted
        ),
    );
    let gone = before.blocks.iter().filter(|hash| !now.blocks.contains(hash)).count();
    stage.check(
        gone == 0,
        format!("{} blocks found before are still listed, {gone} are not", before.blocks.len() - gone),
    );
    let counts: Vec<u64> = miners.iter().map(|miner| miner.stats().accepted).collect();
    let on = until(SOON, "new shares", || async {
        miners.iter().zip(&counts).all(|(miner, count)| miner.stats().accepted > count + 2)
    });
    stage.happened(on.await, "and every miner has new shares accepted");
    Ok(())
}
