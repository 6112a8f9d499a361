//! A found block is never lost: not when nobody takes it, not when the pool dies before it hears an answer.

use serde_json::json;
use warppool_tests::bitcoind::{Bitcoind, NOT_FOUND};
use warppool_tests::hand::Hand;
use warppool_tests::pool::{NodeLine, Pool, Settings};
use warppool_tests::wait::{LONG, hold, until};

use crate::core_blocks::NOBODY;

async fn node_with_blocks() -> Bitcoind {
    let node = Bitcoind::regtest().await;
    node.generate(3, NOBODY).await;
    node
}

async fn spooled(pool: &Pool) {
    until(LONG, "the block is in the spool", async || hold(pool.spooled() == 1, (), pool.spooled())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_found_while_every_node_is_down_is_accepted_when_one_is_back() {
    let mut node = node_with_blocks().await;
    let pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let mut hand = Hand::connect(&pool.target().await, NOBODY).await;
    hand.job().await;
    node.stop().await;
    let found = hand.find().await;
    spooled(&pool).await;
    pool.fate(found, "pending").await;
    node.restart().await;
    pool.fate(found, "confirmed").await;
    assert_eq!(node.tip().await, found);
    hand.job_on(found).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_survives_the_death_of_pool_and_node_between_find_and_answer() {
    let mut node = node_with_blocks().await;
    // What the node has is on its disk.
    node.stop().await;
    node.restart().await;
    let mut pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let mut hand = Hand::connect(&pool.target().await, NOBODY).await;
    hand.job().await;
    node.freeze();
    let found = hand.find().await;
    spooled(&pool).await;
    pool.kill9();
    // With the process go the bytes in its sockets, the submitted block among them.
    node.kill9();

    node.restart().await;
    let unknown = node.call("getblockheader", json!([found.to_string()])).await.unwrap();
    assert_eq!(unknown.unwrap_err().code, NOT_FOUND, "the node never saw it");
    pool.run().await;
    let shown = pool.fate(found, "confirmed").await;
    assert_eq!(node.tip().await, found);
    assert_eq!(shown["worker"], NOBODY);
    assert_eq!(pool.blocks().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_whose_answer_was_lost_is_not_counted_twice() {
    let node = node_with_blocks().await;
    let mut pool = Pool::start(Settings::new("regtest", [NodeLine::of("core", &node)])).await;
    let mut hand = Hand::connect(&pool.target().await, NOBODY).await;
    hand.job().await;
    node.freeze();
    let found = hand.find().await;
    spooled(&pool).await;
    pool.kill9();
    // The node takes what waits in its sockets, and nobody hears the answer.
    node.thaw();
    pool.run().await;
    let shown = pool.fate(found, "confirmed").await;
    assert_eq!(shown["confirmations"], 1);
    assert_eq!(pool.blocks().await.len(), 1);
    assert_eq!(pool.overview().await["blocks_found"], 1);
}
