//! What an accepted share costs the server's process over real sockets, beside the hashing in it.
//!
//! `cargo run --release -p warppool-stratum --example share_cpu -- [CONNECTIONS] [PIPELINE] [SECONDS]`

#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{ANY_HASH, Bench, HARD, Miner, d, payout, settings, template};
use warppool_stratum::Listener;
use warppool_work::{Duplicates, ShareRules, Submission, VersionMask, judge};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |n: usize, default| arguments.get(n).map_or(default, |text| text.parse().unwrap());
    if arguments.get(1).is_some_and(|first| first == "miners") {
        miners(&arguments[2], number(3, 0), number(4, 0), number(5, 0) as u64);
    } else {
        server(number(1, 50), number(2, 16), number(3, 10));
    }
}

/// Processor time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    // A hundred ticks a second on every Linux.
    Duration::from_millis(ticks * 10)
}

fn server(connections: usize, pipeline: usize, seconds: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = Bench::new(settings());
    let job = Arc::new(bench.factory.build(&template(1, HARD, 4000), true).unwrap());
    bench.server.publish(Arc::clone(&job));
    let port = runtime.block_on(bench.server.listen(Listener::at(([127, 0, 0, 1], 0).into()))).unwrap();
    let mut miners = Command::new(std::env::current_exe().unwrap())
        .args(["miners", &port.local_addr().to_string()])
        .args([connections, pipeline, seconds].map(|n| n.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(miners.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let (before, start) = (cpu(), Instant::now());
    drop(miners.stdin.take());
    while miners.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
        bench.pool.shares.lock().unwrap().clear();
    }
    let (spent, wall) = (cpu().saturating_sub(before), start.elapsed());
    let metrics = bench.server.metrics();
    let each = |total: Duration, count: u64| total.as_secs_f64() * 1e6 / count as f64;

    let coinbase = job.coinbase(&payout("alice")).unwrap();
    let target = d(ANY_HASH).target();
    let rules = ShareRules { difficulty: d(ANY_HASH), target, mask: VersionMask::NONE, safe_mode: true, stale: false };
    let mut seen = Duplicates::default();
    let before = cpu();
    for nonce in 0..1_000_000 {
        let submission = Submission { en2: [0; 8], time: job.time, nonce, version_bits: None };
        std::hint::black_box(judge(&job, &coinbase, [0; 4], &submission, &rules, &mut seen));
    }
    let judging = each(cpu().saturating_sub(before), 1_000_000);
    let share = each(spent, metrics.accepted);
    let refused: u64 = metrics.refused.iter().map(|(_, count)| count).sum();
    println!(
        "{} shares accepted, {refused} refused, {:.0} a second",
        metrics.accepted,
        metrics.accepted as f64 / wall.as_secs_f64()
    );
    println!("processor time a share {share:.2} µs, judging alone {judging:.2} µs, ratio {:.2}", share / judging);
}

/// Each connection sends a pipeline of lines, waits for all answers, and sends the next.
fn miners(address: &str, connections: usize, pipeline: usize, seconds: u64) {
    let open = |n: usize| {
        let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
        let login = [
            json!({"id": 1, "method": "mining.subscribe", "params": []}),
            json!({"id": 2, "method": "mining.authorize", "params": [format!("alice.rig{n}"), "x"]}),
        ];
        for line in login {
            stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        let mut hear = || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            serde_json::from_str::<serde_json::Value>(&line).unwrap()
        };
        let subscribed = hear()["result"].clone();
        let sent = [hear(), hear(), hear()];
        (stream.into_inner(), Miner::new(&format!("alice.rig{n}"), &subscribed, &sent))
    };
    let opened: Vec<_> = (0..connections).map(open).collect();
    println!("ready");
    let _ = std::io::stdin().read_line(&mut String::new());
    let end = Instant::now() + Duration::from_secs(seconds);
    let threads = opened.into_iter().map(|(mut stream, mut miner)| {
        std::thread::spawn(move || {
            let mut share = miner.share();
            let mut answers = [0; 16 * 1024];
            while Instant::now() < end {
                let lines: Vec<String> = (0..pipeline)
                    .map(|_| {
                        share.nonce += 1;
                        miner.line(&share)
                    })
                    .collect();
                stream.write_all(lines.concat().as_bytes()).unwrap();
                let mut heard = 0;
                while heard < pipeline {
                    let length = stream.read(&mut answers).unwrap();
                    heard += answers[..length].split(|byte| *byte == b'\n').count() - 1;
                }
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}
