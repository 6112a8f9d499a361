//! The chain goes another way, and takes a block of ours with it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use super::HARD;
use crate::node::{Options, SimNode};
use crate::scenario::crew::{Crew, Shape, finder};
use crate::scenario::http::Events;
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const SOON: Duration = Duration::from_secs(10);
const FINDING: Duration = Duration::from_secs(40);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: HARD, initial_blocks: 5, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node).by_password()).await?;
    let mut events = Events::open(pool.page()).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();

    let ours = find(&pool, &mut events, "first").await?;
    stage.check(true, format!("block {ours} is ours and in the chain"));
    let gone = node.faults().reorg(2)?;
    stage.check(
        gone.iter().any(|hash| hash.to_string() == ours),
        format!("{} blocks are rolled back, ours among them", gone.len()),
    );
    let tip = node.tip().to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "every miner works on the new branch");
    let told = events.wait_for("block_fate", SOON, |event| event["hash"] == *ours && event["fate"] == "orphaned").await;
    stage.check(told.is_ok(), "/api/events tells that our block is orphaned");
    let blocks = pool.get("/api/blocks").await?;
    stage.check(
        blocks.pointer("/blocks/0/fate").is_some_and(|fate| fate == "orphaned"),
        format!("/api/blocks shows it as {}", blocks.pointer("/blocks/0/fate").unwrap_or(&blocks)),
    );
    let again = find(&pool, &mut events, "second").await?;
    let height = node.blocks().iter().find(|block| block.hash.to_string() == again).map(|block| block.height);
    stage.check(
        height.is_some(),
        format!("a block found on the new branch is accepted at height {}", height.unwrap_or(0)),
    );
    stage.happened(crew.more(3, SOON).await, "every miner has shares accepted");
    crew.judge(stage, &begin, "through the reorganisation");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}

/// Lets a miner find a block and waits until it is in the chain; gives its hash.
async fn find(pool: &crate::scenario::child::Pool, events: &mut Events, worker: &str) -> Result<String> {
    let stop = CancellationToken::new();
    let miner = finder(pool.plain(), worker, 400_000.0, 2e-4, &stop);
    let by_it = |event: &serde_json::Value| event["worker"].as_str().is_some_and(|name| name.ends_with(worker));
    let found = events.wait_for("block_found", FINDING, by_it).await;
    miner.stop().await;
    let hash = found?["hash"].as_str().context("block_found has no hash")?.to_owned();
    events
        .wait_for("block_fate", SOON, |event| event["hash"] == *hash && event["fate"] == "confirmed")
        .await
        .context("the block is not told to be in the chain")?;
    Ok(hash)
}
