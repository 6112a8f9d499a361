//! Ports: takes connections in, knows whom a proxy speaks for, shakes hands over TLS, and turns away who is too many.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, Serve};
use crate::limits::{Place, TurnedAway};
use crate::metrics::Counters;
use crate::proxy::{self, Header};
use crate::server::Server;
use crate::session::Session;
use crate::tls::TlsIdentity;

/// When the process has no descriptors left, accepting is tried again after this.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(200);
/// A vanished miner is noticed after about two minutes of silence on the wire.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Where to listen.
#[derive(Debug)]
pub enum Bind {
    Address(SocketAddr),
    /// A socket bound by somebody else (PID 1 binds ports below 1024).
    Socket(std::net::TcpListener),
}

/// A port to open.
#[derive(Debug)]
pub struct Listener {
    pub bind: Bind,
    pub tls: Option<TlsIdentity>,
    /// Proxies that are believed when they say whom they speak for; they have to.
    pub proxy_from: Vec<IpNet>,
}

impl Listener {
    /// A plain port without proxies.
    pub fn at(address: SocketAddr) -> Self {
        Self { bind: Bind::Address(address), tls: None, proxy_from: Vec::new() }
    }
}

/// An open port.
#[derive(Debug)]
pub struct ListenerHandle {
    address: SocketAddr,
    stop: CancellationToken,
    proxy_from: Arc<ArcSwap<Vec<IpNet>>>,
}

impl ListenerHandle {
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Believes these proxies from the next connection on; those there already stay as they are.
    pub fn set_proxies(&self, proxies: Vec<IpNet>) {
        self.proxy_from.store(Arc::new(proxies));
    }

    /// Closes the port; its connections live on. Dropping the handle leaves it open.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// What all connections of one port have in common.
struct Port {
    server: Arc<Server>,
    tls: Option<Arc<ServerConfig>>,
    /// Shared with the port's handle, which may replace it.
    proxy_from: Arc<ArcSwap<Vec<IpNet>>>,
}

impl Server {
    /// Opens a port.
    pub async fn listen(self: &Arc<Self>, listener: Listener) -> io::Result<ListenerHandle> {
        let socket = match listener.bind {
            Bind::Address(address) => TcpListener::bind(address).await?,
            Bind::Socket(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)?
            }
        };
        let address = socket.local_addr()?;
        let stop = self.stop.child_token();
        let proxy_from = Arc::new(ArcSwap::from_pointee(listener.proxy_from));
        let port = Port {
            server: Arc::clone(self),
            tls: listener.tls.map(|tls| tls.config()),
            proxy_from: Arc::clone(&proxy_from),
        };
        self.start_sweeper();
        self.tasks.spawn(stop.clone().run_until_cancelled_owned(accept(Arc::new(port), socket)));
        Ok(ListenerHandle { address, stop, proxy_from })
    }
}

async fn accept(port: Arc<Port>, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => port.take(stream, peer),
            Err(error) => {
                // Of one connection, or of the whole process; the second passes as connections end.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    tracing::warn!(%error, "cannot take connections; raise the limit of open files if this goes on");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }
}

impl Port {
    /// Never waits: what needs time gets a task.
    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if self.proxy_from.load().iter().any(|proxy| proxy.contains(&peer.ip())) {
            let port = Arc::clone(self);
            self.spawn(async move { port.behind_proxy(stream, peer).await });
        } else {
            self.admit(stream, peer);
        }
    }

    /// For what comes before a connection: it ends with the server.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let until_stopped = self.server.stop.clone().run_until_cancelled_owned(task);
        self.server.tasks.spawn(async move {
            until_stopped.await;
        });
    }

    async fn behind_proxy(self: Arc<Self>, mut stream: TcpStream, proxy: SocketAddr) {
        let limit = self.server.core.edition.load().settings.handshake_timeout;
        match timeout(limit, read_header(&mut stream)).await {
            Ok(Ok(Header::Proxied(Some(client)))) => self.admit(stream, client),
            Ok(Ok(Header::Local | Header::Proxied(None))) => self.admit(stream, proxy),
            Ok(Err(error)) => {
                tracing::warn!(%proxy, %error, "a named proxy does not say whom it speaks for");
                self.turn_away(TurnedAway::ProxyHeader);
            }
            Err(_) => self.turn_away(TurnedAway::ProxyHeader),
        }
    }

    fn turn_away(&self, cause: TurnedAway) {
        self.server.core.counters.turned_away(cause);
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let core = &self.server.core;
        let edition = core.edition.load();
        let place = match core.limits.connect(peer.ip().into(), &edition.settings, core.now().at) {
            Ok(place) => place,
            Err(cause) => {
                tracing::debug!(%peer, cause = cause.name(), "connection turned away");
                return self.turn_away(cause);
            }
        };
        Counters::count(&core.counters.connects);
        set_options(&stream);
        match &self.tls {
            None => self.open(stream, None, peer, place),
            Some(config) => {
                let (port, config) = (Arc::clone(self), Arc::clone(config));
                let limit = edition.settings.handshake_timeout;
                self.spawn(async move { port.shake_hands(stream, config, peer, place, limit).await });
            }
        }
    }

    async fn shake_hands(
        self: Arc<Self>,
        stream: TcpStream,
        config: Arc<ServerConfig>,
        peer: SocketAddr,
        place: Place,
        limit: Duration,
    ) {
        let shaken = timeout(limit, async {
            let _turn = self.server.handshakes.acquire().await;
            TlsAcceptor::from(config).accept(stream).await
        });
        match shaken.await {
            Ok(Ok(stream)) => {
                let (stream, mut tls) = stream.into_inner();
                // What a slow miner is owed is bounded by the write limit, in records.
                tls.set_buffer_limit(None);
                self.open(stream, Some(Box::new(tls)), peer, place);
            }
            Ok(Err(error)) => {
                tracing::info!(%peer, %error, "TLS handshake failed; does this miner speak TLS and trust the certificate?");
                self.turn_away(TurnedAway::TlsHandshake);
            }
            Err(_) => self.turn_away(TurnedAway::TlsHandshake),
        }
    }

    fn open(&self, stream: TcpStream, tls: Option<Box<ServerConnection>>, peer: SocketAddr, place: Place) {
        let core = &self.server.core;
        let id = core.next_session.fetch_add(1, Relaxed);
        let session = Session::new(id, peer, tls.is_some(), core, core.now());
        let (reader, writer) = stream.into_split();
        let connection = Connection::new(writer, session, tls);
        let serve = Serve::new(Arc::clone(core), Arc::clone(&self.server.connections), connection, reader, place);
        self.server.tasks.spawn(serve);
    }
}

/// Reads exactly the header, not a byte of what follows.
async fn read_header(stream: &mut TcpStream) -> io::Result<Header> {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).await?;
    let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    loop {
        if let Some((header, _)) = proxy::parse(&bytes).map_err(broken)? {
            return Ok(header);
        }
        let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        bytes.resize(16 + length, 0);
        stream.read_exact(&mut bytes[16..]).await?;
    }
}

/// Failing to set an option costs comfort, not correctness.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
