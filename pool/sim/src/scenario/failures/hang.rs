//! Miners that hang: one reads nothing any more, one sends nothing any more. Neither costs the others anything.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::node::{Options, SimNode};
use crate::scenario::child::Pool;
use crate::scenario::crew::{Crew, Shape, address, every_hash};
use crate::scenario::net::{STRANGER, socket};
use crate::scenario::raw::Raw;
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;
use crate::scenario::stories::OUT_OF_REACH;

const SOON: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;
/// Miners that stop reading.
const DEAF: u64 = 20;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node)).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();

    let mut silent = Raw::connect(pool.plain(), STRANGER).await?;
    let seat = silent.sit_down(&address(7), &every_hash()).await?;
    for n in 0..25 {
        let answer = silent.ask("mining.submit", seat.share(n)).await?;
        anyhow::ensure!(answer["result"] == true, "a share is refused: {answer}");
    }
    stage.check(true, "a miner stops after 25 accepted shares, and keeps its connection");

    let before = pool.memory();
    let mut dropped = 0;
    for _ in 0..DEAF {
        dropped += u64::from(deaf(&pool).await?);
    }
    stage.check(dropped == DEAF, format!("{dropped} of {DEAF} miners that ask and never read are dropped"));
    let slow = pool.metric("warppool_workers_disconnected_by_reason_total{reason=\"slow_reader\"}").await?;
    stage.check(slow >= DEAF as f64, format!("/metrics counts {slow} dropped as slow readers"));
    if let (Some(before), Some(after)) = (before, pool.memory()) {
        let grown = after.peak.saturating_sub(before.resident);
        stage.check(
            grown < 16 * MIB,
            format!("the pool's memory grows by {:.1} MiB at most meanwhile", grown as f64 / MIB as f64),
        );
    }
    let tip = node.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "a new tip reaches every miner that reads");
    let heard = silent.job(SOON).await.is_ok();
    stage.check(heard, "the one that stopped working still gets jobs: there is no idle time-out");
    let answer = silent.ask("mining.submit", seat.share(100)).await?;
    stage.check(answer["result"] == true, "and may go on where it stopped");
    crew.more(3, SOON).await?;
    crew.judge(stage, &begin, "meanwhile");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}

/// Asks and asks without reading an answer; true when the pool ends that.
async fn deaf(pool: &Pool) -> Result<bool> {
    let socket = socket(STRANGER)?;
    // Little room for what is not read.
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(pool.plain()).await?;
    let hello = format!(
        "{}\n{}\n",
        json!({"id": 1, "method": "mining.subscribe", "params": []}),
        json!({"id": 2, "method": "mining.authorize", "params": [address(8), "x"]})
    );
    stream.write_all(hello.as_bytes()).await?;
    let ask = json!({"id": "a".repeat(200), "method": "mining.ping", "params": []}).to_string() + "\n";
    let asks = ask.repeat(100);
    // Until the pool does not take it any more; kernels hold some megabytes.
    for _ in 0..2_000 {
        match timeout(Duration::from_secs(2), stream.write_all(asks.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(true),
            Err(_) => break,
        }
    }
    // What still lies in between is read now: an end has to follow.
    let mut rest = Vec::new();
    let end = timeout(SOON, stream.read_to_end(&mut rest)).await;
    Ok(end.is_ok())
}
