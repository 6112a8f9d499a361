//! The RPC client: connections, logging in, errors, limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use warppool_node::{Auth, Latency, NodeSettings, Patience, Reply, Rpc, RpcError};

use crate::core::{FakeCore, Fault};
use crate::node;

const PATIENCE: Patience = Patience::AtMost(Duration::from_secs(5));

fn client(settings: &NodeSettings) -> Rpc {
    Rpc::new(settings, Arc::new(Latency::default())).unwrap()
}

async fn info(rpc: &Rpc) -> Result<Value, RpcError> {
    rpc.call("getblockchaininfo", &json!([]), PATIENCE).await.and_then(|reply: Reply| reply.value())
}

#[tokio::test]
async fn one_connection_serves_call_after_call() {
    let core = FakeCore::start().await;
    let rpc = client(&node("a", &core));
    for _ in 0..20 {
        assert_eq!(info(&rpc).await.unwrap()["chain"], "regtest");
    }
    assert_eq!(core.count("connection"), 1);
}

#[tokio::test]
async fn a_connection_the_node_closed_while_idle_is_replaced_unnoticed() {
    let core = FakeCore::start().await;
    let rpc = client(&node("a", &core));
    for _ in 0..5 {
        info(&rpc).await.unwrap();
        core.restart().await;
    }
    info(&rpc).await.unwrap();
}

#[tokio::test]
async fn a_node_that_hangs_up_on_every_call_is_an_error_and_no_loop() {
    let core = FakeCore::start().await;
    core.fault("getblockchaininfo", Fault::Close);
    let rpc = client(&node("a", &core));
    assert!(matches!(info(&rpc).await, Err(RpcError::Broken { .. })));
    assert!(core.count("getblockchaininfo") <= 2);
}

#[tokio::test]
async fn a_new_cookie_is_picked_up_without_an_error() {
    let core = FakeCore::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".cookie");
    let rpc = client(&NodeSettings { auth: Auth::Cookie(path.clone()), ..node("a", &core) });
    for run in 0..5 {
        // Same length and, on a coarse clock, same time: only the refusal tells.
        let cookie = format!("__cookie__:{run:064x}");
        std::fs::write(&path, &cookie).unwrap();
        core.login(&cookie);
        info(&rpc).await.unwrap();
    }
    core.login("__cookie__:another");
    assert!(matches!(info(&rpc).await, Err(RpcError::Unauthorized { cookie: Some(p) }) if p == path));
}

#[tokio::test]
async fn without_a_cookie_a_stopped_node_is_told_from_a_wrong_path() {
    let core = FakeCore::start().await;
    let rpc = client(&NodeSettings { auth: Auth::Cookie("/nowhere/.cookie".into()), ..node("a", &core) });
    assert!(matches!(info(&rpc).await, Err(RpcError::CookieMissing { .. })));
    core.stop();
    // Until the listener is gone the kernel may still take a connection.
    let refused = async {
        while !matches!(info(&rpc).await, Err(RpcError::Connect { .. })) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(crate::LONG, refused).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_sent_once() {
    let core = FakeCore::start().await;
    core.login("user:right");
    let auth = |pass: &str| Auth::UserPass { user: "user".into(), pass: pass.into() };
    let wrong = client(&NodeSettings { auth: auth("wrong"), ..node("a", &core) });
    assert!(matches!(info(&wrong).await, Err(RpcError::Unauthorized { cookie: None })));
    assert_eq!(core.count("refused"), 1);
    info(&client(&NodeSettings { auth: auth("right"), ..node("a", &core) })).await.unwrap();
}

#[tokio::test]
async fn every_fault_is_an_error_of_its_own() {
    let core = FakeCore::start().await;
    let rpc = client(&node("a", &core));
    for (fault, expected) in [
        (Fault::Rpc(-28, "Loading block index…"), "Loading block index… (code -28)"),
        (Fault::Http(403), "HTTP 403"),
        (Fault::Http(404), "HTTP 404"),
        (Fault::Http(503), "HTTP 503"),
        (Fault::Garbage, "malformed"),
        (Fault::Close, "broke"),
    ] {
        core.fault("getblockchaininfo", fault);
        let error = info(&rpc).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{fault:?}: {error}");
    }
    let error = rpc.call("getnothing", &json!([]), PATIENCE).await.unwrap_err();
    assert!(matches!(error, RpcError::Rpc { code: -32601, .. }), "{error}");
}

#[tokio::test]
async fn a_call_that_hangs_times_out_and_delays_no_other() {
    let core = FakeCore::start().await;
    core.fault("getblocktemplate", Fault::Hang);
    let rpc = Arc::new(client(&node("a", &core)));
    let hanging = Arc::clone(&rpc);
    let poll = tokio::spawn(async move { hanging.call("getblocktemplate", &json!([{}]), Patience::Forever).await });
    crate::until("the long poll hangs", || core.count("getblocktemplate") == 1).await;
    let started = Instant::now();
    for _ in 0..10 {
        rpc.call("submitblock", &["00"], PATIENCE).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(2));
    let brief = Patience::AtMost(Duration::from_millis(20));
    let error = rpc.call("getblocktemplate", &json!([{}]), brief).await.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { method: "getblocktemplate", .. }), "{error}");
    assert!(!poll.is_finished());
    poll.abort();
}

#[tokio::test]
async fn calls_are_counted_in_the_latency_and_long_polls_are_not() {
    let core = FakeCore::start().await;
    let latency = Arc::new(Latency::default());
    let rpc = Rpc::new(&node("a", &core), Arc::clone(&latency)).unwrap();
    info(&rpc).await.unwrap();
    rpc.call("getnothing", &json!([]), PATIENCE).await.unwrap_err();
    rpc.call("getblockchaininfo", &json!([]), Patience::Forever).await.unwrap();
    assert_eq!(latency.snapshot().count(), 2);
}

/// Answers the first request with `head`, then with `chunk` over and over until the client is fed up.
async fn endless(head: &'static str, chunk: Vec<u8>) -> NodeSettings {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while !chunk.is_empty() && stream.write_all(&chunk).await.is_ok() {}
    });
    NodeSettings { name: "a".into(), rpc_url, auth: Auth::None, zmq_hashblock: None }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_at_the_limit() {
    let announced = endless("HTTP/1.1 200 OK\r\nContent-Length: 68719476736\r\n\r\n", vec![]).await;
    assert!(matches!(info(&client(&announced)).await, Err(RpcError::TooLarge { .. })));
    let mut chunk = b"400000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x40_0000, b' ');
    chunk.extend_from_slice(b"\r\n");
    let chunked = endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk).await;
    assert!(matches!(info(&client(&chunked)).await, Err(RpcError::TooLarge { .. })));
}

#[tokio::test]
async fn a_call_on_a_connection_that_dies_under_it_is_made_again_on_a_new_one() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{\"result\":{\"chain\":\"main\"}} ";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc_url = format!("http://{}", listener.local_addr().unwrap());
    // Answers one call a connection, reads the next, and hangs up.
    let server = tokio::spawn(async move {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(ANSWER.as_bytes()).await.unwrap();
            let _ = stream.read(&mut request).await;
        }
    });
    let rpc = client(&NodeSettings { name: "a".into(), rpc_url, auth: Auth::None, zmq_hashblock: None });
    for _ in 0..3 {
        assert_eq!(info(&rpc).await.unwrap()["chain"], "main");
    }
    drop(rpc);
    server.await.unwrap();
}

#[tokio::test]
async fn what_does_not_speak_http_is_an_error() {
    for head in
        ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"re", "HTTP/9.9 what\r\n\r\n"]
    {
        let error = info(&client(&endless(head, vec![]).await)).await.unwrap_err();
        assert!(matches!(error, RpcError::Broken { .. }), "{head:?}: {error}");
    }
}
