//! What is wrong with a node, as its status and the events say.

use warppool_events::{Event, NodeState};
use warppool_node::{Auth, NodeSettings, Settings};
use warppool_work::Chain;

use crate::core::{FakeCore, Fault, World};
use crate::templates::{tip, update};
use crate::{node, settings, start, until};

#[tokio::test]
async fn every_ailment_has_its_state_and_its_remedy() {
    use NodeState::{Faulty, InitialDownload, NoPeers, Unauthorized, Unreachable, WarmingUp, WrongChain};
    type Prepare = fn(&FakeCore);
    let world = |core: &FakeCore, change: fn(&mut World)| core.change(change);
    let cases: [(&str, Prepare, Chain, NodeState, &str); 12] = [
        ("starting", |c| c.fault("getblockchaininfo", Fault::Rpc(-28, "Loading")), Chain::Regtest, WarmingUp, "wait"),
        ("403", |c| c.fault("getblockchaininfo", Fault::Http(403)), Chain::Regtest, Unauthorized, "rpcallowip"),
        ("401", |c| c.login("a:b"), Chain::Regtest, Unauthorized, "rpc_user"),
        ("no core", |c| c.fault("getblockchaininfo", Fault::Http(404)), Chain::Regtest, Faulty, "18443"),
        ("down", FakeCore::stop, Chain::Regtest, Unreachable, "server=1"),
        ("chain", |_| {}, Chain::Mainnet, WrongChain, "-chain=main"),
        ("template", |c| c.fault("getblocktemplate", Fault::Garbage), Chain::Regtest, Faulty, "rpc_url"),
        (
            "gbt -10",
            |c| c.fault("getblocktemplate", Fault::Rpc(-10, "syncing")),
            Chain::Regtest,
            InitialDownload,
            "wait",
        ),
        ("gbt -9", |c| c.fault("getblocktemplate", Fault::Rpc(-9, "alone")), Chain::Regtest, NoPeers, "network"),
        ("gbt -8", |c| c.fault("getblocktemplate", Fault::Rpc(-8, "rules")), Chain::Regtest, Faulty, "debug.log"),
        ("busy", |c| c.fault("getblocktemplate", Fault::Http(503)), Chain::Regtest, Faulty, "rpcworkqueue"),
        ("hang-up", |c| c.fault("getblocktemplate", Fault::Close), Chain::Regtest, Unreachable, "again"),
    ];
    for (what, prepare, chain, state, remedy) in cases {
        let core = FakeCore::start().await;
        prepare(&core);
        let pool = start(Settings { chain, ..settings(vec![node("a", &core)]) });
        let mut events = pool.bus.subscribe_after(0);
        until(what, || pool.nodes.status()[0].state == state && !pool.nodes.status()[0].remedy.is_empty()).await;
        let status = &pool.nodes.status()[0];
        assert!(status.remedy.contains(remedy), "{what}: {status:?}");
        assert!(!status.active && pool.nodes.templates().borrow().is_none(), "{what}");
        loop {
            if let Event::NodeState { node, state: told, .. } = &events.next().await.unwrap().event
                && *told == state
            {
                assert_eq!(node, "a");
                break;
            }
        }
    }
    // On mainnet the health check itself looks at download and peers.
    for (change, state) in
        [((|w| w.initial_download = true) as fn(&mut World), InitialDownload), (|w| w.peers = 0, NoPeers)]
    {
        let core = FakeCore::start().await;
        world(&core, |w| w.chain = "main");
        world(&core, change);
        let pool = start(Settings { chain: Chain::Mainnet, ..settings(vec![node("a", &core)]) });
        until("mainnet's state", || pool.nodes.status()[0].state == state).await;
    }
}

#[tokio::test]
async fn a_status_shows_what_the_node_says_of_itself() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    update(&pool, tip(0x11)).await;
    until("it is ready", || pool.nodes.status()[0].state == NodeState::Ready).await;
    let status = pool.nodes.status().remove(0);
    assert!(status.active && status.message.is_empty() && status.remedy.is_empty());
    assert_eq!((status.height, status.headers, status.peers), (Some(105), Some(105), Some(8)));
    assert_eq!((status.version, status.subversion.as_deref()), (Some(280_100), Some("/Satoshi:28.1.0/")));
    assert!(status.latency_ms.is_some() && status.last_template_age_s.is_some());
    assert!(pool.nodes.latency().count() >= 3);
}

#[tokio::test]
async fn a_restarted_node_is_mined_on_again_with_its_new_cookie() {
    let core = FakeCore::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".cookie");
    std::fs::write(&path, "__cookie__:one").unwrap();
    core.login("__cookie__:one");
    let with_cookie = NodeSettings { auth: Auth::Cookie(path.clone()), ..node("a", &core) };
    let pool = start(settings(vec![with_cookie]));
    update(&pool, tip(0x11)).await;

    core.stop();
    std::fs::remove_file(&path).unwrap();
    until("it is down", || pool.nodes.status()[0].state == NodeState::Unreachable).await;
    assert!(pool.nodes.templates().borrow().is_some(), "the old job goes on");
    core.login("__cookie__:two");
    core.mine(0x12);
    core.restart().await;
    std::fs::write(&path, "__cookie__:two").unwrap();
    update(&pool, tip(0x12)).await;
    until("it is ready", || pool.nodes.status()[0].state == NodeState::Ready).await;
}

#[tokio::test]
async fn a_node_that_changes_its_chain_is_left() {
    let core = FakeCore::start().await;
    let pool = start(settings(vec![node("a", &core)]));
    update(&pool, tip(0x11)).await;
    core.change(|w| w.chain = "signet");
    until("it is left", || !pool.nodes.status()[0].active).await;
    assert_eq!(pool.nodes.status()[0].state, NodeState::WrongChain);
}

#[tokio::test]
async fn an_ailment_that_lasts_is_told_once() {
    let core = FakeCore::start().await;
    core.fault("getblocktemplate", Fault::Rpc(-10, "syncing"));
    let pool = start(settings(vec![node("a", &core)]));
    until("it is asked again and again", || core.count("getblocktemplate") >= 4).await;
    let told = pool.bus.recent(usize::MAX).iter().filter(|e| matches!(e.event, Event::NodeState { .. })).count();
    // Ready by its health, then not by its template.
    assert!(told <= 2, "{told} events");
}
