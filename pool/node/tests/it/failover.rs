//! Several nodes: the first usable one is mined on, and returned to.

use std::time::{Duration, Instant};

use warppool_events::{Event, NodeState};
use warppool_node::Settings;

use crate::core::{FakeCore, Fault};
use crate::templates::{tip, update};
use crate::{node, settings, start, until};

#[tokio::test]
async fn the_first_node_is_mined_on_though_the_second_answers_sooner() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    a.fault("getnetworkinfo", Fault::Hang);
    let brief = Settings { rpc_timeout: Duration::from_millis(500), ..settings(vec![node("a", &a), node("b", &b)]) };
    let pool = start(brief);
    let first = update(&pool, |_| true).await;
    assert_eq!(first.node, "a");
    assert_eq!(b.count("getblocktemplate"), 0, "a node in reserve is spared");
}

#[tokio::test]
async fn a_failed_node_gives_way_and_is_returned_to_when_it_has_been_well_for_a_while() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    assert_eq!(update(&pool, |_| true).await.node, "a");

    a.stop();
    let other = update(&pool, |u| u.node == "b").await;
    assert!(!other.new_tip, "the tip is the same");
    let mut events = pool.bus.subscribe_after(0);
    loop {
        if let Event::Notice { message, .. } = &events.next().await.unwrap().event {
            assert_eq!(message, "templates come from node b now, no longer from a");
            break;
        }
    }
    until("b is active", || pool.nodes.status()[1].active && !pool.nodes.status()[0].active).await;

    let back = Instant::now();
    a.restart().await;
    update(&pool, |u| u.node == "a").await;
    assert!(back.elapsed() >= Duration::from_millis(150), "not before it is stable");
    until("a is active", || pool.nodes.status()[0].active && !pool.nodes.status()[1].active).await;
}

#[tokio::test]
async fn a_node_that_is_healthy_but_has_no_template_gives_way() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    a.fault("getblocktemplate", Fault::Garbage);
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    assert_eq!(update(&pool, |_| true).await.node, "b");
    assert_eq!(pool.nodes.status()[0].state, NodeState::Faulty);
    a.fault("getblocktemplate", None);
    update(&pool, |u| u.node == "a").await;
    assert_eq!(pool.nodes.status()[0].state, NodeState::Ready);
}

#[tokio::test]
async fn a_preferred_node_is_not_returned_to_while_it_is_behind() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    b.mine(0x12);
    a.stop();
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    assert_eq!(update(&pool, tip(0x12)).await.node, "b");
    a.restart().await;
    until("a was asked twice", || a.count("getblocktemplate") >= 2).await;
    assert!(pool.nodes.status()[1].active);
    a.mine(0x12);
    update(&pool, |u| u.node == "a").await;
}

#[tokio::test]
async fn after_a_failover_an_older_tip_is_mined_on_only_when_it_stays() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    a.mine(0x12);
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    update(&pool, tip(0x12)).await;
    a.stop();
    until("b is asked", || b.count("getblocktemplate") >= 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(tip(0x12)(&pool.nodes.templates().borrow().clone().unwrap()), "b may catch up");
    let fallen = update(&pool, tip(0x11)).await;
    assert!(fallen.new_tip && fallen.node == "b");
}

#[tokio::test]
async fn when_no_node_is_usable_the_last_job_stands_until_one_is() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    update(&pool, tip(0x11)).await;
    a.stop();
    b.stop();
    until("both are down", || pool.nodes.status().iter().all(|s| s.state == NodeState::Unreachable)).await;
    assert!(tip(0x11)(&pool.nodes.templates().borrow().clone().unwrap()));
    b.mine(0x12);
    b.restart().await;
    assert_eq!(update(&pool, tip(0x12)).await.node, "b");
}

#[tokio::test]
async fn a_node_of_another_chain_is_never_used() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    a.change(|w| w.chain = "main");
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    assert_eq!(update(&pool, |_| true).await.node, "b");
    b.stop();
    until("b is down", || pool.nodes.status()[1].state == NodeState::Unreachable).await;
    assert_eq!((a.count("getblocktemplate"), pool.nodes.status()[0].state), (0, NodeState::WrongChain));
}

#[tokio::test]
async fn a_node_in_reserve_whose_template_failed_is_looked_at_again() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    b.fault("getblocktemplate", Fault::Garbage);
    let pool = start(settings(vec![node("a", &a), node("b", &b)]));
    update(&pool, |_| true).await;
    a.stop();
    until("b failed", || pool.nodes.status()[1].state == NodeState::Faulty).await;
    a.restart().await;
    until("a is active", || pool.nodes.status()[0].active).await;
    b.fault("getblocktemplate", None);
    until("b is well", || pool.nodes.status()[1].state == NodeState::Ready).await;
    assert!(pool.nodes.status()[0].active && !pool.nodes.status()[1].active);
}

#[tokio::test]
async fn a_preferred_node_that_is_well_again_is_shown_so_before_it_is_returned_to() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    let patient = Settings { return_after: Duration::from_hours(1), ..settings(vec![node("a", &a), node("b", &b)]) };
    let pool = start(patient);
    assert_eq!(update(&pool, |_| true).await.node, "a");
    a.fault("getblocktemplate", Fault::Garbage);
    pool.nodes.refresh();
    update(&pool, |u| u.node == "b").await;
    assert_eq!(pool.nodes.status()[0].state, NodeState::Faulty);
    a.stop();
    until("a is down", || pool.nodes.status()[0].state == NodeState::Unreachable).await;
    a.fault("getblocktemplate", None);
    a.restart().await;
    until("a is ready", || pool.nodes.status()[0].state == NodeState::Ready).await;
    assert!(pool.nodes.status()[1].active);
}

/// Not so patient with a node that is behind.
fn brief(a: &FakeCore, b: &FakeCore, catch_up: Duration) -> Settings {
    Settings { catch_up, fee_refresh: Duration::from_millis(30), ..settings(vec![node("a", a), node("b", b)]) }
}

#[tokio::test]
async fn a_node_that_has_fallen_behind_another_is_left_until_it_has_caught_up() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    let catch_up = Duration::from_millis(200);
    let pool = start(brief(&a, &b, catch_up));
    assert_eq!(update(&pool, tip(0x11)).await.node, "a");
    let behind = Instant::now();
    for byte in [0x12, 0x13, 0x14] {
        b.mine(byte);
    }
    assert_eq!(update(&pool, tip(0x14)).await.node, "b");
    assert!(behind.elapsed() >= catch_up, "not before it had time to catch up");
    let notice = |event: &Event| matches!(event, Event::Notice { message, .. } if message.contains("from node b now"));
    assert!(pool.bus.recent(100).iter().any(|told| notice(&told.event)));
    assert_eq!(pool.nodes.status()[0].state, NodeState::Ready, "it does not know");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(pool.nodes.status()[1].active, "though a has been well for long");
    for byte in [0x12, 0x13, 0x14] {
        a.mine(byte);
    }
    update(&pool, |u| u.node == "a" && tip(0x14)(u)).await;
}

#[tokio::test]
async fn a_node_that_is_one_block_behind_is_stayed_with() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    let pool = start(brief(&a, &b, Duration::from_millis(50)));
    update(&pool, tip(0x11)).await;
    b.mine(0x12);
    until("it is known", || pool.nodes.status()[1].height == Some(106)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(pool.nodes.status()[0].active);
    assert_eq!(b.count("getblocktemplate"), 0);
}

#[tokio::test]
async fn a_node_behind_its_own_headers_says_so_and_is_mined_on_only_while_no_other_is_ahead() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    let pool = start(brief(&a, &b, Duration::from_millis(100)));
    update(&pool, tip(0x11)).await;
    a.change(|w| w.headers = Some(110));
    until("a lags", || pool.nodes.status()[0].state == NodeState::InitialDownload).await;
    let status = pool.nodes.status().remove(0);
    assert_eq!(status.message, "it is 5 blocks behind its own headers");
    assert!(status.remedy.starts_with("wait") && status.active, "{status:?}");
    // No further than one block.
    b.mine(0x12);
    assert_eq!(update(&pool, tip(0x12)).await.node, "b");
    a.change(|w| w.headers = None);
    until("a is ready", || pool.nodes.status()[0].state == NodeState::Ready).await;
}

#[tokio::test]
async fn a_header_without_its_block_yet_is_no_ailment() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    let pool = start(brief(&a, &b, Duration::from_millis(20)));
    a.change(|w| w.headers = Some(106));
    update(&pool, tip(0x11)).await;
    until("it is known", || pool.nodes.status()[0].headers == Some(106)).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(pool.nodes.status()[0].state, NodeState::Ready);
}

#[tokio::test]
async fn after_a_failover_the_last_job_stands_for_as_long_as_the_node_knows_that_it_is_behind() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    a.mine(0x12);
    b.change(|w| w.headers = Some(106));
    let pool = start(brief(&a, &b, Duration::from_millis(50)));
    update(&pool, tip(0x12)).await;
    a.stop();
    until("b is asked", || b.count("getblocktemplate") >= 1).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(tip(0x12)(&pool.nodes.templates().borrow().clone().unwrap()), "b is about to catch up");
    assert!(b.count("getblocktemplate") < 50, "it is not stormed meanwhile");
    b.change(|w| w.headers = None);
    assert_eq!(update(&pool, tip(0x11)).await.node, "b", "as far as b knows there is nothing newer");
}

#[tokio::test]
async fn a_moments_failure_of_the_node_ahead_does_not_bring_back_the_tip_of_the_one_behind() {
    let (a, b) = (FakeCore::start().await, FakeCore::start().await);
    for byte in [0x12, 0x13, 0x14] {
        b.mine(byte);
    }
    let pool = start(brief(&a, &b, Duration::from_millis(400)));
    assert_eq!(update(&pool, tip(0x14)).await.node, "b");
    b.fault("getblocktemplate", Fault::Garbage);
    until("b failed", || pool.nodes.status()[1].state == NodeState::Faulty).await;
    b.fault("getblocktemplate", None);
    until("b is mined on again", || pool.nodes.status()[1].active).await;
    let tips = pool.bus.recent(100).iter().filter(|e| matches!(e.event, Event::NewTip { .. })).count();
    assert_eq!(tips, 2, "a's at the start, and b's");
}
