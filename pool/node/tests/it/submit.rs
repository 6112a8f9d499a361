//! Handing over blocks, and asking for them later.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use warppool_node::{BlockStatus, NodeError, RpcError, Settings, SubmitAnswer, TipHeader};

use crate::core::{FakeCore, Fault, hash};
use crate::templates::{tip, update};
use crate::{LONG, node, settings, start, until};

#[tokio::test]
async fn a_block_goes_to_every_node_usable_or_not() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    b.change(|w| {
        w.chain = "main";
        w.submit = json!("inconclusive");
    });
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    let block: Arc<str> = "00ff".into();
    let mut answers = vec![];
    for name in pool.nodes.node_names() {
        answers.push((name.clone(), pool.nodes.submit_block(&name, Arc::clone(&block)).await.unwrap()));
    }
    assert_eq!(answers, [("a".into(), SubmitAnswer::Accepted), ("b".into(), SubmitAnswer::Inconclusive)]);
    assert!(matches!(pool.nodes.submit_block("c", block).await, Err(NodeError::Unknown(_))));
}

#[tokio::test]
async fn a_submission_is_answered_while_everything_else_hangs_and_a_full_block_fits() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    update(&pool, tip(0x11)).await;
    core.fault("getblocktemplate", Fault::Hang);
    core.fault("getblockchaininfo", Fault::Hang);
    pool.nodes.refresh();
    until("a request hangs", || core.count("getblocktemplate") >= 3).await;
    let block: Arc<str> = "00".repeat(4_000_000).into();
    let answer = tokio::time::timeout(LONG, pool.nodes.submit_block("a", block)).await.unwrap();
    assert_eq!(answer.unwrap(), SubmitAnswer::Accepted);
}

#[tokio::test]
async fn errors_say_whether_to_try_again() {
    let core = FakeCore::start().await;
    let brief = Settings { submit_timeout: Duration::from_millis(50), ..settings(vec![node("a", &core)]) };
    let pool = start(brief);
    for (fault, retryable) in [
        (Fault::Rpc(-28, "Verifying blocks…"), true),
        (Fault::Http(503), true),
        (Fault::Close, true),
        (Fault::Hang, true),
        (Fault::Rpc(-32601, "Method not found"), false),
    ] {
        core.fault("submitblock", fault);
        let error = pool.nodes.submit_block("a", "00".into()).await.unwrap_err();
        assert_eq!(error.is_retryable(), retryable, "{fault:?}: {error}");
        assert!(matches!(error, NodeError::Rpc { node, .. } if node == "a"));
    }
    core.fault("submitblock", Fault::Rpc(-22, "Block decode failed"));
    let answer = pool.nodes.submit_block("a", "00".into()).await.unwrap();
    assert_eq!(answer, SubmitAnswer::Rejected("Block decode failed".into()));
}

#[tokio::test]
async fn after_a_submission_the_new_tip_is_mined_on_at_once() {
    let core = FakeCore::start().await;
    // Nothing but the submission asks: the long poll fails.
    let slow = Settings { poll_interval: LONG, ..settings(vec![node("a", &core)]) };
    let pool = start(slow);
    update(&pool, tip(0x11)).await;
    let before = core.count("getblocktemplate") - core.count("longpoll");
    pool.nodes.submit_block("a", "00".into()).await.unwrap();
    until("a template is fetched", || core.count("getblocktemplate") - core.count("longpoll") > before).await;
}

#[tokio::test]
async fn a_blocks_place_in_the_chain_is_told() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    for (byte, expected) in [
        (0x11, BlockStatus::Confirmed { confirmations: 1, height: 105 }),
        (0xee, BlockStatus::SideChain { height: 7 }),
        (0x77, BlockStatus::Unknown),
    ] {
        assert_eq!(pool.nodes.block_status("a", &hash(byte)).await.unwrap(), expected);
    }
    core.fault("getblockheader", Fault::Rpc(-28, "Loading"));
    let error = pool.nodes.block_status("a", &hash(0x11)).await.unwrap_err();
    assert!(matches!(error, NodeError::Rpc { source: RpcError::Rpc { code: -28, .. }, .. }));
}

#[tokio::test]
async fn a_header_is_given_for_the_nodes_tip_and_for_no_other_block() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    for (byte, expected) in [
        (0x11, Some(TipHeader { height: 105, median_time: 2, bits: 0x207f_ffff })),
        (0xb0, None),
        (0xee, None),
        (0x77, None),
    ] {
        assert_eq!(pool.nodes.tip_header("a", &hash(byte)).await.unwrap(), expected, "{byte:02x}");
    }
    let error = pool.nodes.tip_header("a", &hash(0xef)).await.unwrap_err();
    assert!(error.to_string().contains("mediantime"), "{error}");
    core.fault("getblockheader", Fault::Rpc(-28, "Loading"));
    let error = pool.nodes.tip_header("a", &hash(0x11)).await.unwrap_err();
    assert!(matches!(error, NodeError::Rpc { source: RpcError::Rpc { code: -28, .. }, .. }));
    assert!(matches!(pool.nodes.tip_header("c", &hash(0x11)).await, Err(NodeError::Unknown(_))));
}
