//! A job to a thousand miners, beside a bare loop of writes of the same bytes to as many sockets.

#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Bench, HARD, settings, template};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use warppool_stratum::Listener;

/// Rounds of the direct comparison.
const ROUNDS: usize = 200;

/// Reads whatever comes on many sockets, as miners do, and counts it.
struct Miners {
    received: Arc<AtomicUsize>,
    runtime: Runtime,
}

impl Miners {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { received: Arc::default(), runtime }
    }

    fn listen_on(&self, stream: TcpStream) {
        stream.set_nonblocking(true).unwrap();
        let received = Arc::clone(&self.received);
        self.runtime.spawn(async move {
            let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let mut buffer = vec![0; 4096];
            while let Ok(length) = stream.read(&mut buffer).await
                && length > 0
            {
                received.fetch_add(length, Relaxed);
            }
        });
    }

    /// Until so many bytes have come since the last call.
    fn wait(&self, bytes: usize) {
        while self.received.load(Relaxed) < bytes {
            std::thread::sleep(Duration::from_micros(200));
        }
        self.received.store(0, Relaxed);
    }
}

fn notify(c: &mut Criterion) {
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for miners in [100, 1000] {
        let bench = Bench::new(settings());
        let template = template(1, HARD, 4000);
        let next = || Arc::new(bench.factory.build(&template, false).unwrap());
        bench.server.publish(next());
        let port = server.block_on(bench.server.listen(Listener::at(([127, 0, 0, 1], 0).into()))).unwrap();
        let ours = Miners::new();
        for n in 0..miners {
            let mut stream = TcpStream::connect(port.local_addr()).unwrap();
            let lines = format!(
                "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}}\n\
                 {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"payee{}.rig{n}\",\"x\"]}}\n",
                n % 10
            );
            stream.write_all(lines.as_bytes()).unwrap();
            ours.listen_on(stream);
        }
        while bench.server.metrics().mining < miners {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut line = Vec::new();
        let (mut talk, _) = bench.miner("payee0.rig");
        bench.server.publish(next());
        talk.with.take_newest(&mut line);
        std::thread::sleep(Duration::from_millis(200));
        ours.received.store(0, Relaxed);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bare = Miners::new();
        let mut sockets: Vec<TcpStream> = (0..miners)
            .map(|_| {
                bare.listen_on(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
                let (socket, _) = listener.accept().unwrap();
                socket.set_nodelay(true).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();

        let mut write = || {
            let start = Instant::now();
            for socket in &mut sockets {
                socket.write_all(&line).unwrap();
            }
            let elapsed = start.elapsed();
            bare.wait(miners * line.len());
            elapsed
        };
        let publish = || {
            let job = next();
            let start = Instant::now();
            let broadcast = bench.server.publish(job);
            let elapsed = start.elapsed();
            assert_eq!(broadcast.miners, miners);
            ours.wait(miners * line.len());
            elapsed
        };
        // Turn by turn, so that whatever else the machine does meets both.
        let (mut bare_times, mut our_times): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (write(), publish())).unzip();
        bare_times.sort_unstable();
        our_times.sort_unstable();
        let (bare_median, our_median) = (bare_times[ROUNDS / 2], our_times[ROUNDS / 2]);
        let ratio = our_median.as_secs_f64() / bare_median.as_secs_f64();
        println!("{miners} miners, medians: bare writes {bare_median:?}, publish {our_median:?}, ratio {ratio:.2}");
        println!("{miners} miners, p99: publish {:?}", our_times[ROUNDS * 99 / 100]);

        let mut group = c.benchmark_group(format!("notify/{miners}"));
        group.sample_size(20);
        group.bench_function("bare_writes", |b| b.iter_custom(|rounds| (0..rounds).map(|_| write()).sum()));
        group.bench_function("publish", |b| b.iter_custom(|rounds| (0..rounds).map(|_| publish()).sum()));
        group.finish();
    }
}

criterion_group!(benches, notify);
criterion_main!(benches);
