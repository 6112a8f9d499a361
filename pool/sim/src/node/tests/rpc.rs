//! The RPC around mining: what the node says of its chain and itself, and JSON-RPC over HTTP as Core speaks it.

use std::time::Duration;

use bitcoin::{Block, consensus};
use serde_json::{Value, json};

use super::{NOW, call, next, node, post, submit, template};
use crate::node::rpc::server::basic_auth;
use crate::node::{Credentials, Options, RunOptions, SimNode, StartError, run};

#[tokio::test]
async fn headers_say_how_deep_a_block_is_or_that_it_is_gone() {
    let node = node(Options::default()).await;
    let block = next(&node);
    submit(&node, &block).await;
    let hash = block.block_hash().to_string();
    let header = call(&node, "getblockheader", json!([hash])).await.unwrap();
    assert_eq!(header["confirmations"], 1);
    assert_eq!(header["height"], 21);
    assert_eq!(header["previousblockhash"], block.header.prev_blockhash.to_string());
    assert_eq!(header["merkleroot"], block.header.merkle_root.to_string());
    assert_eq!(header["nTx"], block.txdata.len());
    assert_eq!(header["chainwork"].as_str().unwrap().len(), 64);
    assert!(header.get("nextblockhash").is_none());
    let raw = call(&node, "getblockheader", json!([hash, false])).await.unwrap();
    assert_eq!(raw, consensus::encode::serialize_hex(&block.header));

    node.mine_block().await;
    let header = call(&node, "getblockheader", json!([hash])).await.unwrap();
    assert_eq!(header["confirmations"], 2);
    assert_eq!(header["nextblockhash"], node.tip().to_string());

    let gone = node.faults().reorg(2).unwrap();
    assert_eq!(gone[0], block.block_hash());
    let header = call(&node, "getblockheader", json!([hash])).await.unwrap();
    assert_eq!(header["confirmations"], -1);
    assert!(header.get("nextblockhash").is_none());

    let not_found = Err((-5, "Block not found".to_owned()));
    assert_eq!(call(&node, "getblockheader", json!(["11".repeat(32)])).await, not_found);
    assert_eq!(call(&node, "getblockheader", json!(["11"])).await.unwrap_err().0, -8);
    assert_eq!(call(&node, "getblockheader", json!(["zz".repeat(32)])).await.unwrap_err().0, -8);
    assert_eq!(call(&node, "getblockheader", json!([hash, "yes"])).await.unwrap_err().0, -3);
}

#[tokio::test]
async fn blocks_are_found_by_height_and_shown_whole() {
    let node = node(Options::default()).await;
    let tip = call(&node, "getbestblockhash", json!([])).await.unwrap();
    assert_eq!(tip, node.tip().to_string());
    assert_eq!(call(&node, "getblockcount", json!([])).await, Ok(json!(20)));
    assert_eq!(call(&node, "getblockhash", json!([20])).await, Ok(tip.clone()));
    let genesis = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
    assert_eq!(call(&node, "getblockhash", json!([0])).await, Ok(json!(genesis)));
    let range = Err((-8, "Block height out of range".to_owned()));
    assert_eq!(call(&node, "getblockhash", json!([21])).await, range);
    assert_eq!(call(&node, "getblockhash", json!([-1])).await, range);
    let hash = node.mine_block().await.to_string();
    let block = call(&node, "getblock", json!([hash])).await.unwrap();
    assert_eq!(block["tx"].as_array().unwrap().len(), 21);
    let raw = call(&node, "getblock", json!([hash, 0])).await.unwrap();
    let raw = hex::decode(raw.as_str().unwrap()).unwrap();
    assert_eq!(block["size"], raw.len());
    let parsed: Block = consensus::deserialize(&raw).unwrap();
    assert_eq!(parsed.block_hash().to_string(), hash);
    assert_eq!(block["weight"], parsed.weight().to_wu());
    assert_eq!(block["strippedsize"].as_u64().unwrap() * 3 + raw.len() as u64, parsed.weight().to_wu());
    assert_eq!(call(&node, "getblock", json!([hash, 2])).await.unwrap_err().0, -8);
}

#[tokio::test]
async fn the_node_says_how_it_is() {
    let node = node(Options { peers: 3, ..Options::default() }).await;
    let chain = call(&node, "getblockchaininfo", json!([])).await.unwrap();
    assert_eq!(chain["chain"], "regtest");
    assert_eq!(chain["blocks"], 20);
    assert_eq!(chain["headers"], 20);
    assert_eq!(chain["bestblockhash"], node.tip().to_string());
    assert_eq!(chain["initialblockdownload"], false);
    let network = call(&node, "getnetworkinfo", json!([])).await.unwrap();
    assert_eq!(network["connections"], 3);
    assert!(network["version"].as_u64().unwrap() > 300_000);
    assert_eq!(call(&node, "getconnectioncount", json!([])).await, Ok(json!(3)));
    assert_eq!(call(&node, "getpeerinfo", json!([])).await.unwrap().as_array().unwrap().len(), 3);
    let mining = call(&node, "getmininginfo", json!([])).await.unwrap();
    assert_eq!(mining["next"]["height"], 21);
    assert_eq!(mining["pooledtx"], 20);
    assert_eq!(call(&node, "getindexinfo", json!([])).await, Ok(json!({})));
    assert!(call(&node, "uptime", json!([])).await.unwrap().is_u64());
    let zmq = call(&node, "getzmqnotifications", json!([])).await.unwrap();
    assert_eq!(zmq[0]["type"], "pubhashblock");
    assert_eq!(zmq[0]["address"], node.zmq_url().unwrap());
}

#[tokio::test]
async fn a_tip_of_yesterday_is_an_initial_download_as_on_a_fresh_regtest() {
    let node = node(Options { initial_blocks: 0, ..Options::default() }).await;
    let chain = call(&node, "getblockchaininfo", json!([])).await.unwrap();
    assert_eq!(chain["initialblockdownload"], true);
    node.mine_block().await;
    let chain = call(&node, "getblockchaininfo", json!([])).await.unwrap();
    assert_eq!(chain["initialblockdownload"], false);
    call(&node, "setmocktime", json!([NOW + 100_000])).await.unwrap();
    let chain = call(&node, "getblockchaininfo", json!([])).await.unwrap();
    assert_eq!(chain["initialblockdownload"], true);
    assert_eq!(template(&node).await["curtime"], NOW + 100_000);
}

#[tokio::test]
async fn requests_that_are_none_get_the_errors_of_json_rpc() {
    let node = node(Options::default()).await;
    for (body, status, code, id) in [
        ("{", 500, -32_700, Some(json!(null))),
        ("", 500, -32_700, Some(json!(null))),
        ("\"text\"", 500, -32_700, Some(json!(null))),
        (r#"{"id":1}"#, 400, -32_600, Some(json!(1))),
        (r#"{"method":"stop"}"#, 404, -32_601, None),
        (r#"{"id":"a","method":5}"#, 400, -32_600, Some(json!("a"))),
        (r#"{"id":1,"method":"uptime","params":3}"#, 400, -32_600, Some(json!(1))),
        (r#"{"id":1,"method":"uptime","jsonrpc":"3.0"}"#, 400, -32_600, Some(json!(1))),
        (r#"{"id":null,"method":"stop"}"#, 404, -32_601, Some(json!(null))),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stop"}"#, 200, -32_601, Some(json!(1))),
    ] {
        let (found, answer) = post(&node, body.to_owned(), None).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(found, status, "{body}");
        assert_eq!(answer["error"]["code"], code, "{body}");
        assert_eq!(answer.get("id"), id.as_ref(), "{body}");
    }
}

#[tokio::test]
async fn version_two_and_batches_are_spoken() {
    let node = node(Options::default()).await;
    let body = r#"{"jsonrpc":"2.0","id":"x","method":"getblockcount"}"#;
    let (_, answer) = post(&node, body.to_owned(), None).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "result": 20, "id": "x" }));

    let body = r#"{"jsonrpc":"2.0","method":"getblockcount"}"#;
    let (status, answer) = post(&node, body.to_owned(), None).await.unwrap();
    assert_eq!((status.as_u16(), answer.len()), (204, 0), "a notification is not answered");

    let body = r#"[{"id":1,"method":"getblockcount"},{"id":2,"method":"stop"},5]"#;
    let (status, answer) = post(&node, body.to_owned(), None).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer[0]["result"], 20);
    assert_eq!(answer[1]["error"]["code"], -32_601);
    assert_eq!(answer[2]["error"]["code"], -32_600);
    let (_, answer) = post(&node, "[]".to_owned(), None).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!([]));
}

#[tokio::test]
async fn only_who_knows_the_password_is_answered() {
    let credentials = Credentials::UserPassword { user: "pool".to_owned(), password: "a:b".to_owned() };
    let node = node(Options { credentials, ..Options::default() }).await;
    let body = r#"{"id":1,"method":"uptime"}"#;
    for (authorization, status) in [
        (None, 401),
        (Some(basic_auth("pool:a")), 401),
        (Some("Bearer pool:a:b".to_owned()), 401),
        (Some(basic_auth("pool:a:b")), 200),
    ] {
        let (found, _) = post(&node, body.to_owned(), authorization.as_deref()).await.unwrap();
        assert_eq!(found, status, "{authorization:?}");
    }
}

#[tokio::test]
async fn a_cookie_is_written_renewed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".cookie");
    let node = node(Options { credentials: Credentials::Cookie(path.clone()), ..Options::default() }).await;
    let body = || r#"{"id":1,"method":"uptime"}"#.to_owned();
    let old = std::fs::read_to_string(&path).unwrap();
    assert!(old.starts_with("__cookie__:") && old.len() == 11 + 64, "{old}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(post(&node, body(), Some(&basic_auth(&old))).await.unwrap().0, 200);
    node.faults().new_cookie().unwrap();
    let new = std::fs::read_to_string(&path).unwrap();
    assert_ne!(old, new);
    assert_eq!(post(&node, body(), Some(&basic_auth(&old))).await.unwrap().0, 401);
    assert_eq!(post(&node, body(), Some(&basic_auth(&new))).await.unwrap().0, 200);
    node.shutdown().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let start = |options: Options| async move { SimNode::start(options).await.unwrap_err() };
    let rpc = start(Options { rpc_bind: address.clone(), ..Options::default() }).await;
    assert!(matches!(&rpc, StartError::Rpc { address: named, .. } if *named == address), "{rpc}");
    let zmq = start(Options { zmq_bind: Some(format!("tcp://{address}")), ..Options::default() }).await;
    assert!(matches!(zmq, StartError::Zmq { .. }), "{zmq}");
    let bits = start(Options { bits: 0, ..Options::default() }).await;
    assert!(bits.to_string().contains("00000000"), "{bits}");
    let nowhere = Credentials::Cookie("/nonexistent/.cookie".into());
    let cookie = start(Options { credentials: nowhere, ..Options::default() }).await;
    assert!(cookie.to_string().contains("/nonexistent/.cookie"), "{cookie}");
}

#[tokio::test]
async fn get_and_other_paths_are_not_served() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let node = node(Options::default()).await;
    let address = node.rpc_url().replace("http://", "").replace('/', "");
    for (line, status) in [("GET / HTTP/1.1", "405"), ("POST /rest/tx HTTP/1.1", "404"), ("nonsense", "400")] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let request = format!("{line}\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
    }
}

#[tokio::test]
async fn the_program_runs_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cookie");
    let options = Options { credentials: Credentials::Cookie(path.clone()), ..Options::default() };
    let stop = tokio_util::sync::CancellationToken::new();
    let options = RunOptions { node: options, block_every: Some(Duration::from_millis(5)) };
    let running = tokio::spawn(run(options, stop.clone()));
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(!path.exists());
}
