//! Two nodes: the second takes over when the first fails, and gives back when it is well again.

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

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let options = Options { bits: HARD, initial_blocks: 5, ..Options::default() };
    let first = SimNode::start(options.clone()).await?;
    let second = SimNode::start(Options { seed: 2, ..options }).await?;
    first.connect(&second, Duration::from_millis(5)).keep();
    let pool = stage.pool(Setup::new(&first).node("second", &second).by_password()).await?;
    let mut events = Events::open(pool.page()).await?;
    let yes = |value: &serde_json::Value| *value == true;
    stage.happened(pool.will_show(SOON, "/nodes/0/active", yes).await, "the first node is mined on");
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();

    first.faults().rpc_down().await;
    stage.happened(pool.will_show(SOON, "/nodes/1/active", yes).await, "the first node dies: the second is mined on");
    let tip = second.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "a tip only the second tells of reaches every miner");
    let stop = CancellationToken::new();
    let miner = finder(pool.plain(), "finder", 400_000.0, 2e-4, &stop);
    let found = events.wait_for("block_found", Duration::from_secs(40), |_| true).await;
    miner.stop().await;
    let hash = found?["hash"].as_str().context("block_found has no hash")?.to_owned();
    let fate = events.wait_for("block_fate", SOON, |e| e["hash"] == *hash && e["fate"] == "confirmed").await;
    let there = second.blocks().iter().any(|block| block.hash.to_string() == hash);
    stage.check(fate.is_ok() && there, "a block found meanwhile is accepted by the second node");

    first.faults().rpc_up().await?;
    let ready = |value: &serde_json::Value| value == "ready";
    stage.happened(pool.will_show(SOON, "/nodes/0/state", ready).await, "the first node is back and shown as ready");
    stage.happened(
        pool.will_show(Duration::from_secs(50), "/nodes/0/active", yes).await,
        "it is mined on again when it has been well for a while",
    );
    let here = first.blocks().iter().any(|block| block.hash.to_string() == hash);
    stage.check(here, "it has the block found meanwhile");
    let tip = first.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "its next tip reaches every miner");
    stage.happened(crew.more(3, SOON).await, "every miner has shares accepted");
    crew.judge(stage, &begin, "through both changes");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}
