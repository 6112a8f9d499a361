//! The HTTP side of the RPC: one listener that can close and come back, credentials, and every way an answer can fail
//! to arrive. Written on hyper directly, because a dying connection is a feature here.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, ReplyTo, RpcError};
use crate::node::faults::{Cut, Delivery, Failure, Loss};
use crate::node::options::StartError;
use crate::node::shared::Shared;

/// Core's limit for a request's body.
const MAX_BODY: usize = 32 << 20;
/// Core's `-rpcservertimeout`: a connection that asks nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(30);

/// The header value of HTTP basic authentication.
pub(crate) fn basic_auth(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

/// Writes a cookie as Core does: to a file of another name that only its owner reads, then in place.
pub(crate) fn write_cookie(path: &Path, cookie: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&temporary)?.write_all(cookie.as_bytes())?;
    std::fs::rename(temporary, path)
}

/// The listener, open or closed, always on the same address.
#[derive(Debug)]
pub(crate) struct RpcServer {
    address: SocketAddr,
    /// The listener bound at start, until it is first served.
    fresh: tokio::sync::Mutex<Option<TcpListener>>,
    running: tokio::sync::Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl RpcServer {
    pub(crate) async fn bind(bind: &str) -> Result<Self, StartError> {
        let failed = |error| StartError::Rpc { address: bind.to_owned(), error };
        let listener = TcpListener::bind(bind).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { address, fresh: tokio::sync::Mutex::new(Some(listener)), running: tokio::sync::Mutex::default() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn start(&self, node: &Arc<Shared>) -> Result<(), StartError> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Ok(());
        }
        let listener = match self.fresh.lock().await.take() {
            Some(listener) => listener,
            None => TcpListener::bind(self.address)
                .await
                .map_err(|error| StartError::Rpc { address: self.address.to_string(), error })?,
        };
        let stop = node.stop.child_token();
        let task = tokio::spawn(listen(listener, Arc::clone(node), stop.clone()));
        *running = Some((stop, task));
        Ok(())
    }

    /// Closes the listener and all connections, and waits until they are.
    pub(crate) async fn stop(&self) {
        if let Some((stop, task)) = self.running.lock().await.take() {
            stop.cancel();
            // It ends by itself; a panic in it has been reported by then.
            let _ = task.await;
        }
    }
}

async fn listen(listener: TcpListener, node: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&node)))),
                Err(error) => {
                    tracing::warn!(%error, "the simulated node cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, node: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let service = service_fn(move |request| handle(request, Arc::clone(&node)));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(IDLE);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "an RPC connection of the simulated node ended");
    }
}

/// A connection that is meant to die.
#[derive(Debug, thiserror::Error)]
#[error("the connection is lost on purpose")]
struct Lost;

async fn handle(request: Request<Incoming>, node: Arc<Shared>) -> Result<Response<Pieces>, Lost> {
    if request.uri().path() != "/" && !request.uri().path().starts_with("/wallet/") {
        return Ok(plain(StatusCode::NOT_FOUND, ""));
    }
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "JSONRPC server handles only POST requests"));
    }
    if !authorized(&request, &node) {
        let mut response = plain(StatusCode::UNAUTHORIZED, "");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"jsonrpc\""));
        return Ok(response);
    }
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, ""));
    };
    match serde_json::from_slice(&body.to_bytes()) {
        Ok(Value::Array(calls)) => batch(&calls, &node).await,
        Ok(call @ Value::Object(_)) => single(&call, &node).await,
        Ok(_) => {
            let error = RpcError::new(super::PARSE_ERROR, "Top-level object parse error");
            Ok(json_response(ReplyTo::unknown().render(Err(error)), Delivery::default()))
        }
        Err(_) => Ok(json_response(ReplyTo::unknown().render(Err(RpcError::parse())), Delivery::default())),
    }
}

fn authorized(request: &Request<Incoming>, node: &Shared) -> bool {
    if node.faults.borrow().unauthorized {
        return false;
    }
    let wanted = node.authorization.lock();
    let given = request.headers().get(AUTHORIZATION);
    wanted.as_ref().is_none_or(|wanted| given.is_some_and(|given| given.as_bytes() == wanted.as_bytes()))
}

/// What comes of a call under the faults of the moment.
enum Outcome {
    Result(Result<Answer, RpcError>),
    Busy,
    Lost,
}

async fn call(call: &Call, node: &Arc<Shared>) -> (Outcome, Delivery) {
    let method = call.method.as_str();
    let mut released = node.faults.subscribe();
    // Fails only when the node is gone, and this call with it.
    let _ = released.wait_for(|faults| !faults.stalls(method)).await;
    let delay = node.faults.borrow().delay(method);
    if !delay.is_zero() {
        sleep(delay).await;
    }
    let (mut failure, mut loss, mut delivery) = (None, None, Delivery::default());
    node.faults.send_if_modified(|faults| {
        failure = faults.failure(method);
        loss = faults.loss(method);
        delivery = faults.delivery(method);
        // Nobody waits for a count to change.
        false
    });
    let outcome = match (failure, loss) {
        (_, Some(Loss::Request)) => Outcome::Lost,
        (Some(Failure::Rpc { code, message }), _) => Outcome::Result(Err(RpcError::new(code, message))),
        (Some(Failure::Busy), _) => Outcome::Busy,
        (None, loss) => {
            let result = call.run(node).await;
            if loss.is_some() { Outcome::Lost } else { Outcome::Result(result) }
        }
    };
    (outcome, delivery)
}

async fn single(request: &Value, node: &Arc<Shared>) -> Result<Response<Pieces>, Lost> {
    let parsed = match Call::parse(request) {
        Ok(parsed) => parsed,
        Err((error, reply)) => return Ok(json_response(reply.render(Err(error)), Delivery::default())),
    };
    match call(&parsed, node).await {
        (Outcome::Lost, _) => Err(Lost),
        (Outcome::Busy, _) => Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded")),
        (Outcome::Result(_), _) if parsed.is_notification() => Ok(plain(StatusCode::NO_CONTENT, "")),
        (Outcome::Result(result), delivery) => Ok(json_response(parsed.reply().render(result), delivery)),
    }
}

async fn batch(requests: &[Value], node: &Arc<Shared>) -> Result<Response<Pieces>, Lost> {
    let mut pieces = vec![];
    for request in requests {
        let rendered = match Call::parse(request) {
            Ok(parsed) => match call(&parsed, node).await {
                (Outcome::Lost, _) => return Err(Lost),
                (Outcome::Busy, _) => return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded")),
                (Outcome::Result(_), _) if parsed.is_notification() => continue,
                (Outcome::Result(result), _) => parsed.reply().render(result).1,
            },
            Err((error, reply)) => reply.render(Err(error)).1,
        };
        pieces.push(Bytes::from_static(if pieces.is_empty() { b"[" } else { b"," }));
        pieces.extend(rendered);
    }
    if pieces.is_empty() && !requests.is_empty() {
        return Ok(plain(StatusCode::NO_CONTENT, ""));
    }
    if pieces.is_empty() {
        pieces.push(Bytes::from_static(b"["));
    }
    pieces.push(Bytes::from_static(b"]\n"));
    Ok(json_response((StatusCode::OK, pieces), Delivery::default()))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Pieces> {
    let mut response = Response::new(Pieces::new(vec![Bytes::from_static(text.as_bytes())], Delivery::default()));
    *response.status_mut() = status;
    response
}

fn json_response((status, pieces): (StatusCode, Vec<Bytes>), delivery: Delivery) -> Response<Pieces> {
    let mut response = Response::new(Pieces::new(pieces, delivery));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body in pieces that are shared, not copied; slow, or cut short, where a fault says so.
struct Pieces {
    left: VecDeque<Bytes>,
    /// Bytes announced and not yet sent.
    announced: u64,
    /// Bytes that are still let through before the connection dies.
    until_cut: Option<usize>,
    slow: Option<(usize, Duration)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pieces {
    fn new(pieces: Vec<Bytes>, delivery: Delivery) -> Self {
        let mut left: VecDeque<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let mut until_cut = None;
        match delivery.cut {
            Some((bytes, Cut::Connection)) => until_cut = Some(bytes),
            Some((bytes, Cut::Json)) => {
                let mut room = bytes;
                for piece in &mut left {
                    piece.truncate(room);
                    room -= piece.len();
                }
                left.retain(|piece| !piece.is_empty());
            }
            None => {}
        }
        let announced = left.iter().map(|piece| piece.len() as u64).sum();
        Self { left, announced, until_cut, slow: delivery.slow, pause: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(mut piece) = self.left.pop_front() else { return Poll::Ready(None) };
        let limit = self.slow.map_or(usize::MAX, |(bytes, _)| bytes).min(self.until_cut.unwrap_or(usize::MAX));
        if self.until_cut == Some(0) {
            return Poll::Ready(Some(Err(Lost)));
        }
        if piece.len() > limit {
            let rest = piece.split_off(limit);
            self.left.push_front(rest);
        }
        self.until_cut = self.until_cut.map(|bytes| bytes - piece.len());
        self.announced -= piece.len() as u64;
        if let Some((_, pause)) = self.slow {
            self.pause = Some(Box::pin(sleep(pause)));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}
