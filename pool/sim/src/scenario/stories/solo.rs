//! From a miner's first hash to a block in the chain that pays it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bitcoin::Address;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::EASY;
use crate::miner::{Budget, Miner, MinerOptions, Persona};
use crate::node::{Options, Origin, SimNode};
use crate::scenario::child::Pool;
use crate::scenario::crew::address;
use crate::scenario::http::Events;
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const SOON: Duration = Duration::from_secs(20);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: EASY, ..Options::default() }).await?;
    let setup = ["min", "max", "initial"]
        .into_iter()
        .fold(Setup::new(&node), |setup, which| setup.set(&format!("vardiff.{which}_diff"), "1e-7"));
    let pool = stage.pool(setup).await?;
    let mut events = Events::open(pool.page()).await?;
    let user = format!("{}.bitaxe", address(9));
    let miner = Miner::start(
        MinerOptions {
            // A block every two seconds or so.
            budget: Budget::HashesPerSecond(2_000.0),
            ..MinerOptions::new(pool.plain().to_string(), &user, Persona::BitaxeUltra)
        },
        &CancellationToken::new(),
    );

    let told = events.wait_for("block_found", SOON, |_| true).await?;
    let hash = told["hash"].as_str().context("block_found has no hash")?.to_owned();
    stage.check(told["worker"] == *user, format!("/api/events tells of block {hash} at height {}", told["height"]));
    let fate = events.wait_for("block_fate", SOON, |event| event["hash"] == *hash).await?;
    stage.check(fate["fate"] == "confirmed", format!("its fate is {}", fate["fate"]));

    let submission = node.submissions().into_iter().find(|submission| submission.hash.to_string() == hash);
    let answer = submission.map(|submission| submission.answer.unwrap_or_else(|| "accepted".into()));
    let said = answer.as_deref().unwrap_or("nothing: it never came");
    stage.check(said == "accepted", format!("the node, which validates as Bitcoin Core does, says: {said}"));
    let block = node.blocks().into_iter().find(|block| block.hash.to_string() == hash);
    let block = block.context("the block is not in the node's chain")?;
    let script = address(9).parse::<Address<_>>()?.assume_checked().script_pubkey();
    let paid: u64 = block.coinbase.output.iter().map(|output| output.value.to_sat()).sum();
    let to_miner = block.coinbase.output.iter().find(|output| output.script_pubkey == script);
    stage.check(
        block.origin == Origin::Submitted && to_miner.is_some_and(|output| output.value.to_sat() == paid),
        format!(
            "all of its {paid} satoshis go to the miner's own address; it holds {} transactions",
            block.transactions
        ),
    );

    let blocks = pool.get("/api/blocks").await?;
    let listed = blocks["blocks"].as_array().and_then(|blocks| blocks.iter().find(|block| block["hash"] == *hash));
    let listed = listed.unwrap_or(&Value::Null);
    stage.check(
        listed["address"] == *address(9) && listed["value_sat"] == paid && listed["fate"] == "confirmed",
        format!("/api/blocks lists it: {} satoshis to {}", listed["value_sat"], listed["address"]),
    );

    // Whether it comes in time is judged by the count below.
    let _ = miner.wait_for(SOON, |stats| stats.blocks >= 2).await;
    let stats = miner.stop().await;
    stage.check(
        stats.blocks >= 2 && stats.violation_count == 0 && stats.rejected == 0,
        format!(
            "the miner goes on: {} blocks, {} shares, {} refused, {} violations of its protocol",
            stats.blocks, stats.accepted, stats.rejected, stats.violation_count
        ),
    );
    // What was written down late must not undo what is known since.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let blocks = pool.get("/api/blocks").await?;
    let fates: Vec<&Value> = blocks["blocks"].as_array().into_iter().flatten().map(|block| &block["fate"]).collect();
    let confirmed = fates.iter().filter(|fate| **fate == "confirmed").count();
    stage
        .check(confirmed == fates.len(), format!("a second later {confirmed} of {} blocks are confirmed", fates.len()));
    let workers = pool.get("/api/workers").await?;
    let worker = workers.pointer("/workers/0").unwrap_or(&Value::Null);
    stage.check(
        worker["name"] == *user && worker["accepted"].as_u64() > Some(0),
        format!("/api/workers shows {} with {} shares accepted", worker["name"], worker["accepted"]),
    );
    once(stage, &pool, &user).await?;
    stage.stop(pool).await;
    Ok(())
}

/// Each thing that happens is told once.
async fn once(stage: &mut Stage, pool: &Pool, user: &str) -> Result<()> {
    let mut events = Events::open(pool.page()).await?;
    let mut times = 0;
    while events
        .wait_for("worker_connected", Duration::from_millis(500), |event| event["worker"] == *user)
        .await
        .is_ok()
    {
        times += 1;
    }
    stage.check(times == 1, format!("/api/events tells {times} times that the worker has connected"));
    Ok(())
}
