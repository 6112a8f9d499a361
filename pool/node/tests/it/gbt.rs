//! The source behind the templates: what it asks of a node, and how often.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use warppool_node::{GbtSource, Latency, Rpc, TemplateSource as _};
use warppool_work::Chain;

use crate::core::FakeCore;
use crate::{LONG, node, until};

const MOMENT: Duration = Duration::from_millis(30);

fn source(core: &FakeCore) -> GbtSource {
    let rpc = Rpc::new(&node("a", core), Arc::new(Latency::default())).unwrap();
    GbtSource::new(Arc::new(rpc), Chain::Regtest, LONG)
}

#[tokio::test]
async fn a_long_poll_that_was_dropped_is_found_again() {
    let core = FakeCore::start().await;
    let source = source(&core);
    let offer = source.fetch().await.unwrap();
    for _ in 0..3 {
        assert!(timeout(MOMENT, source.newer(offer.clone())).await.is_err());
    }
    assert_eq!(core.count("longpoll"), 1);
    core.mine(0x12);
    let newer = timeout(LONG, source.newer(offer)).await.unwrap().unwrap();
    assert_eq!((newer.template.prev_hash, core.count("longpoll")), ([0x12; 32], 1));
}

#[tokio::test]
async fn a_long_poll_on_an_older_tip_gives_way_to_one_on_the_newer() {
    let core = FakeCore::start().await;
    core.change(|world| world.deaf = true);
    let source = source(&core);
    let old = source.fetch().await.unwrap();
    assert!(timeout(MOMENT, source.newer(old)).await.is_err());
    core.mine(0x12);
    let new = source.fetch().await.unwrap();
    assert!(timeout(MOMENT, source.newer(new.clone())).await.is_err());
    assert_eq!(core.count("longpoll"), 2);
    core.change(|world| {
        world.deaf = false;
        world.fees = 1;
    });
    let newer = timeout(LONG, source.newer(new)).await.unwrap().unwrap();
    assert_eq!(newer.template.transactions.len(), 2);
}

#[tokio::test]
async fn plain_requests_wait_for_each_other() {
    let core = FakeCore::start().await;
    core.change(|world| world.plain_takes = MOMENT);
    let source = source(&core);
    let (first, second) = tokio::join!(source.fetch(), source.fetch());
    assert!(first.is_ok() && second.is_ok());
    assert_eq!((core.count("getblocktemplate"), core.most("plain")), (2, 1));
}

#[tokio::test]
async fn a_source_that_went_away_leaves_no_long_poll_behind() {
    let core = FakeCore::start().await;
    let source = source(&core);
    let offer = source.fetch().await.unwrap();
    assert!(timeout(MOMENT, source.newer(offer)).await.is_err());
    assert_eq!(core.under_way_now("longpoll"), 1);
    drop(source);
    until("the long poll ends", || core.under_way_now("longpoll") == 0).await;
}
