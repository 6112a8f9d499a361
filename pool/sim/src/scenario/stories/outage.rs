//! Five minutes without a node, told in half a minute: it refuses, it hangs, it warms up, it is back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::HARD;
use crate::node::{Methods, Options, SimNode};
use crate::scenario::crew::{Crew, Shape, finder};
use crate::scenario::http::Events;
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

/// Miners get a job at least this often, whatever the node does.
const KEEP_ALIVE: u64 = 3;
/// The pool gives a silent node up after 15 s.
const HANGING: Duration = Duration::from_secs(25);
const SOON: Duration = Duration::from_secs(10);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: HARD, initial_blocks: 5, ..Options::default() }).await?;
    let setup = Setup::new(&node).by_password().set("stratum.job_keepalive_seconds", KEEP_ALIVE);
    let pool = stage.pool(setup).await?;
    let mut events = Events::open(pool.page()).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();
    let (stop_watching, gaps) = watch_jobs(&crew);

    node.faults().rpc_down().await;
    let state = |wanted: &'static str| move |value: &serde_json::Value| value == wanted;
    stage.happened(
        pool.will_show(SOON, "/nodes/0/state", state("unreachable")).await,
        "the node refuses: it is shown as unreachable",
    );
    let (message, remedy) = (pool.shows("/nodes/0/message").await, pool.shows("/nodes/0/remedy").await);
    stage.check(
        remedy.as_str().is_some_and(|remedy| remedy.contains("server=1")),
        format!("the operator reads: {message} {remedy}"),
    );

    let stop = CancellationToken::new();
    let miner = finder(pool.plain(), "finder", 400_000.0, 2e-4, &stop);
    let found = events.wait_for("block_found", Duration::from_secs(40), |_| true).await;
    miner.stop().await;
    let found = found.context("no block is found during the outage")?;
    let hash = found["hash"].as_str().context("block_found has no hash")?.to_owned();
    stage.check(true, format!("block {hash} is found while no node answers"));

    node.faults().stall(Methods::All);
    node.faults().rpc_up().await?;
    sleep(Duration::from_secs(5)).await;
    let shown = pool.shows("/nodes/0/state").await;
    stage.check(shown != "ready", format!("a node that takes calls and does not answer is shown as {shown}"));
    stage.happened(
        pool.will_show(HANGING, "/nodes/0/message", |message| {
            message.as_str().is_some_and(|message| message.contains("15"))
        })
        .await,
        "after 15 s of silence the operator reads so",
    );

    node.faults().fail(100_000, Methods::All, -28, "Verifying blocks…");
    node.faults().release();
    stage.happened(
        pool.will_show(SOON, "/nodes/0/state", state("warming_up")).await,
        "it starts anew: it is shown as warming up",
    );
    let longest = {
        let _ = stop_watching.send(());
        gaps.await?
    };
    stage.check(
        longest < Duration::from_millis(KEEP_ALIVE * 1_000 + 1_500),
        format!(
            "no miner was without a new job for longer than {:.2} s (keep-alive {KEEP_ALIVE} s)",
            longest.as_secs_f64()
        ),
    );
    crew.judge(stage, &begin, "through the outage");

    node.faults().clear();
    stage.happened(pool.will_show(SOON, "/nodes/0/state", state("ready")).await, "the node is back and shown as ready");
    let fate = events
        .wait_for("block_fate", Duration::from_secs(30), |event| event["hash"] == *hash && event["fate"] == "confirmed")
        .await;
    stage.check(fate.is_ok(), "the block found during the outage is accepted and in the chain");
    let in_chain = node.blocks().iter().any(|block| block.hash.to_string() == hash);
    stage.check(in_chain, "the node says so too");
    let before = crew.standing();
    let tip = node.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "the next tip reaches every miner");
    stage.happened(crew.more(3, SOON).await, "every miner has shares accepted on it");
    crew.judge(stage, &before, "after the outage");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}

/// Watches until told to end; gives the longest time any miner was without a new job.
fn watch_jobs(crew: &Crew) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Duration>) {
    let (sender, mut end) = oneshot::channel();
    let watches: Vec<_> = crew.miners().iter().map(crate::miner::Miner::watch).collect();
    let watching = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while end.try_recv().is_err() {
            let now = Instant::now();
            for watch in &watches {
                let last = watch.borrow().last_notify;
                longest = longest.max(last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last)));
            }
            sleep(Duration::from_millis(20)).await;
        }
        longest
    });
    (sender, watching)
}
