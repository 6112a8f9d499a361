//! What the operator sees who asks for every line on the wire.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tracing_subscriber::EnvFilter;
use warppool_stratum::Listener;

/// A log kept in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged under a filter while a miner says hello, sends a long line, and gets a job: direction, peer, line.
async fn logged(filter: &str) -> Vec<(String, String, String)> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(move || writer.clone())
        .finish();
    // Server and miner share this test's only thread.
    let _watching = tracing::subscriber::set_default(subscriber);
    let bench = Bench::new(settings());
    let port = bench.server.listen(Listener::at(([127, 0, 0, 1], 0).into())).await.unwrap();
    let mut miner = BufReader::new(TcpStream::connect(port.local_addr()).await.unwrap());
    let padding = "x".repeat(600);
    let lines = [
        json!({"id": 1, "method": "mining.subscribe", "params": ["übel"]}).to_string(),
        json!({"id": 2, "method": "mining.authorize", "params": ["alice", "x"]}).to_string(),
        json!({"id": 3, "method": "mining.ping", "params": [padding]}).to_string(),
    ];
    for line in &lines {
        miner.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
    let mut heard = String::new();
    while !heard.contains("pong") {
        miner.read_line(&mut heard).await.unwrap();
    }
    bench.publish(1);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    log.lines()
        .map(|entry| serde_json::from_str::<Value>(entry).unwrap())
        .filter(|entry| entry["target"] == "warppool_stratum" && entry["level"] == "TRACE")
        .map(|entry| ["message", "peer", "line"].map(|field| text(&entry["fields"][field])).into())
        .collect()
}

#[tokio::test]
async fn every_line_in_and_out_is_logged_at_trace_cut_and_escaped() {
    let logged = logged("info,warppool_stratum=trace").await;
    assert!(logged.iter().all(|(_, peer, _)| peer.starts_with("127.0.0.1:")), "{logged:?}");
    let way = |wanted: &str| -> Vec<_> {
        logged.iter().filter(|(way, ..)| way == wanted).map(|(.., line)| line.as_str()).collect()
    };
    let (came, sent) = (way("in"), way("out"));
    assert_eq!(came.len() + sent.len(), logged.len(), "{logged:?}");
    assert_eq!(came.len(), 3, "{came:?}");
    assert!(came[0].contains(r"\xc3\xbcbel") && came[0].contains("\"mining.subscribe\""), "{}", came[0]);
    assert!(came[1].contains("mining.authorize"), "{}", came[1]);
    assert!(came[2].ends_with("x... (645 bytes)"), "{}", came[2]);
    let parts = ["\"id\":1", "\"id\":2,\"result\":true", "mining.set_difficulty", "pong", "mining.notify"];
    assert_eq!(sent.len(), parts.len(), "{sent:?}");
    for (line, part) in sent.iter().zip(parts) {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[tokio::test]
async fn nothing_of_it_is_logged_at_debug() {
    assert_eq!(logged("debug").await, []);
}
