//! Listens to one node's `hashblock` for as long as the pool runs.
//!
//! A socket serves one connection: when that is lost, or suspected, a new one is made. The back-off stays short, so that
//! a restarted node is heard again within seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use zeromq::{Socket as _, SocketEvent, SocketOptions, SocketRecv as _, SubSocket};

use super::{TOPIC, parse_hashblock};
use crate::node::Node;

/// Within it, a refused connection is tried again several times.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(3);

/// Runs until `shutdown`.
pub(crate) async fn follow(node: Arc<Node>, endpoint: String, patience: Duration, shutdown: CancellationToken) {
    let listen = async {
        let mut delay = FIRST_DELAY;
        loop {
            let started = Instant::now();
            let reason = session(&node, &endpoint).await;
            debug!(node = node.name(), endpoint, reason, "ZMQ connection ended");
            node.zmq_down(reason);
            delay = if started.elapsed() > CONNECT_TIMEOUT * 2 { FIRST_DELAY } else { (delay * 2).min(LONGEST_DELAY) };
            tokio::time::sleep(delay).await;
        }
    };
    let watch = async {
        loop {
            node.tell_of_zmq(patience);
            tokio::time::sleep(patience.min(Duration::from_secs(1))).await;
        }
    };
    tokio::select! {
        () = listen => {}
        () = watch => {}
        () = shutdown.cancelled() => {}
    }
}

/// One connection, from its making to its end; says why it ended.
async fn session(node: &Node, endpoint: &str) -> String {
    let mut options = SocketOptions::default();
    options.connect_timeout(CONNECT_TIMEOUT);
    let mut socket = SubSocket::with_options(options);
    let mut events = socket.monitor();
    // Subscribed first, the topic goes out with the connection's first bytes.
    if let Err(error) = socket.subscribe(TOPIC).await {
        return error.to_string();
    }
    match socket.connect(endpoint).await {
        Ok(()) => node.zmq_connected(),
        Err(zeromq::ZmqError::ConnectTimeout(_)) => return format!("nothing answers at {endpoint}"),
        Err(error) => return format!("{endpoint}: {error}"),
    }
    let mut last = None;
    loop {
        tokio::select! {
            message = socket.recv() => {
                let seen = Instant::now();
                let message = match message {
                    Ok(message) => message,
                    Err(error) => return format!("{endpoint}: {error}"),
                };
                match parse_hashblock(&message.into_vec()) {
                    Ok(block) => {
                        let lost = last.map_or(0, |l: u32| block.sequence.wrapping_sub(l).wrapping_sub(1));
                        // Counting backwards is a node that started anew behind the same connection, not a gap.
                        let lost = if lost > u32::MAX / 2 { 0 } else { lost };
                        last = Some(block.sequence);
                        node.announced(block.hash, seen, lost);
                    }
                    Err(error) => warn!(node = node.name(), endpoint, %error, "a ZMQ message is not a block's hash"),
                }
            }
            event = events.next() => {
                if matches!(event, None | Some(SocketEvent::Disconnected(_) | SocketEvent::Closed)) {
                    return format!("{endpoint} closed the connection");
                }
            }
            () = node.zmq_reset() => return format!("{endpoint} does not announce new blocks"),
        }
    }
}

/// What the operator can do when nothing comes from `endpoint`, given where the node says it publishes.
pub(crate) fn remedy(endpoint: &str, published: Option<&[String]>) -> String {
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_owned());
    match published {
        Some([first, ..]) if published.is_some_and(|all| all.iter().all(|a| port(a) != port(endpoint))) => {
            format!("Bitcoin Core publishes block hashes at {first}: set zmq_hashblock_addr to it")
        }
        Some([_, ..]) => format!(
            "Bitcoin Core publishes there, but the pool cannot reach it: check the firewall, and that \
             zmqpubhashblock in bitcoin.conf names an address the pool can reach (e.g. tcp://0.0.0.0:{})",
            port(endpoint).unwrap_or_else(|| "28332".into())
        ),
        Some([]) | None => format!(
            "add the line zmqpubhashblock={endpoint} to bitcoin.conf and restart Bitcoin Core; until then new blocks \
             are noticed by long poll and polling"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_what_the_node_publishes() {
        let endpoint = "tcp://127.0.0.1:28332";
        for (published, expected) in [
            (None, "zmqpubhashblock=tcp://127.0.0.1:28332"),
            (Some(vec![]), "zmqpubhashblock=tcp://127.0.0.1:28332"),
            (Some(vec!["tcp://127.0.0.1:29000".to_owned()]), "set zmq_hashblock_addr to it"),
            (Some(vec!["tcp://127.0.0.1:29000".to_owned(), "tcp://0.0.0.0:28332".to_owned()]), "firewall"),
        ] {
            let remedy = remedy(endpoint, published.as_deref());
            assert!(remedy.contains(expected), "{published:?}: {remedy}");
        }
    }
}
