//! Connections: how many, how long they may take, and how they end.
//!
//! A client that sends its request in drips, or does not read the answer, loses its connection; one too many is told so
//! and let go. What is left when the pool stops gets a moment to finish, event streams end at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::{Pool, router};

/// Largest request line and headers together, bytes.
const REQUEST_BYTES: usize = 16 * 1024;
/// Pause after the system had no socket to give.
const PAUSE: Duration = Duration::from_millis(100);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 106\r\n\r\n\
    {\"type\":\"urn:warppool:problem:full\",\"title\":\"Too many connections\",\"status\":503,\"code\":\"full\",\"detail\":\"\"}";

/// What clients may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Event streams at a time.
    pub streams: usize,
    /// For a request's line and headers to arrive; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// For a client that does not read to go on reading.
    pub write_timeout: Duration,
    /// Between two signs of life on an event stream.
    pub heart_beat: Duration,
    /// For answers under way when the pool stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 64,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            heart_beat: Duration::from_secs(15),
            grace: Duration::from_secs(2),
        }
    }
}

/// Shows `pool` to those who connect, until `shutdown`. The listener has to be on loopback: there are no accounts, and who
/// can connect sees everything.
pub async fn serve(listener: TcpListener, pool: impl Pool, shutdown: CancellationToken) -> io::Result<()> {
    serve_with(listener, Arc::new(pool), shutdown, Limits::default()).await
}

/// [`serve`] with other limits.
pub async fn serve_with(
    listener: TcpListener,
    pool: Arc<dyn Pool>,
    shutdown: CancellationToken,
    limits: Limits,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().to_canonical().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the web page must not be served at {address}: without accounts only loopback is safe"),
        ));
    }
    let app = router(pool, &limits, shutdown.clone());
    let limits = Arc::new(limits);
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                // A client that was gone again is no fault; out of sockets passes.
                if why.kind() != io::ErrorKind::ConnectionAborted {
                    warn!("a connection to the web page could not be accepted: {why}");
                    sleep(PAUSE).await;
                }
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            debug!("{peer} turned away: all {} connections to the web page are taken", limits.connections);
            let _ = stream.try_write(FULL);
            continue;
        };
        let connection = connection(stream, peer, app.clone(), Arc::clone(&limits), shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    // Events are small and should not wait for more.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(why) = ended {
        debug!("{peer}: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn the_ready_made_refusal_says_its_own_length() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
