//! What an idle connection costs: opens many from another process, and prints the resident memory each added.
//!
//! `ulimit -n 16384; cargo run --release -p warppool-stratum --example idle -- [CONNECTIONS]`

#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Bench, settings};
use warppool_stratum::Listener;

/// Enough connections for what the first of them cost to be out of the way.
const WARM: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("miners") => miners(&arguments[2], arguments[3].parse().unwrap()),
        count => server(count.map_or(10_000, |n| n.parse().unwrap())),
    }
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn server(connections: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = Bench::new(settings());
    bench.publish(1);
    let port = runtime.block_on(bench.server.listen(Listener::at(([127, 0, 0, 1], 0).into()))).unwrap();
    let open = |count: usize| {
        let mut miners = Command::new(std::env::current_exe().unwrap())
            .args(["miners", &port.local_addr().to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(miners.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "raise `ulimit -n`");
        miners
    };
    let warm = open(WARM);
    bench.pool.logins.lock().unwrap().clear();
    let before = resident();
    let miners = open(connections);
    let opened = resident();
    bench.publish(2);
    // After ten seconds each is announced to the pool; then nothing happens.
    std::thread::sleep(Duration::from_secs(12));
    *bench.pool.logins.lock().unwrap() = Vec::new();
    *bench.pool.connected.lock().unwrap() = Vec::new();
    let settled = resident();
    let each = |bytes: usize| (bytes - before) as f64 / connections as f64;
    println!("{connections} connections, {} mining", bench.server.metrics().mining - WARM);
    println!("bytes each after opening: {:.0}", each(opened));
    println!("bytes each when idle:     {:.0}", each(settled));
    for mut process in [warm, miners] {
        drop(process.stdin.take());
        process.wait().unwrap();
    }
}

fn miners(address: &str, count: usize) {
    let open = |n: usize| {
        let mut stream = TcpStream::connect(address).expect("raise `ulimit -n`");
        let lines = format!(
            "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"bitaxe/BM1370/v2.9\"]}}\n\
             {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.{n}\",\"x\"]}}\n"
        );
        stream.write_all(lines.as_bytes()).unwrap();
        // The job is the fourth line.
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        for _ in 0..4 {
            reader.read_line(&mut line).unwrap();
        }
        assert!(line.contains("mining.notify"), "{line}");
        reader.into_inner()
    };
    let _held: Vec<TcpStream> = (0..count).map(open).collect();
    println!("ready");
    // Until the server's process is done with us.
    let _ = std::io::stdin().read_line(&mut String::new());
}
