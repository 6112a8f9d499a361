//! The pool's sign of life to PID 1: once a second, what it knows of itself.
//!
//! The report is made by the runtime that serves the miners, so that a runtime that stalls sends none; it is sent by a thread of
//! its own, so that a PID 1 that is slow stalls nobody.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};
use warppool_engine::Engine;
use warppool_events::{LedgerState, NodeState};
use warppool_protocol::{Client, Node, PoolReport, Request};

const EVERY: Duration = Duration::from_secs(1);
/// Every so many beats the web page is asked whether it answers.
const PROBE_EVERY: u32 = 5;
const PROBE_PATIENCE: Duration = Duration::from_secs(3);
/// PID 1 answers at once; when it does not, the next beat tries again.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stays the same while the pool runs.
#[derive(Debug)]
pub struct About {
    pub http: SocketAddr,
    /// A node stands in the configuration: the device has been set up.
    pub has_node: bool,
}

/// Starts sending; ends with the process. Needs a runtime.
pub fn start(engine: Engine, about: About, socket: PathBuf) {
    let (reports, waiting) = sync_channel(1);
    tokio::spawn(make(engine, about, reports));
    let sender = std::thread::Builder::new().name("heart-beat".into());
    if let Err(why) = sender.spawn(move || send(&socket, &waiting)) {
        warn!("no heart-beat can be sent, the pool will be started again: {why}");
    }
}

async fn make(engine: Engine, about: About, reports: SyncSender<PoolReport>) {
    let mut ticker = interval(EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut beats, mut api) = (0_u32, false);
    loop {
        ticker.tick().await;
        if beats.is_multiple_of(PROBE_EVERY) || !api {
            api = timeout(PROBE_PATIENCE, answers(about.http)).await.is_ok_and(|answer| answer.unwrap_or(false));
        }
        beats = beats.wrapping_add(1);
        match reports.try_send(report(&engine, &about, api)) {
            // The one before is still on its way: PID 1 is slow, and has it.
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
}

fn report(engine: &Engine, about: &About, api: bool) -> PoolReport {
    let ready = engine.node_status().iter().any(|node| node.state == NodeState::Ready);
    let bound = engine.bound();
    PoolReport {
        claimed: about.has_node,
        listening: bound.plain.is_some() || bound.tls.is_some(),
        api,
        has_job: engine.has_job(),
        node: match (about.has_node, ready) {
            (_, true) => Node::Reachable,
            (true, false) => Node::Unreachable,
            (false, false) => Node::None,
        },
        miners: engine.server_metrics().mining as u32,
        blocks_found: engine.blocks_found() as u64,
        block_pending: engine.has_unconfirmed_block(),
        memory_ledger: engine.ledger_stats().state == LedgerState::MemoryOnly,
    }
}

/// The web page answers a request from outside its own process as it does this one.
async fn answers(at: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

fn send(socket: &std::path::Path, reports: &Receiver<PoolReport>) {
    let mut connection = None;
    let mut told = false;
    for report in reports {
        let mut client = match connection.take() {
            Some(client) => client,
            None => match Client::connect(socket, PATIENCE) {
                Ok(client) => client,
                Err(why) => {
                    if !told {
                        warn!("the heart-beat reaches nobody: {why}");
                        told = true;
                    }
                    continue;
                }
            },
        };
        match client.ask(&Request::Heartbeat(report), |_| ()) {
            Ok(_) => {
                told = false;
                connection = Some(client);
            }
            Err(why) => debug!("a heart-beat was lost: {why}"),
        }
    }
}
