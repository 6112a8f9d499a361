//! `stratum.empty_job_on_new_tip`: miners leave the old tip at once, however long the node takes for its template.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::EASY;
use crate::node::{Options, Origin, SimNode};
use crate::scenario::child::Pool;
use crate::scenario::crew::{address, every_hash, finder};
use crate::scenario::raw::Raw;
use crate::scenario::setup::Setup;
use crate::scenario::stage::{Stage, until};

const TIPS: usize = 9;
/// What the node takes for its template at least. A template is sent in more than six pieces with a pause before each
/// but the first: that slows long polls as well, which a delay of the call itself does not.
const NODE_TAKES: Duration = Duration::from_millis(300);
const PIECE: usize = 1 << 20;
/// From the ZMQ message to the empty job.
const TO_REACH_MS: f64 = 20.0;
const SOON: Duration = Duration::from_secs(10);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: EASY, transactions: 50, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node).by_password().set("stratum.empty_job_on_new_tip", true)).await?;
    until(SOON, "ZMQ", || async { pool.shows("/nodes/0/zmq/state").await == "connected" }).await?;
    measure(stage, &node, &pool).await?;

    // Long enough for a block to be found on the empty job.
    node.faults().slow("getblocktemplate", Some((PIECE, Duration::from_millis(900))));
    // The long poll under way is the last one of the old pace.
    node.mine_block().await;
    sleep(Duration::from_secs(8)).await;
    let tip = node.mine_block().await;
    let stop = CancellationToken::new();
    let miner = finder(pool.plain(), "finder", 20_000.0, 1e-7, &stop);
    let found = until(SOON, "a block on the empty job", || async {
        node.blocks().last().is_some_and(|block| block.origin == Origin::Submitted)
    });
    let found = found.await;
    let stats = miner.stop().await;
    let block = node.blocks().into_iter().rev().find(|block| block.origin == Origin::Submitted);
    stage.happened(found, format!("a block is found on the empty job upon {tip}"));
    let transactions = block.map_or(0, |block| block.transactions);
    stage.check(transactions == 1, format!("the node accepts it, with {transactions} transaction (the coinbase)"));
    stage.check(
        stats.violation_count == 0,
        format!("the finder has {} blocks and {} violations to tell of", stats.blocks, stats.violation_count),
    );
    let refused: Vec<_> = node.submissions().into_iter().filter_map(|submission| submission.answer).collect();
    let bad = refused.iter().filter(|answer| !["duplicate", "inconclusive"].contains(&answer.as_str())).count();
    stage.check(bad == 0, format!("the node calls no block invalid ({refused:?})"));
    stage.stop(pool).await;
    Ok(())
}

/// How soon the empty job comes, and the full one after it.
async fn measure(stage: &mut Stage, node: &SimNode, pool: &Pool) -> Result<()> {
    let mut raw = Raw::connect(pool.plain(), Ipv4Addr::LOCALHOST).await?;
    raw.sit_down(&address(1), &every_hash()).await?;
    node.faults().slow("getblocktemplate", Some((PIECE, NODE_TAKES / 6)));
    // The long poll under way is the last one of the old pace.
    node.mine_block().await;
    let (mut empty, mut full) = (Vec::new(), Vec::new());
    for n in 0..TIPS {
        // No request is under way, or the news would be answered by it.
        sleep(NODE_TAKES * 3).await;
        let mut tips = node.tips();
        tips.mark_unchanged();
        let news = tokio::spawn(async move {
            let _ = tips.changed().await;
            Instant::now()
        });
        let tip = node.mine_block().await;
        let is_it = |notify: &crate::miner::wire::Notify| {
            let mut prev = notify.prev_hash;
            prev.reverse();
            hex::encode(prev) == tip.to_string()
        };
        let first = loop {
            let notify = raw.job(SOON).await?;
            if is_it(&notify) {
                break notify;
            }
        };
        let (arrived, news) = (Instant::now(), news.await?);
        is_first(n, &first)?;
        empty.push(arrived.saturating_duration_since(news).as_secs_f64() * 1e3);
        loop {
            let notify = raw.job(SOON).await?;
            if is_it(&notify) && !notify.branches.is_empty() {
                full.push(news.elapsed().as_secs_f64() * 1e3);
                break;
            }
        }
    }
    empty.sort_by(f64::total_cmp);
    full.sort_by(f64::total_cmp);
    stage.check(
        empty[TIPS / 2] < TO_REACH_MS,
        format!(
            "an empty job comes {:.1} ms after ZMQ (median of {TIPS} tips, at most {:.1} ms)",
            empty[TIPS / 2],
            empty[TIPS - 1]
        ),
    );
    stage.check(
        full[0] > NODE_TAKES.as_secs_f64() * 1e3 && full[TIPS - 1] < 4_000.0,
        format!(
            "the full one follows {:.0} ms after ZMQ (median), once the slow node has given its template",
            full[TIPS / 2]
        ),
    );
    Ok(())
}

/// The first job on a new tip is empty and tells to drop the old work.
fn is_first(n: usize, first: &crate::miner::wire::Notify) -> Result<()> {
    let fits = first.branches.is_empty() && first.clean;
    fits.then_some(()).with_context(|| {
        format!("tip {n}: the first job has {} branches, clean_jobs {}", first.branches.len(), first.clean)
    })
}
