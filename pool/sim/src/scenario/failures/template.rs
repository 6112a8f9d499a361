//! A node whose templates cannot be mined on, and a chain that is rolled back: work goes on with what is good.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::node::{BrokenTemplate, Options, SimNode};
use crate::scenario::child::Pool;
use crate::scenario::crew::{Crew, Shape, finder};
use crate::scenario::setup::Setup;
use crate::scenario::stage::{Stage, until};
use crate::scenario::stories::{HARD, OUT_OF_REACH};

const SOON: Duration = Duration::from_secs(12);

/// Each way in which a template is wrong, and a word that the message about it has to hold.
fn broken() -> Vec<(BrokenTemplate, &'static str)> {
    let fields = ["previousblockhash", "bits", "height", "coinbasevalue", "curtime", "version", "transactions"];
    let mut all: Vec<_> = fields.into_iter().map(|field| (BrokenTemplate::Missing(field.into()), field)).collect();
    all.extend([
        (BrokenTemplate::Null, "null"),
        (BrokenTemplate::BadHex, "transaction 0"),
        (BrokenTemplate::CutTransaction, "transaction 0"),
        (BrokenTemplate::WrongTxid, "txid"),
        (BrokenTemplate::NegativeCoinbaseValue, "coinbasevalue"),
        (BrokenTemplate::AbsurdCoinbaseValue, "coinbasevalue"),
        (BrokenTemplate::WrongCommitment, "commitment"),
        (BrokenTemplate::AbsurdHeight, "height"),
        (BrokenTemplate::NegativeHeight, "height"),
        (BrokenTemplate::BadBits, "bits"),
        (BrokenTemplate::ShortPreviousHash, "previousblockhash"),
        // The number that stands where a string belongs.
        (BrokenTemplate::WrongTypes, "545259519"),
        (BrokenTemplate::ForwardDependency, "depend"),
        (BrokenTemplate::MinimumTimeInFuture, "mintime"),
        (BrokenTemplate::UnknownRule, "unheard-of"),
    ]);
    all
}

/// What the pool makes of a broken template.
enum Made {
    /// It says what is wrong, and the old job goes on.
    Refused(String),
    /// It mines on it.
    Job,
    Nothing,
}

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: HARD, initial_blocks: 5, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node).by_password().set("stratum.job_keepalive_seconds", 2)).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();
    for (kind, word) in broken() {
        let what = format!("{kind:?}");
        let before = node.height() + 1;
        mines_on(&pool, before).await?;
        node.faults().template(Some(kind));
        // The pool asks for a template at once.
        node.mine_block().await;
        match made(&pool, word, before).await {
            Made::Refused(message) => {
                let still = pool.shows("/job/height").await;
                stage.check(still == before, format!("{what} is refused: {message}"));
            }
            // What does no harm may be passed over: the blocks tell.
            Made::Job => {
                let answer = block_on(&node, &pool).await;
                stage.check(
                    answer == "accepted",
                    format!("{what} is mined on, and the node says to a block made of it: {answer}"),
                );
            }
            Made::Nothing => {
                let message = pool.shows("/nodes/0/message").await;
                stage.check(false, format!("{what} is neither mined on nor named: {message}"));
            }
        }
        node.faults().template(None);
        if let Err(why) = mines_on(&pool, node.height() + 1).await {
            stage.check(false, format!("{what}, healed: {why:#}"));
        }
    }
    let ready = pool.will_show(SOON, "/nodes/0/state", |state| state == "ready").await;
    stage.happened(ready, "healed each time: the pool mines on the new height, the node is ready");
    crew.more(3, SOON).await?;
    crew.judge(stage, &begin, "on the old job each time, and on the new one after it");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}

async fn mines_on(pool: &Pool, height: u32) -> Result<()> {
    pool.will_show(SOON, "/job/height", |shown| *shown == height).await.map(drop)
}

async fn made(pool: &Pool, word: &str, before: u32) -> Made {
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        let overview = pool.overview().await.unwrap_or_default();
        let message = overview.pointer("/nodes/0/message").and_then(serde_json::Value::as_str).unwrap_or_default();
        if message.to_lowercase().contains(word) {
            return Made::Refused(message.to_owned());
        }
        if overview.pointer("/job/height").is_some_and(|height| *height != before) {
            return Made::Job;
        }
        sleep(Duration::from_millis(25)).await;
    }
    Made::Nothing
}

/// Lets a miner find a block on the job at hand; gives what the node says to it.
async fn block_on(node: &SimNode, pool: &Pool) -> String {
    let known = node.submissions().len();
    let stop = CancellationToken::new();
    let miner = finder(pool.plain(), "finder", 400_000.0, 2e-4, &stop);
    let said = || node.submissions().into_iter().nth(known);
    let found = until(Duration::from_secs(30), "a block", || async { said().is_some() }).await;
    miner.stop().await;
    match (found, said()) {
        (Ok(_), Some(submission)) => submission.answer.unwrap_or_else(|| "accepted".into()),
        _ => "nothing: none is found".into(),
    }
}

pub(super) async fn reorg(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, initial_blocks: 30, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node)).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();
    for depth in [1, 2, 3, 6, 12] {
        let gone = node.faults().reorg(depth)?.len();
        let tip = node.tip().to_string();
        stage.happened(
            crew.on_tip(&tip, SOON).await,
            format!("{gone} blocks rolled back: every miner is on the new tip"),
        );
        sleep(Duration::from_millis(300)).await;
    }
    // One right after the other: only the last matters.
    for depth in [1, 1, 2, 1] {
        node.faults().reorg(depth)?;
    }
    let tip = node.tip().to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "four at once: every miner is on the last tip");
    let height = u64::from(node.height()) + 1;
    let shown = until(SOON, "the height", || async { pool.shows("/job/height").await.as_u64() == Some(height) }).await;
    stage.happened(shown, format!("the pool shows that it mines on height {height}"));
    crew.more(3, SOON).await?;
    crew.judge(stage, &begin, "through all of it");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}
