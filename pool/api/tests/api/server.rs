//! Real connections: limits, slow clients, and the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use warppool_api::{Limits, serve_with};

use crate::fake::{Fake, worker};

const SOON: Duration = Duration::from_secs(5);

struct Served {
    at: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

async fn serve(pool: Fake, limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve_with(listener, Arc::new(pool), shutdown.clone(), limits));
    Served { at, shutdown, task }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// Sends this and reads to the end of the connection.
    async fn talk(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn stop(self) -> Duration {
        let before = Instant::now();
        self.shutdown.cancel();
        timeout(SOON, self.task).await.expect("it stops").unwrap().unwrap();
        before.elapsed()
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the answer's text holds this.
async fn read_until(stream: &mut TcpStream, part: &str) {
    let mut text = String::new();
    while !text.contains(part) {
        let mut chunk = [0; 1024];
        let read = timeout(SOON, stream.read(&mut chunk)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "the connection ended: {text}");
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
}

const GET: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const EVENTS: &str = "GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn a_listener_that_others_can_reach_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let why = serve_with(listener, Arc::new(Fake::new()), CancellationToken::new(), Limits::default()).await;
    assert_eq!(why.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn bytes_that_are_no_request_end_the_connection_and_nothing_else() {
    let served = serve(Fake::new(), Limits::default()).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(3000));
    for (request, status) in [
        ("\0\x01\x02\r\n\r\n", "400"),
        ("{\"id\":1,\"method\":\"mining.subscribe\"}\n\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", ""),
        ("GET / HTTP/1.0\r\n\r\n", "421"),
        (long.as_str(), "4"),
        (many.as_str(), "431"),
        ("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000\r\n\r\nabc", "413"),
    ] {
        let answer = served.talk(request).await;
        let expected =
            format!("HTTP/1.1 {status}").replace("1.1", if request.contains("HTTP/1.0") { "1.0" } else { "1.1" });
        assert!(answer.starts_with(expected.trim_end()), "{:?}: {answer}", &request[..request.len().min(40)]);
    }
    assert!(served.talk(GET).await.ends_with(r#"{"status":"ok"}"#));
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_its_request_in_drips_is_let_go() {
    let limits = Limits { header_timeout: Duration::from_millis(150), ..Limits::default() };
    let served = serve(Fake::new(), limits).await;
    let mut idle = served.connect().await;
    let mut dripping = served.connect().await;
    let drips = tokio::spawn(async move {
        let mut sent = 0;
        for byte in GET.bytes().cycle() {
            if dripping.write_all(&[byte]).await.is_err() {
                return sent;
            }
            sent += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent
    });
    read_to_end(&mut idle).await;
    let sent = timeout(SOON, drips).await.expect("the connection ends").unwrap();
    assert!(sent < GET.len(), "{sent} bytes got through one by one");
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_let_go() {
    let pool = Fake::new();
    let long = "x".repeat(20_000);
    pool.state().workers = (0..1000).map(|n| worker(&format!("{n}{long}"), true)).collect();
    let limits = Limits { write_timeout: Duration::from_millis(150), connections: 1, ..Limits::default() };
    let served = serve(pool, limits).await;
    let mut deaf = served.connect().await;
    deaf.write_all(b"GET /api/workers?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    // The only place is free again once the deaf client is gone.
    timeout(SOON, async {
        while !served.talk(GET).await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("its place is given back");
    served.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let served = serve(Fake::new(), Limits { connections: 1, ..Limits::default() }).await;
    let mut first = served.connect().await;
    first.write_all(EVENTS.as_bytes()).await.unwrap();
    read_until(&mut first, "retry:").await;
    let mut second = served.connect().await;
    assert!(read_to_end(&mut second).await.starts_with("HTTP/1.1 503"));
    drop(first);
    timeout(SOON, async { while !served.talk(GET).await.starts_with("HTTP/1.1 200") {} })
        .await
        .expect("the place is free");
    served.stop().await;
}

#[tokio::test]
async fn stopping_ends_streams_and_idle_connections_at_once() {
    let served = serve(Fake::new(), Limits { grace: Duration::from_secs(30), ..Limits::default() }).await;
    let mut stream = served.connect().await;
    stream.write_all(EVENTS.as_bytes()).await.unwrap();
    read_until(&mut stream, "retry:").await;
    let mut kept = served.connect().await;
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut kept, "ok").await;
    assert!(served.stop().await < Duration::from_secs(2));
    let rest = read_to_end(&mut stream).await;
    assert!(rest.ends_with("0\r\n\r\n"), "the stream is ended in order: {rest:?}");
    assert_eq!(read_to_end(&mut kept).await, "");
}
