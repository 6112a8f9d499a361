//! ZMQ gone: new blocks are noticed by long poll, the operator is told, and ZMQ is taken up again.

use std::time::Duration;

use anyhow::Result;

use crate::node::{Options, SimNode};
use crate::scenario::crew::{Crew, Shape};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;
use crate::scenario::stories::OUT_OF_REACH;

const SOON: Duration = Duration::from_secs(10);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node)).await?;
    let connected = |state: &serde_json::Value| state == "connected";
    stage.happened(pool.will_show(SOON, "/nodes/0/zmq/state", connected).await, "ZMQ is connected");
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();
    let tip = node.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "a tip reaches every miner");

    node.faults().zmq_skip(2);
    for _ in 0..3 {
        let tip = node.mine_block().await.to_string();
        crew.on_tip(&tip, SOON).await?;
    }
    let two = |lost: &serde_json::Value| *lost == 2;
    stage
        .happened(pool.will_show(SOON, "/nodes/0/zmq/lost", two).await, "two announcements get lost: both are counted");

    node.faults().zmq_down().await;
    stage.happened(
        pool.will_show(SOON, "/nodes/0/zmq/state", |s| s == "down").await,
        "ZMQ is gone: it is shown as down",
    );
    let tip = node.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "a tip reaches every miner without it");
    let told = pool.log().wait_for("no block news by ZMQ", Duration::from_secs(20)).await;
    stage.check(told.is_ok(), "the operator is warned when it stays away");

    node.faults().zmq_up().await?;
    stage.happened(pool.will_show(SOON, "/nodes/0/zmq/state", connected).await, "ZMQ is back and connected");
    let announced = pool.shows("/nodes/0/zmq/announced").await.as_u64().unwrap_or(0);
    let tip = node.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "a tip reaches every miner");
    let more = pool.will_show(SOON, "/nodes/0/zmq/announced", |now| now.as_u64() > Some(announced)).await;
    stage.happened(more, "announced by ZMQ again");
    crew.judge(stage, &begin, "through all of it");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}
