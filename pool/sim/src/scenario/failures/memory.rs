//! Memory is short: what the pool needs is there, and hardly more. Whoever wants too much of it is turned away or dropped.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::sleep;

use crate::node::{Options, SimNode};
use crate::scenario::crew::{Crew, Shape, address};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::Raw;
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;
use crate::scenario::stories::OUT_OF_REACH;

const MIB: u64 = 1 << 20;
/// Beyond what a pool of this profile maps at rest: its own growth with all its connections taken.
const SPARE: u64 = 48 * MIB;
/// More than the profile small lets in.
const ATTACKERS: usize = 400;
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, transactions: 500, ..Options::default() }).await?;
    // Each core gets heaps of its own from some C libraries, of 64 MiB of address space: two make the figure steady.
    let setup = Setup::new(&node).text("ledger.map_size", "64 MiB");
    let free = stage.pool(setup.clone()).await?;
    let crew = Crew::at_work(free.plain(), &Shape::default()).await?;
    sleep(Duration::from_secs(1)).await;
    let needed = free.memory();
    crew.stop().await;
    stage.stop(free).await;
    let Some(needed) = needed else {
        stage.note("NOT RUN: this system does not tell what a process needs, nor limits it");
        return Ok(());
    };
    let limit = needed.space + SPARE;
    stage.note(format!(
        "at rest it has {} MiB of address space and {} MiB resident; it is now limited to {} MiB of address space (ulimit -v)",
        needed.space / MIB,
        needed.resident / MIB,
        limit / MIB
    ));
    let mut setup = setup;
    setup.limits = Some(format!("ulimit -v {}", limit / 1024));
    let mut pool = stage.pool(setup).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();

    let mut held = Vec::new();
    let mut turned_away = 0;
    for n in 0..ATTACKERS {
        let Ok(mut raw) = Raw::connect(pool.plain(), STRANGER).await else {
            turned_away += 1;
            continue;
        };
        raw.send_line(&json!({"id": 1, "method": "mining.subscribe", "params": ["x".repeat(8_000)]})).await;
        raw.send_line(&json!({"id": 2, "method": "mining.authorize", "params": [format!("{}.{n}", address(7)), "x"]}))
            .await;
        // Most of a line that never ends.
        raw.send(&[b'{'; 16_000]).await;
        held.push(raw);
    }
    sleep(Duration::from_secs(1)).await;
    let connections = pool.shows("/connections").await;
    stage.check(
        connections.as_u64().is_some_and(|open| open <= 64),
        format!("of {ATTACKERS} greedy connections it holds {connections} ({turned_away} could not even connect)"),
    );
    for _ in 0..30 {
        node.add_transactions(50).await;
        sleep(Duration::from_millis(50)).await;
    }
    let tip = node.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "new templates and a new tip still reach every miner");
    stage.happened(crew.more(5, SOON).await, "every miner has shares accepted");
    stage.check(pool.is_alive(), "the pool lives");
    if let Some(memory) = pool.memory() {
        let (peak, space) = (memory.peak / MIB, memory.space / MIB);
        stage.note(format!("it had {peak} MiB resident and {space} MiB of address space at most"));
    }
    drop(held);
    let gone = pool.will_show(SOON, "/connections", |open| *open == 3).await;
    stage.happened(gone, "the greedy ones leave: three connections are left");
    crew.judge(stage, &begin, "under pressure");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}
