//! Templates from one node: first, by long poll, by polling, for fees.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use warppool_events::{Event, TipSource};
use warppool_node::{Settings, Update};
use warppool_work::Chain;

use crate::core::FakeCore;
use crate::{LONG, Pool, node, settings, start, until};

/// Of the stand-in's templates.
const CUR_TIME: u32 = 1_795_153_879;

/// The next update for which `condition` holds.
#[track_caller]
pub fn update(pool: &Pool, condition: impl Fn(&Update) -> bool) -> impl Future<Output = Arc<Update>> {
    let place = std::panic::Location::caller();
    let mut templates = pool.nodes.templates();
    async move {
        let found = tokio::time::timeout(LONG, templates.wait_for(|u| u.as_ref().is_some_and(|u| condition(u)))).await;
        let found: watch::Ref<'_, _> = found.unwrap_or_else(|_| panic!("{place}: no such update")).unwrap();
        found.clone().unwrap()
    }
}

pub fn tip(byte: u8) -> impl Fn(&Update) -> bool {
    move |update| update.template.prev_hash == [byte; 32]
}

#[tokio::test]
async fn the_first_template_comes_at_once_and_is_a_new_tip() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    let mut events = pool.bus.subscribe_after(0);
    let first = update(&pool, |_| true).await;
    assert!(first.new_tip && first.node == "a");
    assert_eq!((first.template.height, first.template.transactions.len()), (106, 3));
    assert_eq!(pool.nodes.network().unwrap().height, 105);
    loop {
        if let Event::NewTip { height, hash, .. } = &events.next().await.unwrap().event {
            assert_eq!((*height, hash.as_str()), (105, crate::core::hash(0x11).as_str()));
            break;
        }
    }
}

#[tokio::test]
async fn a_long_poll_brings_the_new_tip_and_then_the_next() {
    let core = FakeCore::start().await;
    let slow = Settings { poll_interval: LONG, ..settings(vec![node("a", &core)]) };
    let pool = start(slow);
    update(&pool, tip(0x11)).await;
    for byte in 0x20..0x28 {
        until("a long poll waits", || core.most("longpoll") == 1).await;
        core.mine(byte);
        let found = update(&pool, tip(byte)).await;
        assert!(found.new_tip);
        assert_eq!(found.source, TipSource::LongPoll);
    }
    assert_eq!((core.most("longpoll"), core.most("plain")), (1, 1));
    assert_eq!(core.count("getblocktemplate") - core.count("longpoll"), 1, "no plain request but the first");
}

#[tokio::test]
async fn without_long_poll_polling_finds_the_new_tip() {
    let core = FakeCore::start().await;
    core.change(|world| world.deaf = true);
    let pool = start(settings(vec![node("a", &core)]));
    for byte in [0x11, 0x22, 0x33] {
        let found = update(&pool, tip(byte)).await;
        assert!(found.new_tip);
        assert_eq!(found.source, TipSource::Poll);
        core.mine(byte + 0x11);
    }
    update(&pool, tip(0x44)).await;
    assert_eq!(core.count("getblocktemplate") - core.count("longpoll"), 4, "one for each tip");
}

#[tokio::test]
async fn new_fees_bring_a_template_on_the_same_tip_that_shares_its_transactions() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    let before = update(&pool, tip(0x11)).await;
    core.change(|world| world.fees = 1);
    let after = update(&pool, |u| u.template.transactions.len() == 2).await;
    assert!(!after.new_tip);
    assert_eq!(after.tip_seen, before.tip_seen, "the tip's news are as old as they were");
    assert_eq!(after.template.coinbase_value, 5_000_020_000);
    for (old, new) in before.template.transactions.iter().zip(&after.template.transactions) {
        assert!(Arc::ptr_eq(old, new));
    }
}

#[tokio::test]
async fn fees_are_looked_at_on_time_even_when_no_long_poll_returns() {
    let core = FakeCore::start().await;
    let quick = Settings { fee_refresh: Duration::from_millis(30), ..settings(vec![node("a", &core)]) };
    let pool = start(quick);
    update(&pool, tip(0x11)).await;
    let before = core.count("getblocktemplate");
    until("templates are fetched again", || core.count("getblocktemplate") >= before + 3).await;
    assert!(core.most("plain") == 1 && core.most("longpoll") == 1);
}

#[tokio::test]
async fn a_template_that_changed_nothing_is_not_published_again() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    update(&pool, tip(0x11)).await;
    let templates = pool.nodes.templates();
    let before = core.count("getblocktemplate");
    for _ in 0..5 {
        pool.nodes.refresh();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until("a template was fetched", || core.count("getblocktemplate") > before).await;
    assert!(!templates.has_changed().unwrap());
}

#[tokio::test]
async fn a_node_whose_long_polls_return_at_once_is_not_stormed() {
    let core = FakeCore::start().await;
    core.change(|world| world.hasty = true);
    let pool = start(settings(vec![node("a", &core)]));
    update(&pool, tip(0x11)).await;
    until("a long poll returned", || core.count("longpoll") == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(core.count("longpoll"), 1, "the next waits for a second");
}

#[tokio::test]
async fn a_node_that_gives_templates_but_fails_long_polls_is_mined_on() {
    let core = FakeCore::start().await;
    core.change(|world| world.no_long_poll = true);
    let pool = start(settings(vec![node("a", &core)]));
    update(&pool, tip(0x11)).await;
    until("a long poll failed", || core.count("longpoll") >= 1).await;
    core.mine(0x22);
    let found = update(&pool, tip(0x22)).await;
    assert_eq!(found.source, TipSource::Poll);
    assert!(pool.nodes.status()[0].active && core.count("longpoll") <= 2);
}

#[tokio::test]
async fn a_plain_answer_that_the_long_poll_has_overtaken_is_not_mined_on() {
    let core = FakeCore::start().await;
    let pool = start(Settings { poll_interval: LONG, ..settings(vec![node("a", &core)]) });
    update(&pool, tip(0x11)).await;
    until("a long poll waits", || core.count("longpoll") == 1).await;
    core.change(|world| world.plain_takes = Duration::from_millis(100));
    pool.nodes.refresh();
    until("a plain request is under way", || core.under_way_now("plain") == 1).await;
    core.mine(0x22);
    update(&pool, tip(0x22)).await;
    assert_eq!(core.under_way_now("plain"), 1, "its template still has the old tip");
    // One request more, because the answer may have been right: a reorganisation.
    until("it was asked again", || core.count("getblocktemplate") - core.count("longpoll") == 3).await;
    until("it has answered", || core.under_way_now("plain") == 0).await;
    pool.shutdown.cancel();
    pool.nodes.stopped().await;
    let tips = pool.bus.recent(100).iter().filter(|e| matches!(e.event, Event::NewTip { .. })).count();
    assert_eq!(tips, 2);
}

#[tokio::test]
async fn what_is_asked_for_during_a_request_is_asked_for_after_it() {
    let core = FakeCore::start().await;
    core.change(|world| world.deaf = true);
    let pool = start(Settings { poll_interval: LONG, ..settings(vec![node("a", &core)]) });
    update(&pool, tip(0x11)).await;
    core.change(|world| world.plain_takes = Duration::from_millis(50));
    pool.nodes.refresh();
    until("a plain request is under way", || core.under_way_now("plain") == 1).await;
    core.mine(0x22);
    pool.nodes.refresh();
    assert!(update(&pool, tip(0x22)).await.new_tip);
}

#[tokio::test]
async fn on_testnet4_a_job_keeps_to_the_time_its_bits_are_right_for() {
    let core = FakeCore::start().await;
    core.change(|world| world.chain = "testnet4");
    let pool = start(Settings { chain: Chain::Testnet4, ..settings(vec![node("a", &core)]) });
    // The previous block is from 1970, but the template is not of minimum difficulty.
    until("the contradiction is told", || pool.nodes.status()[0].remedy.contains("clock")).await;
    core.change(|world| world.time = CUR_TIME - 100);
    core.mine(0x12);
    let found = update(&pool, tip(0x12)).await;
    assert_eq!((found.template.max_time, found.template.cur_time), (CUR_TIME + 1100, CUR_TIME));
    assert_eq!(core.count("getblockheader"), 2, "one for each tip");
}

#[tokio::test]
async fn everything_ends_with_the_shutdown() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    update(&pool, tip(0x11)).await;
    pool.shutdown.cancel();
    tokio::time::timeout(LONG, pool.nodes.stopped()).await.unwrap();
}
