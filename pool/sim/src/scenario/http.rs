//! The pool's page as a client sees it, byte by byte: what is sent may be as wrong as it likes.
//! Own requests are HTTP/1.0, whose answers need no putting together.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::net;

const PATIENCE: Duration = Duration::from_secs(10);
const MOST: u64 = 16 << 20;

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.strip_prefix("http/1.")?.get(2..5)?.parse().ok()?;
        Some(Self { status, head, body: bytes[end + 4..].to_vec() })
    }
}

/// Sends these bytes and reads until the end: an answer, or `None` where the connection ends without one.
pub(super) async fn exchange(page: SocketAddr, request: &[u8], within: Duration) -> Result<Option<Answer>> {
    let talk = async {
        let mut stream = net::connect(page, Ipv4Addr::LOCALHOST).await?;
        // A server may answer and close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = stream.take(MOST).read_to_end(&mut bytes).await;
        std::io::Result::Ok(bytes)
    };
    let bytes = timeout(within, talk).await.context("the page neither answers nor closes")??;
    Ok(Answer::parse(&bytes))
}

pub(super) async fn get(page: SocketAddr, path: &str) -> Result<Answer> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {page}\r\n\r\n");
    let answer = exchange(page, request.as_bytes(), PATIENCE).await?;
    answer.with_context(|| format!("no answer to {path}"))
}

pub(super) async fn json(page: SocketAddr, path: &str) -> Result<Value> {
    let answer = get(page, path).await?;
    ensure!(answer.status == 200, "{path} answers {}: {}", answer.status, answer.text());
    serde_json::from_slice(&answer.body).with_context(|| format!("{path} is no JSON"))
}

/// The stream of `/api/events`.
pub(super) struct Events(BufReader<TcpStream>);

impl Events {
    /// From the pool's start on, as far as it remembers.
    pub(super) async fn open(page: SocketAddr) -> Result<Self> {
        let mut stream = net::connect(page, Ipv4Addr::LOCALHOST).await?;
        let request = format!("GET /api/events?after=0 HTTP/1.0\r\nHost: {page}\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        timeout(PATIENCE, reader.read_line(&mut status)).await.context("/api/events does not answer")??;
        ensure!(status.contains(" 200 "), "/api/events answers {status:?}");
        Ok(Self(reader))
    }

    /// The next event of this kind of which `wanted` is true.
    pub(super) async fn wait_for(
        &mut self,
        kind: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let end = Instant::now() + within;
        let mut line = String::new();
        loop {
            line.clear();
            match tokio::time::timeout_at(end, self.0.read_line(&mut line)).await {
                Err(_) => bail!("no such event {kind} within {within:?}"),
                Ok(Ok(length)) if length > 0 => {}
                Ok(_) => bail!("the stream of events ends"),
            }
            let Some(data) = line.strip_prefix("data:") else { continue };
            let event: Value = serde_json::from_str(data.trim()).context("an event is no JSON")?;
            if event["type"] == kind && wanted(&event) {
                return Ok(event);
            }
        }
    }

    /// Whether the stream still stands: nothing to read is fine, its end is not.
    pub(super) async fn is_open(&mut self) -> bool {
        loop {
            match timeout(Duration::from_millis(5), self.0.fill_buf()).await {
                Err(_) => return true,
                Ok(Ok(bytes)) if !bytes.is_empty() => {
                    let length = bytes.len();
                    self.0.consume(length);
                }
                Ok(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_as_an_answer_is_one() {
        let cases: [(&[u8], Option<u16>); 6] = [
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", Some(200)),
            (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", Some(503)),
            (b"HTTP/1.1 200 OK\r\n", None),
            (b"HTTP/1.1 abc\r\n\r\n", None),
            (b"{}\r\n\r\n", None),
            (b"", None),
        ];
        for (bytes, status) in cases {
            assert_eq!(Answer::parse(bytes).map(|answer| answer.status), status, "{}", bytes.escape_ascii());
        }
        assert_eq!(Answer::parse(cases[0].0).unwrap().text(), "body");
    }
}
