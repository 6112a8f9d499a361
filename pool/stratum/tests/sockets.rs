//! The server on real sockets: broadcasts, TLS, proxies, limits, slow readers, and its end.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use warppool_stratum::{
    Bind, Listener, ListenerHandle, Rates, Reason, Server, Settings, TlsIdentity, TlsVersions, TurnedAway,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A client that speaks lines.
struct Client<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line; `None` at the end.
    async fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("a line in time");
        read.ok().filter(|length| *length > 0).map(|_| serde_json::from_str(&line).unwrap())
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.send(format!("{}\n", json!({"id": 7, "method": method, "params": params}))).await;
        self.hear().await.unwrap()
    }

    /// Subscribes, authorizes, and takes difficulty and job in.
    async fn log_in(&mut self, username: &str) -> Miner {
        let subscribed = self.call("mining.subscribe", json!(["test/1"])).await["result"].clone();
        assert_eq!(self.call("mining.authorize", json!([username, "x"])).await["result"], true);
        let sent = [self.hear().await.unwrap(), self.hear().await.unwrap()];
        Miner::new(username, &subscribed, &sent)
    }
}

async fn listen(bench: &Bench) -> ListenerHandle {
    bench.server.listen(Listener::at(([127, 0, 0, 1], 0).into())).await.unwrap()
}

async fn connect(address: SocketAddr) -> Client<TcpStream> {
    Client::new(TcpStream::connect(address).await.unwrap())
}

/// Waits for a condition; fails when it does not come.
#[track_caller]
fn eventually(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "never came true: {caller}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn disconnects(server: &Server, reason: Reason) -> u64 {
    server.metrics().disconnects.iter().find(|(r, _)| *r == reason).unwrap().1
}

fn turned_away(server: &Server, cause: TurnedAway) -> u64 {
    server.metrics().turned_away.iter().find(|(c, _)| *c == cause).unwrap().1
}

#[tokio::test]
async fn a_miner_works_over_a_plain_socket_from_handshake_to_share() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let port = listen(&bench).await;
    let mut client = connect(port.local_addr()).await;
    let mut miner = client.log_in("alice.rig").await;
    // Sixteen shares in one write are answered in order.
    let lines: String = (0..16)
        .map(|_| {
            let share = miner.share();
            miner.line(&share)
        })
        .collect();
    client.send(lines).await;
    for _ in 0..16 {
        assert_eq!(client.hear().await.unwrap(), json!({"id": 4, "result": true, "error": null}));
    }
    let sessions = bench.server.sessions();
    assert_eq!((sessions.len(), sessions[0].accepted, sessions[0].tls), (1, 16, false));
    assert_eq!(sessions[0].name.as_deref(), Some("alice.rig"));
    let metrics = bench.server.metrics();
    assert_eq!((metrics.plain, metrics.tls, metrics.mining, metrics.silent, metrics.connects), (1, 0, 1, 0, 1));
    drop(client);
    eventually(|| bench.server.sessions().is_empty()).await;
    assert_eq!(disconnects(&bench.server, Reason::Closed), 1);
    assert_eq!(bench.pool.disconnected.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_reaches_every_miner_and_only_miners_and_pays_each_its_own() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let port = listen(&bench).await;
    let mut idle = connect(port.local_addr()).await;
    idle.call("mining.subscribe", json!([])).await;
    let mut clients = Vec::new();
    for n in 0..50 {
        let mut client = connect(port.local_addr()).await;
        let miner = client.log_in(&format!("payee{}.rig", n % 7)).await;
        clients.push((client, miner));
    }
    let job = bench.job(2, HARD);
    let broadcast = bench.server.publish(Arc::clone(&job));
    assert_eq!(broadcast.miners, 50);
    assert!(Duration::ZERO < broadcast.first && broadcast.first <= broadcast.last);
    for (client, miner) in &mut clients {
        miner.hear(&[client.hear().await.unwrap()]);
        assert_eq!((&miner.job[0], &miner.job[8]), (&json!(job.id.to_string()), &json!(true)));
        let payee = miner.username.split('.').next().unwrap();
        let script = const_hex::encode(payout(payee).script());
        assert!(miner.job[3].as_str().unwrap().contains(&script), "{payee} is paid");
        let share = miner.share();
        client.send(miner.line(&share)).await;
        assert_eq!(client.hear().await.unwrap()["result"], true);
    }
    assert_eq!(idle.call("mining.ping", json!([])).await["result"], "pong", "who is not authorized got no job");
}

#[tokio::test]
async fn a_slow_reader_is_dropped_others_go_on_and_its_last_block_counts() {
    let bench = Bench::new(Settings { write_limit: 16 * 1024, ..settings() });
    bench.publish_with(1, REGTEST);
    let port = listen(&bench).await;
    let (mut slow, mut quick) = (connect(port.local_addr()).await, connect(port.local_addr()).await);
    let mut miner = slow.log_in("slow").await;
    quick.log_in("quick").await;
    let target = warppool_work::Target::from_compact(REGTEST).unwrap();
    let mut published = 0;
    // Its socket's buffers fill first, then the server's.
    while disconnects(&bench.server, Reason::SlowReader) == 0 {
        published += 1;
        assert!(published < 20_000, "it is never dropped");
        if published == 100 {
            let mut share = miner.share();
            while !target.is_met_by(&miner.hash(&share)) {
                share.nonce += 1;
            }
            slow.send(miner.line(&share)).await;
        }
        bench.publish_with((published % 200) as u8 + 2, HARD);
        assert_eq!(quick.hear().await.unwrap()["method"], "mining.notify");
        if published % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.pool.blocks.lock().unwrap().len(), 1, "what it sent before is judged");
    assert_eq!(bench.server.sessions().len(), 1);
}

#[tokio::test]
async fn what_a_socket_does_not_take_comes_whole_and_in_order_once_it_is_read() {
    let bench = Bench::new(Settings { write_limit: 1 << 30, ..settings() });
    bench.publish(1);
    let port = listen(&bench).await;
    let mut client = connect(port.local_addr()).await;
    client.log_in("alice").await;
    let ids: Vec<String> = (0..5000u32).map(|n| bench.publish((n % 200) as u8).id.to_string()).collect();
    for id in ids {
        assert_eq!(client.hear().await.unwrap()["params"][0], id);
    }
    assert_eq!(client.call("mining.ping", json!([])).await["result"], "pong");
}

#[tokio::test]
async fn connections_are_capped_in_all_and_by_address_and_the_caps_change_live() {
    let bench = Bench::new(Settings { max_connections: 3, ..settings() });
    let port = listen(&bench).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = connect(port.local_addr()).await;
        client.call("mining.subscribe", json!([])).await;
        held.push(client);
    }
    let closed = async || connect(port.local_addr()).await.hear().await.is_none();
    assert!(closed().await);
    bench.server.reconfigure(Settings { max_connections: 10, max_per_address: 3, ..settings() });
    assert!(closed().await);
    assert_eq!(
        (turned_away(&bench.server, TurnedAway::Full), turned_away(&bench.server, TurnedAway::AddressFull)),
        (1, 1)
    );
    bench.server.reconfigure(Settings { max_connections: 1, ..settings() });
    for client in &mut held {
        assert_eq!(client.call("mining.ping", json!([])).await["result"], "pong", "a smaller cap kicks nobody");
    }
    assert!(closed().await);
    held.clear();
    eventually(|| bench.server.sessions().is_empty()).await;
    assert_eq!(connect(port.local_addr()).await.call("mining.ping", json!([])).await["result"], "pong");
}

#[tokio::test]
async fn floods_of_connects_are_closed_and_floods_of_authorizations_answered() {
    let rates = Rates {
        connect_burst: 3,
        connects_per_second: 0.001,
        authorize_burst: 2,
        authorizes_per_second: 0.001,
        ..Rates::default()
    };
    let bench = Bench::new(Settings { rates, ..settings() });
    let port = listen(&bench).await;
    let mut client = connect(port.local_addr()).await;
    for (attempt, expected) in [(0, true), (1, true), (2, false), (3, false)] {
        let answer = client.call("mining.authorize", json!([format!("alice.{attempt}"), "x"])).await;
        assert_eq!(answer["result"], expected);
        assert_eq!(answer["error"].is_null(), expected, "{answer}");
    }
    assert_eq!(client.call("mining.authorize", json!(["alice.0", "x"])).await["result"], true, "known already");
    assert_eq!(bench.server.metrics().authorize_limited, 2);
    let mut more = Vec::new();
    for _ in 0..4 {
        more.push(connect(port.local_addr()).await);
    }
    eventually(|| turned_away(&bench.server, TurnedAway::TooOften) == 2).await;
}

#[tokio::test]
async fn who_does_not_authorize_in_time_is_dropped() {
    let bench = Bench::new(Settings { authorize_timeout: Duration::from_millis(100), ..settings() });
    bench.publish(1);
    let port = listen(&bench).await;
    let (mut silent, mut miner) = (connect(port.local_addr()).await, connect(port.local_addr()).await);
    miner.log_in("alice").await;
    assert_eq!(silent.hear().await, None);
    assert_eq!(disconnects(&bench.server, Reason::AuthorizeTimeout), 1);
    assert_eq!(miner.call("mining.ping", json!([])).await["result"], "pong");
}

#[tokio::test]
async fn a_browser_is_told_where_it_is() {
    let bench = Bench::new(settings());
    let port = listen(&bench).await;
    let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Stratum mining port"), "{answer}");
}

#[tokio::test]
async fn a_listener_stops_and_leaves_its_connections() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = Listener { bind: Bind::Socket(socket), ..Listener::at(([127, 0, 0, 1], 0).into()) };
    let port = bench.server.listen(listener).await.unwrap();
    let mut client = connect(port.local_addr()).await;
    client.log_in("alice").await;
    port.stop();
    let address = port.local_addr();
    let start = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "the port stays open");
    }
    bench.publish(2);
    assert_eq!(client.hear().await.unwrap()["method"], "mining.notify");
    // The port can be opened again.
    let again = bench.server.listen(Listener::at(address)).await.unwrap();
    assert_eq!(connect(again.local_addr()).await.call("mining.ping", json!([])).await["result"], "pong");
}

#[tokio::test]
async fn shutdown_judges_what_has_come_and_ends_every_connection() {
    let bench = Bench::new(settings());
    bench.publish_with(1, REGTEST);
    let port = listen(&bench).await;
    let mut client = connect(port.local_addr()).await;
    let mut miner = client.log_in("alice").await;
    let mut share = miner.share();
    let target = warppool_work::Target::from_compact(REGTEST).unwrap();
    while !target.is_met_by(&miner.hash(&share)) {
        share.nonce += 1;
    }
    // Sent, but not read by the server yet: this test's only thread has not let it.
    let line = miner.line(&share);
    assert_eq!(client.stream.get_ref().try_write(line.as_bytes()).unwrap(), line.len());
    bench.server.shutdown(PATIENCE).await;
    assert_eq!(bench.pool.blocks.lock().unwrap().len(), 1);
    assert!(bench.server.sessions().is_empty());
    assert_eq!(bench.pool.disconnected.lock().unwrap()[0].1, Reason::Shutdown);
    assert!(TcpStream::connect(port.local_addr()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_come_and_go_while_jobs_are_published_and_each_sees_them_in_order() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let address = listen(&bench).await.local_addr();
    let mut miners = tokio::task::JoinSet::new();
    for n in 0..20u8 {
        miners.spawn(async move {
            for round in 0..5 {
                let mut client = connect(address).await;
                let mut miner = client.log_in(&format!("alice.{n}")).await;
                let id = |miner: &Miner| u64::from_str_radix(miner.job[0].as_str().unwrap(), 16).unwrap();
                for _ in 0..5 {
                    let share = miner.share();
                    client.send(miner.line(&share)).await;
                    loop {
                        let before = id(&miner);
                        let heard = client.hear().await.unwrap();
                        if heard["id"] == 4 {
                            assert_eq!(heard["result"], true, "round {round}: {heard}");
                            break;
                        }
                        miner.hear(&[heard]);
                        assert!(id(&miner) > before, "jobs come in order, each once");
                    }
                }
            }
        });
    }
    // Fewer jobs than are kept, however slow this machine is.
    for _ in 0..200 {
        bench.server.publish(Arc::new(bench.factory.build(&template(1, HARD, 3), false).unwrap()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while let Some(ended) = miners.join_next().await {
        ended.unwrap();
    }
    eventually(|| bench.server.sessions().is_empty()).await;
    assert_eq!(bench.server.metrics().disconnects.iter().map(|(_, n)| n).sum::<u64>(), 100);
}

#[tokio::test]
async fn miners_left_without_a_job_are_counted() {
    let bench = Bench::new(Settings { keepalive: Duration::from_millis(20), ..settings() });
    bench.publish(1);
    let port = listen(&bench).await;
    let mut client = connect(port.local_addr()).await;
    client.log_in("alice").await;
    eventually(|| bench.server.metrics().silent == 1).await;
    bench.publish(1);
    assert_eq!(bench.server.metrics().silent, 0);
}

#[tokio::test]
async fn one_connection_can_be_closed_by_the_operator() {
    let bench = Bench::new(settings());
    let port = listen(&bench).await;
    let mut client = connect(port.local_addr()).await;
    client.call("mining.ping", json!([])).await;
    let id = bench.server.sessions()[0].id;
    assert!(bench.server.disconnect(id));
    assert_eq!(client.hear().await, None);
    eventually(|| !bench.server.disconnect(id)).await;
    assert_eq!(disconnects(&bench.server, Reason::Operator), 1);
}

fn proxied(source: &str) -> Vec<u8> {
    let SocketAddr::V4(source) = source.parse().unwrap() else { unreachable!() };
    let addresses = [&source.ip().octets()[..], &[127, 0, 0, 1], &source.port().to_be_bytes(), &[0, 1]].concat();
    [&warppool_stratum::proxy::SIGNATURE[..], &[0x21, 0x11, 0, 12], &addresses].concat()
}

#[tokio::test]
async fn a_named_proxy_is_believed_and_must_say_whom_it_speaks_for() {
    let bench =
        Bench::new(Settings { max_per_address: 1, handshake_timeout: Duration::from_millis(200), ..settings() });
    bench.publish(1);
    let proxy_from = vec!["127.0.0.0/8".parse().unwrap()];
    let port = bench.server.listen(Listener { proxy_from, ..Listener::at(([127, 0, 0, 1], 0).into()) }).await.unwrap();
    let mut first = connect(port.local_addr()).await;
    // Header and line in one segment.
    first.send([proxied("203.0.113.5:4000"), b"{\"id\":1,\"method\":\"mining.ping\"}\n".to_vec()].concat()).await;
    assert_eq!(first.hear().await.unwrap()["result"], "pong");
    assert_eq!(bench.server.sessions()[0].peer, "203.0.113.5:4000".parse().unwrap());
    let mut other = connect(port.local_addr()).await;
    for byte in proxied("203.0.113.6:4000") {
        other.send([byte]).await;
    }
    assert_eq!(other.call("mining.ping", json!([])).await["result"], "pong", "another client, another address");
    let mut same = connect(port.local_addr()).await;
    same.send(proxied("203.0.113.5:4001")).await;
    assert_eq!(same.hear().await, None, "limits go by the client's address");
    assert_eq!(turned_away(&bench.server, TurnedAway::AddressFull), 1);
    for bad in [&b"{\"id\":1,\"method\":\"mining.ping\"}\n"[..], b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", b"\r\n\r\n"] {
        let before = turned_away(&bench.server, TurnedAway::ProxyHeader);
        let mut client = connect(port.local_addr()).await;
        client.send(bad).await;
        assert_eq!(client.hear().await, None, "{}", bad.escape_ascii());
        assert_eq!(turned_away(&bench.server, TurnedAway::ProxyHeader), before + 1);
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let bench = Bench::new(settings());
    let port = listen(&bench).await;
    let mut client = connect(port.local_addr()).await;
    client.send(proxied("203.0.113.5:4000")).await;
    assert_eq!(client.hear().await, None);
    assert_eq!(disconnects(&bench.server, Reason::UnexpectedProxyHeader), 1);
}

#[tokio::test]
async fn the_proxies_believed_can_be_changed_while_the_port_stays_open() {
    let bench = Bench::new(settings());
    let port = listen(&bench).await;
    let mut direct = connect(port.local_addr()).await;
    assert_eq!(direct.call("mining.ping", json!([])).await["result"], "pong");

    port.set_proxies(vec!["127.0.0.0/8".parse().unwrap()]);
    let mut behind = connect(port.local_addr()).await;
    behind.send(proxied("203.0.113.5:4000")).await;
    assert_eq!(behind.call("mining.ping", json!([])).await["result"], "pong");
    assert!(bench.server.sessions().iter().any(|session| session.peer == "203.0.113.5:4000".parse().unwrap()));

    port.set_proxies(Vec::new());
    let mut disbelieved = connect(port.local_addr()).await;
    disbelieved.send(proxied("203.0.113.6:4000")).await;
    assert_eq!(disbelieved.hear().await, None);
    assert_eq!(disconnects(&bench.server, Reason::UnexpectedProxyHeader), 1);
    for client in [&mut direct, &mut behind] {
        assert_eq!(client.call("mining.ping", json!([])).await["result"], "pong", "who is there stays");
    }
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

type TlsClient = Client<tokio_rustls::client::TlsStream<TcpStream>>;

async fn connect_tls(
    address: SocketAddr,
    certificate: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> std::io::Result<TlsClient> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    Ok(Client::new(connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?))
}

async fn listen_tls(bench: &Bench, identity: &TlsIdentity) -> ListenerHandle {
    let listener = Listener { tls: Some(identity.clone()), ..Listener::at(([127, 0, 0, 1], 0).into()) };
    bench.server.listen(listener).await.unwrap()
}

#[tokio::test]
async fn a_miner_works_over_tls_of_either_version_and_gets_broadcasts() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (pem, key) = certificate();
    let identity = TlsIdentity::from_pem(pem.as_bytes(), key.as_bytes(), TlsVersions::From12).unwrap();
    let port = listen_tls(&bench, &identity).await;
    for (n, version) in [&rustls::version::TLS12, &rustls::version::TLS13].into_iter().enumerate() {
        let mut client = connect_tls(port.local_addr(), &pem, version).await.unwrap();
        let mut miner = client.log_in("alice").await;
        assert!(bench.server.sessions()[0].tls);
        for prev in 0..20 {
            bench.publish(n as u8 * 100 + prev + 2);
            miner.hear(&[client.hear().await.unwrap()]);
            let share = miner.share();
            client.send(miner.line(&share)).await;
            assert_eq!(client.hear().await.unwrap()["result"], true);
        }
        drop(client);
        eventually(|| bench.server.sessions().is_empty()).await;
    }
    assert_eq!(bench.server.metrics().accepted, 40);
    assert!(bench.pool.logins.lock().unwrap().iter().all(|login| login.3), "the pool knows it was TLS");
}

#[tokio::test]
async fn tls_bears_a_slow_reader_and_large_pipelines() {
    let bench = Bench::new(Settings { write_limit: 1 << 30, ..settings() });
    bench.publish(1);
    let (pem, key) = certificate();
    let identity = TlsIdentity::from_pem(pem.as_bytes(), key.as_bytes(), TlsVersions::From12).unwrap();
    let port = listen_tls(&bench, &identity).await;
    let mut client = connect_tls(port.local_addr(), &pem, &rustls::version::TLS13).await.unwrap();
    let mut miner = client.log_in("alice").await;
    let lines: String = (0..2000)
        .map(|_| {
            let share = miner.share();
            miner.line(&share)
        })
        .collect();
    client.send(lines).await;
    let ids: Vec<String> = (0..3000u32).map(|n| bench.publish((n % 200) as u8).id.to_string()).collect();
    let (mut accepted, mut heard) = (0, Vec::new());
    while heard.len() < ids.len() || accepted < 2000 {
        let line = client.hear().await.unwrap();
        match line["params"][0].as_str() {
            Some(id) => heard.push(id.to_owned()),
            None => accepted += 1,
        }
    }
    assert_eq!((heard, accepted), (ids, 2000));
}

#[tokio::test]
async fn a_renewed_certificate_is_offered_to_the_next_and_drops_nobody() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (first, second) = (certificate(), certificate());
    let identity = TlsIdentity::from_pem(first.0.as_bytes(), first.1.as_bytes(), TlsVersions::From12).unwrap();
    let port = listen_tls(&bench, &identity).await;
    let mut client = connect_tls(port.local_addr(), &first.0, &rustls::version::TLS13).await.unwrap();
    client.log_in("alice").await;
    identity.replace_pem(second.0.as_bytes(), second.1.as_bytes()).unwrap();
    assert!(connect_tls(port.local_addr(), &first.0, &rustls::version::TLS13).await.is_err());
    assert!(connect_tls(port.local_addr(), &second.0, &rustls::version::TLS13).await.is_ok());
    assert_eq!(client.call("mining.ping", json!([])).await["result"], "pong");
}

#[tokio::test]
async fn tls_1_3_can_be_required_and_plain_text_is_turned_away() {
    let bench = Bench::new(Settings { handshake_timeout: Duration::from_millis(300), ..settings() });
    let (pem, key) = certificate();
    let identity = TlsIdentity::from_pem(pem.as_bytes(), key.as_bytes(), TlsVersions::Only13).unwrap();
    let port = listen_tls(&bench, &identity).await;
    assert!(connect_tls(port.local_addr(), &pem, &rustls::version::TLS12).await.is_err());
    assert!(connect_tls(port.local_addr(), &pem, &rustls::version::TLS13).await.is_ok());
    let mut plain = TcpStream::connect(port.local_addr()).await.unwrap();
    plain.write_all(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n").await.unwrap();
    let mut silent = TcpStream::connect(port.local_addr()).await.unwrap();
    assert!(silent.read(&mut [0; 10]).await.is_ok_and(|n| n == 0), "a silent one is not waited for");
    eventually(|| turned_away(&bench.server, TurnedAway::TlsHandshake) == 3).await;
    // A handshake on the plain port has a counter of its own.
    let port = listen(&bench).await;
    assert!(connect_tls(port.local_addr(), &pem, &rustls::version::TLS13).await.is_err());
    eventually(|| disconnects(&bench.server, Reason::TlsOnPlainPort) == 1).await;
}

#[test]
fn random_bytes_on_the_wire_stop_nobody_else() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bench = Bench::new(settings());
    bench.publish(1);
    let (pem, key) = certificate();
    let identity = TlsIdentity::from_pem(pem.as_bytes(), key.as_bytes(), TlsVersions::From12).unwrap();
    let (plain, tls) = runtime.block_on(async { (listen(&bench).await, listen_tls(&bench, &identity).await) });
    let good = std::net::TcpStream::connect(plain.local_addr()).unwrap();
    proptest!(ProptestConfig::with_cases(40), |(bytes in prop::collection::vec(any::<u8>(), 0..3000), to_tls: bool)| {
        let address = if to_tls { tls.local_addr() } else { plain.local_addr() };
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let _ = stream.write_all(&bytes);
        drop(stream);
        (&good).write_all(b"{\"id\":1,\"method\":\"mining.ping\"}\n").unwrap();
        let mut answer = [0; 37];
        (&good).read_exact(&mut answer).unwrap();
        prop_assert_eq!(&answer[..], b"{\"id\":1,\"result\":\"pong\",\"error\":null}");
        (&good).read_exact(&mut [0]).unwrap();
    });
}
