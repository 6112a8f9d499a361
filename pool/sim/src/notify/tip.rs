//! When the node's ZMQ `hashblock` message reaches this process, which is when it reaches a pool beside it.
//! A thread of its own, so that nothing else here delays the time stamp.

use std::{
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio_util::sync::{CancellationToken, DropGuard};
use zeromq::{Socket, SocketRecv, SubSocket};

const CONNECT: Duration = Duration::from_secs(10);

/// Block hashes as hex, each with the time its message was read.
pub(crate) struct Tips {
    pub(crate) messages: Receiver<(String, Instant)>,
    _stops_the_thread: DropGuard,
}

impl Tips {
    /// Returns when the subscription stands.
    pub(crate) fn subscribe(endpoint: &str) -> Result<Self> {
        let (sender, messages) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let endpoint = endpoint.to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("sim-zmq".into()).spawn(move || {
            runtime.block_on(async {
                let mut socket = SubSocket::new();
                let connected = async {
                    // The socket would try again and again; an absent node is better told at once.
                    if let Some(address) = endpoint.strip_prefix("tcp://") {
                        tokio::net::TcpStream::connect(address).await?;
                    }
                    tokio::time::timeout(CONNECT, socket.connect(&endpoint))
                        .await
                        .context("no answer within 10 s")??;
                    anyhow::Ok(socket.subscribe("hashblock").await?)
                };
                let connected = connected.await.with_context(|| {
                    format!("the node's ZMQ at {endpoint} cannot be subscribed to; is zmqpubhashblock set so?")
                });
                let failed = connected.is_err();
                // Nobody waits any more when the run has failed elsewhere.
                if ready.send(connected).is_err() || failed {
                    return;
                }
                loop {
                    let message = tokio::select! {
                        () = stopped.cancelled() => return,
                        message = socket.recv() => message,
                    };
                    let at = Instant::now();
                    let Ok(message) = message else { continue };
                    let (Some(topic), Some(hash)) = (message.get(0), message.get(1)) else { continue };
                    if topic.as_ref() == b"hashblock"
                        && hash.len() == 32
                        && sender.send((hex::encode(hash), at)).is_err()
                    {
                        return;
                    }
                }
            });
        })?;
        is_ready.recv().context("the ZMQ thread ended early")??;
        Ok(Self { messages, _stops_the_thread: stop.drop_guard() })
    }
}
