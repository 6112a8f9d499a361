//! A connection to the pool's port without manners: it sends any bytes, and tells an answer from an end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::net;
use crate::miner::hash::sha256d;
use crate::miner::wire::{self, Notify, ServerLine};

/// How long the pool may take for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Raw {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    last_id: u64,
}

/// What came of listening for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Line(String),
    Closed,
    Nothing,
}

/// A miner's place after subscribe and authorize.
pub(super) struct Seat {
    pub(super) user: String,
    pub(super) extranonce1: Vec<u8>,
    pub(super) notify: Notify,
}

impl Raw {
    pub(super) async fn connect(pool: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        Ok(Self::over(net::connect(pool, from).await?))
    }

    pub(super) fn over(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, last_id: 0 }
    }

    /// False once the pool has closed, or has not read for a while.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.writer.write_all(bytes)).await, Ok(Ok(())))
    }

    pub(super) async fn send_line(&mut self, line: &Value) -> bool {
        self.send(format!("{line}\n").as_bytes()).await
    }

    pub(super) async fn hear(&mut self, within: Duration) -> Heard {
        let mut line = Vec::new();
        match timeout(within, self.reader.read_until(b'\n', &mut line)).await {
            Err(_) => Heard::Nothing,
            Ok(Ok(length)) if length > 0 => Heard::Line(String::from_utf8_lossy(&line).into_owned()),
            Ok(_) => Heard::Closed,
        }
    }

    /// Listens until the pool closes; false when it does not in time.
    pub(super) async fn closes(&mut self, within: Duration) -> bool {
        let end = Instant::now() + within;
        loop {
            match timeout_at(end, self.reader.fill_buf()).await {
                Err(_) => return false,
                Ok(Ok(bytes)) if !bytes.is_empty() => {
                    let length = bytes.len();
                    self.reader.consume(length);
                }
                Ok(_) => return true,
            }
        }
    }

    /// The answer to a request; what comes before it is passed over.
    pub(super) async fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last_id += 1;
        let id = json!(format!("raw-{}", self.last_id));
        self.send_line(&json!({"id": id, "method": method, "params": params})).await;
        self.answer_to(&id).await.with_context(|| format!("{method} {params:.100}"))
    }

    /// The answer that carries this id.
    pub(super) async fn answer_to(&mut self, id: &Value) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.hear(end.saturating_duration_since(Instant::now())).await {
                Heard::Line(line) => {
                    let line: Value = serde_json::from_str(&line).with_context(|| format!("no JSON: {line:.200}"))?;
                    if line.get("method").is_none() && line.get("id") == Some(id) {
                        return Ok(line);
                    }
                }
                Heard::Closed => bail!("the pool closes instead of an answer"),
                Heard::Nothing => bail!("no answer within {PATIENCE:?}"),
            }
        }
    }

    /// Whether the pool still answers here.
    pub(super) async fn is_alive(&mut self) -> bool {
        self.ask("mining.ping", json!([])).await.is_ok_and(|answer| answer["result"] == "pong")
    }

    /// Subscribes, authorizes and waits for the first job.
    pub(super) async fn sit_down(&mut self, user: &str, password: &str) -> Result<Seat> {
        let subscribed = self.ask("mining.subscribe", json!(["warppool-sim"])).await?;
        let result = &subscribed["result"];
        let (extranonce1, _) = wire::extranonce("mining.subscribe", result.get(1), result.get(2))?;
        self.send_line(&json!({"id": "sit", "method": "mining.authorize", "params": [user, password]})).await;
        let authorized = self.answer_to(&json!("sit")).await?;
        if authorized["result"] != true {
            bail!("the pool refuses {user}: {authorized}");
        }
        Ok(Seat { user: user.to_owned(), extranonce1, notify: self.job(PATIENCE).await? })
    }

    /// The next job.
    pub(super) async fn job(&mut self, within: Duration) -> Result<Notify> {
        let end = Instant::now() + within;
        loop {
            match self.hear(end.saturating_duration_since(Instant::now())).await {
                Heard::Line(line) => {
                    if let Ok(ServerLine::Notify(notify)) = wire::parse(line.trim().as_bytes()) {
                        return Ok(*notify);
                    }
                }
                Heard::Closed => bail!("the pool closes instead of a job"),
                Heard::Nothing => bail!("no job within {within:?}"),
            }
        }
    }
}

impl Seat {
    /// A submission of the share number `n`: at the lowest difficulty every one is good.
    pub(super) fn share(&self, n: u32) -> Value {
        json!([
            self.user,
            self.notify.job_id,
            "00000000000000ff",
            format!("{:08x}", self.notify.ntime),
            format!("{n:08x}")
        ])
    }

    /// The nonce of a share that meets a target of so many leading zero bits, from `first` on.
    pub(super) fn search(&self, zero_bits: u32, first: u32) -> Option<u32> {
        let extranonce2 = [0, 0, 0, 0, 0, 0, 0, 0xff];
        let mut header = self.notify.header(&self.extranonce1, &extranonce2, self.notify.version, self.notify.ntime);
        (first..first.saturating_add(1 << 24)).find(|nonce| {
            header[76..].copy_from_slice(&nonce.to_le_bytes());
            let hash = sha256d(&header);
            let top = u64::from_le_bytes(hash[24..].try_into().expect("eight of 32 bytes"));
            top.leading_zeros() >= zero_bits
        })
    }
}
