//! What an idle connection costs: opens many from another process, and prints the resident memory each added.
//!
//! `ulimit -n 16384; cargo run --release -p warppool-stratum --example idle -- [CONNECTIONS] [tls]`

#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use support::{Bench, settings};
use warppool_stratum::{Listener, TlsIdentity, TlsVersions};

/// Enough connections for what the first of them cost to be out of the way.
const WARM: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("miners") => miners(&arguments[2], arguments[3].parse().unwrap(), arguments.get(4)),
        count => server(count.map_or(10_000, |n| n.parse().unwrap()), arguments.get(2).is_some_and(|tls| tls == "tls")),
    }
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn server(connections: usize, tls: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = Bench::new(settings());
    bench.publish(1);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = TlsIdentity::from_pem(certificate.as_bytes(), key.as_bytes(), TlsVersions::From12).unwrap();
    let listener = Listener { tls: tls.then_some(identity), ..Listener::at(([127, 0, 0, 1], 0).into()) };
    let port = runtime.block_on(bench.server.listen(listener)).unwrap();
    let open = |count: usize| {
        let mut miners = Command::new(std::env::current_exe().unwrap())
            .args(["miners", &port.local_addr().to_string(), &count.to_string()])
            .args(tls.then_some(&certificate))
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

/// Both ways of talking to the server.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn miners(address: &str, count: usize, certificate: Option<&String>) {
    let config = certificate.map(|pem| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    });
    let open = |n: usize| {
        let stream = TcpStream::connect(address).expect("raise `ulimit -n`");
        let mut stream: Box<dyn Stream> = match &config {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                let tls = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
                Box::new(rustls::StreamOwned::new(tls, stream))
            }
        };
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
    let _held: Vec<Box<dyn Stream>> = (0..count).map(open).collect();
    println!("ready");
    // Until the server's process is done with us.
    let _ = std::io::stdin().read_line(&mut String::new());
}
