use std::sync::Arc;

use super::*;
use crate::{
    miner::fake_pool::{Bent, FakePool},
    node::{self, Credentials, SimNode},
};

/// A node and a pool whose miners hear of every new tip of it.
async fn node_and_pool(bent: Bent) -> (SimNode, Arc<FakePool>) {
    let options = node::Options {
        credentials: Credentials::UserPassword { user: "u".into(), password: "p".into() },
        zmq_bind: Some("tcp://127.0.0.1:0".into()),
        rpc_bind: "127.0.0.1:0".into(),
        transactions: 0,
        ..node::Options::default()
    };
    let node = SimNode::start(options).await.unwrap();
    let pool = Arc::new(FakePool::start(bent).await);
    let (mut tips, telling) = (node.tips(), pool.clone());
    tokio::spawn(async move {
        while tips.changed().await.is_ok() {
            let tip = *tips.borrow_and_update();
            let prev_hash = as_in_notify(&tip.hash.to_string()).unwrap();
            telling.new_job(&format!("b{}", tip.height), std::str::from_utf8(&prev_hash).unwrap());
        }
    });
    (node, pool)
}

fn options(node: &SimNode, pool: &FakePool) -> Options {
    let rpc = node.rpc_url().replace("http://", "http://u:p@");
    Options {
        connections: 20,
        blocks: 3,
        pause: Duration::from_millis(5),
        patience: Duration::from_secs(5),
        ..Options::new(&pool.address, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080.{n}", rpc, node.zmq_url().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_is_timed_to_every_miner_and_set_against_the_bare_loop() {
    let (node, pool) = node_and_pool(Bent::default()).await;
    let height = node.height();
    let report = run(options(&node, &pool)).await.unwrap();
    assert_eq!(node.height(), height + 4);
    assert_eq!((report.missing, report.disconnects, report.blocks.len()), (0, 0, 3));
    for block in &report.blocks {
        let (first, last) = (block.zmq_to_first_ms.unwrap(), block.zmq_to_last_ms.unwrap());
        assert!(block.notified == 20 && (last - first - block.first_to_last_ms).abs() < 1e-6, "{block:?}");
        let each = block.zmq_to_each_ms.unwrap();
        assert!((each.min - first).abs() < 1e-9 && (each.max - last).abs() < 1e-9, "{block:?}");
        assert!(block.first_to_last_ms > 0.0 && last < 5_000.0, "{block:?}");
    }
    let (span, whole) = (report.bare_first_to_last_ms.unwrap(), report.bare_loop_ms.unwrap());
    assert!(0.0 < span.min && span.min < whole.min && span.max <= whole.max, "{report}");
    let pool = report.first_to_last_ms.unwrap();
    assert!((report.ratio.unwrap() - pool.p50 / span.p50).abs() < 1e-9, "{report}");
    assert!((report.ratio_of_least.unwrap() - pool.min / span.min).abs() < 1e-9, "{report}");
    assert!((report.ratio_to_whole_loop.unwrap() - pool.p50 / whole.p50).abs() < 1e-9, "{report}");
    assert!(report.notify_bytes > 500 && report.to_string().contains("ZMQ to last"));
    assert!(serde_json::to_value(&report).unwrap()["blocks"][0]["hash"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_tells_no_miner_and_one_that_hangs_up_are_told() {
    let (node, _) = node_and_pool(Bent::default()).await;
    let deaf = FakePool::start(Bent::default()).await;
    let impatient = Options { patience: Duration::from_millis(300), ..options(&node, &deaf) };
    let error = run(impatient).await.unwrap_err().to_string();
    assert!(error.contains("no miner heard of block"), "{error}");

    let refusing = FakePool::start(Bent { refuse_authorize: true, ..Bent::default() }).await;
    let error = run(options(&node, &refusing)).await.unwrap_err().to_string();
    assert!(error.contains("unauthorized"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_an_absent_node_and_a_wrong_zmq_are_told() {
    let (node, pool) = node_and_pool(Bent::default()).await;
    let good = options(&node, &pool);
    let cases = [
        (Options { rpc: good.rpc.replace("u:p@", "u:wrong@"), ..good.clone() }, "user or password"),
        (Options { rpc: "http://u:p@127.0.0.1:1".into(), ..good.clone() }, "is not there"),
        (Options { zmq: "tcp://127.0.0.1:1".into(), ..good.clone() }, "zmqpubhashblock"),
        (Options { zmq: "nonsense".into(), ..good.clone() }, "zmqpubhashblock"),
        (Options { address: "nobody".into(), ..good.clone() }, "generatetoaddress"),
        (Options { connections: 0, ..good.clone() }, "--connections"),
        (Options { blocks: 0, ..good }, "--blocks"),
    ];
    for (options, told) in cases {
        let error = format!("{:#}", run(options).await.unwrap_err());
        assert!(error.contains(told) && !error.contains("u:p"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_zmq_is_silent_still_gives_the_broadcast() {
    let (node, pool) = node_and_pool(Bent::default()).await;
    let (other, _) = node_and_pool(Bent::default()).await;
    let mixed = Options { zmq: other.zmq_url().unwrap(), blocks: 1, warm_up_blocks: 0, ..options(&node, &pool) };
    let report = run(mixed).await.unwrap();
    assert_eq!((report.blocks[0].notified, report.blocks[0].zmq_to_first_ms, report.zmq_to_each_ms), (20, None, None));
    assert!(report.first_to_last_ms.is_some());
}
