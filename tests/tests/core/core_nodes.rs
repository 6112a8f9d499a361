//! What becomes of mining when nodes change their mind, restart, die, or go quiet.

use std::time::Duration;

use serde_json::{Value, json};
use warppool_sim::miner::Persona;
use warppool_tests::bitcoind::{Bitcoind, free_port};
use warppool_tests::hand::Hand;
use warppool_tests::pool::{NodeLine, Pool, Settings};
use warppool_tests::wait::{LONG, hold, until};
use warppool_tests::{content, listener};

use crate::core_blocks::NOBODY;

/// A tip reaches miners within this, however the pool learns of it.
const SOON: Duration = Duration::from_secs(2);

async fn node_with_blocks() -> Bitcoind {
    let node = Bitcoind::regtest().await;
    node.generate(3, NOBODY).await;
    node
}

fn node_of(overview: &Value, name: &str) -> Value {
    let nodes = overview["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).cloned().unwrap()
}

/// The other node's chain becomes the same as the first's without them being connected.
async fn copy_chain(from: &Bitcoind, to: &Bitcoind) {
    for block in from.chain().await {
        assert_eq!(to.submit(&block).await, Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_a_longer_branch_replaces_is_orphaned_and_comes_back_with_its_branch() {
    let node = node_with_blocks().await;
    let foreign = Bitcoind::regtest().await;
    copy_chain(&node, &foreign).await;
    let pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let target = pool.target().await;
    let strict = listener(target.clone(), NOBODY, Persona::BitaxeUltra);
    let mut hand = Hand::connect(&target, NOBODY).await;
    let ours = hand.find().await;
    pool.fate(ours, "confirmed").await;
    hand.job_on(ours).await;

    let branch = foreign.generate(2, NOBODY).await;
    foreign.meet(&node).await;
    assert_eq!(node.tip().await, branch[1]);
    let clean = hand.job_on(branch[1]).await;
    assert!(clean.clean, "work on the lost branch is worth nothing");
    let shown = pool.fate(ours, "orphaned").await;
    assert_eq!(shown["confirmations"], 0);

    // The next block of ours stands on the new branch.
    let next = hand.find_on(branch[1]).await;
    pool.fate(next, "confirmed").await;

    node.rpc("invalidateblock", json!([branch[0].to_string()])).await;
    assert_eq!(node.tip().await, ours);
    hand.job_on(ours).await;
    pool.fate(ours, "confirmed").await;
    pool.fate(next, "orphaned").await;
    content(&strict.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_with_a_new_cookie_is_used_again_and_no_miner_is_lost() {
    let mut node = node_with_blocks().await;
    let pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let target = pool.target().await;
    let strict = listener(target.clone(), NOBODY, Persona::NerdOctaxe);
    let mut hand = Hand::connect(&target, NOBODY).await;
    hand.job().await;
    let cookie = std::fs::read(node.cookie_path()).unwrap();
    node.stop().await;
    node.restart().await;
    assert_ne!(std::fs::read(node.cookie_path()).unwrap(), cookie);

    let tip = node.generate(1, NOBODY).await[0];
    let found = hand.find_on(tip).await;
    pool.fate(found, "confirmed").await;
    let overview = pool.overview().await;
    assert_eq!(node_of(&overview, "core")["state"], "ready", "{overview}");
    content(&strict.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_node_is_down_miners_keep_getting_jobs_and_the_operator_is_told_what_to_do() {
    let mut node = node_with_blocks().await;
    let settings = Settings::new("regtest", [NodeLine::of("core", &node)]).with("stratum.job_keepalive_seconds", "1");
    let pool = Pool::start(settings).await;
    let target = pool.target().await;
    let strict = listener(target.clone(), NOBODY, Persona::BitaxeUltra);
    let hand = Hand::connect(&target, NOBODY).await;
    let before = hand.job().await;
    node.stop().await;

    let down = pool.shows("the node's loss", |overview| node_of(overview, "core")["state"] == "unreachable").await;
    let shown = node_of(&down, "core");
    for words in ["message", "remedy"] {
        assert!(shown[words].as_str().is_some_and(|words| words.len() > 10), "{words}: {shown}");
    }
    for _ in 0..3 {
        hand.another_job(hand.heard().jobs).await;
    }
    let kept = hand.job().await;
    assert_eq!(kept.prev, before.prev, "the same work");
    assert_ne!(kept.id, before.id, "under a new id");
    assert!(!kept.clean);

    node.restart().await;
    let tip = node.generate(1, NOBODY).await[0];
    hand.job_on(tip).await;
    let up = pool.shows("the node's return", |overview| node_of(overview, "core")["state"] == "ready").await;
    assert_eq!(node_of(&up, "core")["message"], "");
    content(&strict.stop().await);
}

/// New tips come in time with this setting, which leaves ZMQ in this state.
async fn tips_come_in_time(settings: impl FnOnce(Settings) -> Settings, state: &str) {
    let node = node_with_blocks().await;
    let pool = Pool::start(settings(Settings::new("regtest", [NodeLine::of("core", &node)]))).await;
    let hand = Hand::connect(&pool.target().await, NOBODY).await;
    hand.job().await;
    for _ in 0..4 {
        let tip = node.generate(1, NOBODY).await[0];
        hand.job_on_within(tip, SOON).await;
    }
    let zmq = pool.shows("the state of ZMQ", |overview| node_of(overview, "core")["zmq"]["state"] == state).await;
    let zmq = &node_of(&zmq, "core")["zmq"];
    assert_eq!(zmq["remedy"].as_str().unwrap().is_empty(), state != "down", "{zmq}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tips_come_by_zmq() {
    tips_come_in_time(|settings| settings, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tips_come_in_time_when_nothing_answers_at_the_zmq_endpoint() {
    tips_come_in_time(
        |mut settings| {
            settings.nodes[0].zmq = Some(format!("tcp://127.0.0.1:{}", free_port()));
            settings
        },
        "down",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tips_come_in_time_without_zmq() {
    tips_come_in_time(|settings| settings.flag("--no-zmq"), "off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_nodes_a_block_goes_to_both_and_the_second_serves_while_the_first_is_gone() {
    let mut first = node_with_blocks().await;
    let second = Bitcoind::regtest().await;
    copy_chain(&first, &second).await;
    let nodes = [NodeLine::of("first", &first), NodeLine::of("second", &second)];
    let pool = Pool::start(Settings::new("regtest", nodes)).await;
    let mut hand = Hand::connect(&pool.target().await, NOBODY).await;
    pool.shows("the first node in use", |overview| node_of(overview, "first")["active"] == true).await;

    // The two are not connected: only the pool can have told the second.
    let found = hand.find().await;
    for node in [&first, &second] {
        until(LONG, "both have the block", async || {
            let tip = node.tip().await;
            hold(tip == found, (), tip)
        })
        .await;
    }
    pool.fate(found, "confirmed").await;

    first.stop().await;
    pool.shows("the second node in use", |overview| node_of(overview, "second")["active"] == true).await;
    let tip = second.generate(1, NOBODY).await[0];
    let found = hand.find_on(tip).await;
    pool.fate(found, "confirmed").await;
    assert_eq!(second.tip().await, found);

    first.restart().await;
    first.meet(&second).await;
    // It has to be well for half a minute first.
    until(Duration::from_mins(1), "the first node is in use again", async || {
        let overview = pool.overview().await;
        hold(node_of(&overview, "first")["active"] == true, (), overview)
    })
    .await;
    let tip = first.generate(1, NOBODY).await[0];
    let found = hand.find_on(tip).await;
    pool.fate(found, "confirmed").await;
    assert!(!hand.heard().closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_from_tip_to_miners_is_measured_on_every_block() {
    let node = node_with_blocks().await;
    let pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let hand = Hand::connect(&pool.target().await, NOBODY).await;
    hand.job().await;
    let samples = |overview: &Value| overview["tip_to_notify"]["samples"].as_u64().unwrap();
    let before = samples(&pool.overview().await);
    for n in 1..=5 {
        let tip = node.generate(1, NOBODY).await[0];
        hand.job_on(tip).await;
        pool.shows("one more sample", |overview| samples(overview) == before + n).await;
    }
    let times = pool.overview().await["tip_to_notify"].clone();
    let [p50, p99, last] = ["p50_ms", "p99_ms", "last_ms"].map(|key| times[key].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 < 2_000.0 && 0.0 < last && last < 2_000.0, "{times}");
}
