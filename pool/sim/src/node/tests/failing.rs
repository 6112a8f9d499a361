//! The faults, each seen from outside, and each healed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Draft, call, node, post, submit, template, to_hex};
use crate::node::{BrokenTemplate, Cut, Loss, Methods, Options, ReorgError, SimNode};

/// Whether a template is broken as it should be.
type Shows = fn(&Value) -> bool;

async fn raw(node: &SimNode, method: &str, params: Value) -> Option<(u16, Vec<u8>)> {
    let request = json!({ "id": 7, "method": method, "params": params });
    post(node, request.to_string(), None).await.map(|(status, body)| (status.as_u16(), body))
}

#[tokio::test]
async fn a_reorganisation_replaces_the_last_blocks_by_a_longer_branch() {
    let node = node(Options::default()).await;
    let block = node.with_state(Draft::next).seal();
    submit(&node, &block).await;
    node.mine_block().await;
    let before = node.blocks();
    let gone = node.faults().reorg(2).unwrap();
    assert_eq!(gone, [before[21].hash, before[22].hash]);
    assert_eq!(node.height(), 23);
    let after = node.blocks();
    assert_eq!(after[20].hash, before[20].hash);
    assert_ne!(after[21].hash, before[21].hash);
    assert_eq!(template(&node).await["previousblockhash"], after[23].hash.to_string());
    assert_eq!(node.faults().reorg(24), Err(ReorgError::TooDeep { depth: 24, height: 23 }));
    node.faults().reorg(23).unwrap();
    assert_eq!(node.height(), 24);
}

#[tokio::test]
async fn a_reorganisation_of_pruned_blocks_is_refused_and_changes_nothing() {
    let node = node(Options { keep_bytes: 10_000, transactions: 10, ..Options::default() }).await;
    for _ in 0..10 {
        node.mine_block().await;
        template(&node).await;
    }
    let tip = node.tip();
    assert_eq!(node.faults().reorg(9), Err(ReorgError::Pruned { depth: 9 }));
    assert_eq!(node.tip(), tip);
    node.mine_block().await;
    assert_eq!(node.height(), 31);
}

#[tokio::test]
async fn a_stalled_method_answers_only_when_released() {
    let node = node(Options::default()).await;
    node.faults().stall("getblocktemplate");
    let stalled = tokio::spawn({
        let node = node.clone();
        async move { template(&node).await }
    });
    assert_eq!(call(&node, "getblockcount", json!([])).await, Ok(json!(20)), "others are answered");
    assert!(!stalled.is_finished());
    node.faults().release();
    assert_eq!(stalled.await.unwrap()["height"], 21);
    node.faults().stall(Methods::All);
    let count = call(&node, "getblockcount", json!([]));
    assert!(tokio::time::timeout(Duration::from_millis(50), count).await.is_err());
}

#[tokio::test]
async fn errors_come_as_often_as_they_are_asked_for() {
    let node = node(Options::default()).await;
    node.faults().fail(2, ["getblockcount", "uptime"], -28, "Verifying blocks…");
    let warming = Err((-28, "Verifying blocks…".to_owned()));
    assert!(call(&node, "getbestblockhash", json!([])).await.is_ok());
    assert_eq!(call(&node, "getblockcount", json!([])).await, warming);
    assert_eq!(call(&node, "uptime", json!([])).await, warming);
    assert_eq!(call(&node, "getblockcount", json!([])).await, Ok(json!(20)));
    node.faults().busy(1, Methods::All);
    let (status, body) = raw(&node, "uptime", json!([])).await.unwrap();
    assert_eq!((status, &body[..]), (503, &b"Work queue depth exceeded"[..]));
    node.faults().fail(0, Methods::All, -28, "never");
    assert!(call(&node, "uptime", json!([])).await.is_ok());
}

#[tokio::test]
async fn a_closed_listener_refuses_and_comes_back_on_its_port() {
    let node = node(Options::default()).await;
    let url = node.rpc_url();
    node.faults().stall("uptime");
    let open = tokio::spawn({
        let node = node.clone();
        async move { raw(&node, "uptime", json!([])).await }
    });
    while node.faults().shared.faults.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    node.faults().rpc_down().await;
    assert_eq!(open.await.unwrap(), None, "open connections die with it");
    assert_eq!(raw(&node, "getblockcount", json!([])).await, None);
    node.faults().rpc_up().await.unwrap();
    assert_eq!(node.rpc_url(), url);
    assert_eq!(call(&node, "getblockcount", json!([])).await, Ok(json!(20)));
    node.faults().rpc_up().await.unwrap();
    assert_eq!(call(&node, "getblockcount", json!([])).await, Ok(json!(20)), "opening what is open does nothing");
}

#[tokio::test]
async fn the_node_can_say_untrue_things_of_itself() {
    let node = node(Options::default()).await;
    let faults = node.faults();
    faults.unauthorized(true);
    assert_eq!(raw(&node, "uptime", json!([])).await.unwrap().0, 401);
    faults.unauthorized(false);

    faults.no_peers(true);
    assert_eq!(call(&node, "getconnectioncount", json!([])).await, Ok(json!(0)));
    let refused = call(&node, "getblocktemplate", json!([{ "rules": ["segwit"] }])).await;
    assert_eq!(refused, Err((-9, "Bitcoin Core is not connected!".to_owned())));
    faults.no_peers(false);

    faults.initial_download(true);
    let info = call(&node, "getblockchaininfo", json!([])).await.unwrap();
    assert_eq!(info["initialblockdownload"], true);
    assert!(info["headers"].as_u64() > info["blocks"].as_u64());
    assert_eq!(call(&node, "getblocktemplate", json!([{ "rules": ["segwit"] }])).await.unwrap_err().0, -10);

    faults.chain_name(Some("main"));
    assert_eq!(call(&node, "getblockchaininfo", json!([])).await.unwrap()["chain"], "main");
    assert_eq!(call(&node, "getmininginfo", json!([])).await.unwrap()["chain"], "main");

    faults.clear();
    let info = call(&node, "getblockchaininfo", json!([])).await.unwrap();
    assert_eq!((&info["chain"], &info["initialblockdownload"]), (&json!("regtest"), &json!(false)));
    template(&node).await;
}

#[tokio::test]
async fn latency_is_added_to_the_methods_named() {
    let node = node(Options::default()).await;
    node.faults().latency("uptime", Duration::from_millis(80));
    let start = Instant::now();
    call(&node, "uptime", json!([])).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(80));
    node.faults().latency(Methods::All, Duration::ZERO);
    assert!(node.faults().shared.faults.borrow().delay("uptime").is_zero());
}

#[tokio::test]
async fn answers_can_be_cut_off_and_slow() {
    let node = node(Options::default()).await;
    node.faults().cut(1, "getblocktemplate", 1_000, Cut::Connection);
    let params = json!([{ "rules": ["segwit"] }]);
    assert_eq!(raw(&node, "getblocktemplate", params.clone()).await, None);
    node.faults().cut(1, "getblocktemplate", 1_000, Cut::Json);
    let (status, body) = raw(&node, "getblocktemplate", params.clone()).await.unwrap();
    assert_eq!((status, body.len()), (200, 1_000));
    assert!(serde_json::from_slice::<Value>(&body).is_err());
    template(&node).await;
    node.faults().slow("getblockcount", Some((8, Duration::from_millis(10))));
    let start = Instant::now();
    assert_eq!(call(&node, "getblockcount", json!([])).await, Ok(json!(20)));
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn a_submission_can_lose_its_answer_or_never_be_seen() {
    let node = node(Options::default()).await;
    let block = node.with_state(Draft::next).seal();
    node.faults().lose_submissions(1, Loss::Request);
    assert_eq!(raw(&node, "submitblock", json!([to_hex(&block)])).await, None);
    assert_eq!(node.height(), 20);
    node.faults().lose_submissions(1, Loss::Answer);
    assert_eq!(raw(&node, "submitblock", json!([to_hex(&block)])).await, None);
    assert_eq!(node.tip(), block.block_hash(), "the block was accepted all the same");
    assert_eq!(submit(&node, &block).await, "duplicate");
}

#[tokio::test]
async fn a_broken_template_is_broken_in_the_way_asked_for() {
    let node = node(Options { transactions: 5, ..Options::default() }).await;
    let good = template(&node).await;
    let cases: [(BrokenTemplate, Shows); 16] = [
        (BrokenTemplate::Null, Value::is_null),
        (BrokenTemplate::Missing("transactions".to_owned()), |it| it.get("transactions").is_none()),
        (BrokenTemplate::BadHex, |it| hex::decode(it["transactions"][0]["data"].as_str().unwrap()).is_err()),
        (BrokenTemplate::CutTransaction, |it| {
            let raw = hex::decode(it["transactions"][0]["data"].as_str().unwrap()).unwrap();
            bitcoin::consensus::deserialize::<bitcoin::Transaction>(&raw).is_err()
        }),
        (BrokenTemplate::WrongTxid, |it| it["transactions"][0]["txid"] == "11".repeat(32)),
        (BrokenTemplate::NegativeCoinbaseValue, |it| it["coinbasevalue"] == -1),
        (BrokenTemplate::AbsurdCoinbaseValue, |it| it["coinbasevalue"].as_u64() > Some(2_100_000_000_000_000)),
        (BrokenTemplate::WrongCommitment, |it| it["default_witness_commitment"].as_str().unwrap().ends_with("1111")),
        (BrokenTemplate::AbsurdHeight, |it| it["height"].as_u64() > Some(u64::from(u32::MAX))),
        (BrokenTemplate::NegativeHeight, |it| it["height"] == -1),
        (BrokenTemplate::BadBits, |it| it["bits"] == "ff123456"),
        (BrokenTemplate::ShortPreviousHash, |it| it["previousblockhash"].as_str().unwrap().len() == 62),
        (BrokenTemplate::WrongTypes, |it| it["bits"].is_number()),
        (BrokenTemplate::ForwardDependency, |it| it["transactions"][0]["depends"] == json!([2])),
        (BrokenTemplate::MinimumTimeInFuture, |it| it["mintime"].as_u64() > it["curtime"].as_u64()),
        (BrokenTemplate::UnknownRule, |it| it["rules"][3] == "!unheard-of"),
    ];
    for (broken, shows) in cases {
        node.faults().template(Some(broken.clone()));
        let template = template(&node).await;
        assert!(shows(&template) && !shows(&good), "{broken:?}");
    }
    node.faults().template(None);
    assert_eq!(template(&node).await, good);
}

#[tokio::test]
async fn a_broken_template_without_transactions_is_broken_too() {
    let node = node(Options { transactions: 0, ..Options::default() }).await;
    for broken in [BrokenTemplate::BadHex, BrokenTemplate::WrongTxid] {
        node.faults().template(Some(broken));
        let commitment = template(&node).await["default_witness_commitment"].as_str().unwrap().to_owned();
        assert!(!commitment.starts_with("6a24"), "{commitment}");
    }
}

#[tokio::test]
async fn a_node_that_stopped_frees_its_ports_and_ends_what_waits() {
    let node = node(Options::default()).await;
    let id = template(&node).await["longpollid"].clone();
    let poll = tokio::spawn({
        let node = node.clone();
        async move { raw(&node, "getblocktemplate", json!([{ "rules": ["segwit"], "longpollid": id }])).await }
    });
    let address = node.rpc_url().replace("http://", "").replace('/', "");
    let endpoint = node.zmq_url().unwrap().replace("tcp://", "");
    node.shutdown().await;
    poll.await.unwrap();
    tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::net::TcpListener::bind(endpoint).await.unwrap();
}
