//! HTTP/1.1 to one host over kept-alive connections, with a limit on what it may answer.
//!
//! Every call in flight has a connection of its own, so a long poll never stands in the way of a block.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

/// The largest answer that is read: a full block as hex is 8 MB, a template around it hardly more.
pub(crate) const ANSWER_LIMIT: usize = 64 << 20;
/// Room made for an answer on its own word; a longer one grows as it comes.
const ROOM_ON_TRUST: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Core closes connections after 30 s without a request (`rpcservertimeout`); ours go first.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
const IDLE_MOST: usize = 4;
/// A long poll may wait for minutes in silence: the kernel tells when the other side is gone.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

type Sender = SendRequest<Full<Bytes>>;

/// One host to post to.
pub(crate) struct Http {
    host: String,
    port: u16,
    /// For the operator, and as the `Host` header.
    authority: String,
    path: Uri,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// When the head of the answer arrived.
    pub(crate) head_at: Instant,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum HttpError {
    Connect(io::Error),
    /// The connection died before or while answering.
    Broken(String),
    TooLarge,
}

impl Http {
    /// `url` is `http://host[:port][/path]`.
    pub(crate) fn new(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "it is not a URL")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("Bitcoin Core speaks http, not https"),
            _ => return Err("it does not start with http://"),
        }
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong into the address");
        }
        let host = authority.host();
        if host.is_empty() {
            return Err("it names no host");
        }
        let port = match (authority.port_u16(), authority.as_str().ends_with(':')) {
            (Some(0), _) | (None, true) => return Err("its port is not a number from 1 to 65535"),
            (Some(port), _) => port,
            (None, false) if authority.as_str().len() > host.len() => {
                return Err("its port is not a number from 1 to 65535");
            }
            (None, false) => 80,
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: format!("{host}:{port}"),
            path: uri.path().parse().map_err(|_| "its path is not valid")?,
            idle: Mutex::default(),
        })
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Posts `body` and reads the whole answer. An idle connection that turns out to be dead is replaced once.
    pub(crate) async fn post(&self, body: &Bytes, authorization: Option<&HeaderValue>) -> Result<Answer, HttpError> {
        if let Some(sender) = self.take_idle().await {
            match self.exchange(sender, self.request(body, authorization)).await {
                Err(Failed::BeforeAnswer(_)) => {}
                other => return other.map_err(Failed::into_error),
            }
        }
        let sender = self.dial().await?;
        self.exchange(sender, self.request(body, authorization)).await.map_err(Failed::into_error)
    }

    /// Opens a connection and keeps it for the next call.
    pub(crate) async fn reach(&self) -> Result<(), HttpError> {
        let sender = self.dial().await?;
        self.keep(sender);
        Ok(())
    }

    fn request(&self, body: &Bytes, authorization: Option<&HeaderValue>) -> Request<Full<Bytes>> {
        let mut request = Request::post(self.path.clone())
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, body.len());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body.clone())).expect("path and host were checked when the URL was read")
    }

    async fn take_idle(&self) -> Option<Sender> {
        loop {
            let (mut sender, since) = self.idle.lock().pop()?;
            if since.elapsed() < IDLE_LIMIT && !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock();
        idle.retain(|(sender, since)| since.elapsed() < IDLE_LIMIT && !sender.is_closed());
        if idle.len() < IDLE_MOST {
            idle.push((sender, Instant::now()));
        }
    }

    async fn dial(&self) -> Result<Sender, HttpError> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(HttpError::Connect)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        stream
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive))
            .map_err(HttpError::Connect)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| HttpError::Broken(e.to_string()))?;
        // Ends by itself when the sender is dropped or the node closes; its errors reach the call in flight.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn exchange(&self, mut sender: Sender, request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
        let response = sender.send_request(request).await.map_err(Failed::BeforeAnswer)?;
        let head_at = Instant::now();
        let (head, mut incoming) = response.into_parts();
        let announced: usize =
            head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(0);
        if announced > ANSWER_LIMIT {
            return Err(Failed::TooLarge);
        }
        let mut body = Vec::with_capacity(announced.min(ROOM_ON_TRUST));
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(Failed::WithinAnswer)?;
            if let Some(data) = frame.data_ref() {
                if body.len() + data.len() > ANSWER_LIMIT {
                    return Err(Failed::TooLarge);
                }
                body.extend_from_slice(data);
            }
        }
        self.keep(sender);
        Ok(Answer { status: head.status, head_at, body })
    }
}

enum Failed {
    /// Nothing was answered: on a reused connection the node had most likely just closed it.
    BeforeAnswer(hyper::Error),
    WithinAnswer(hyper::Error),
    TooLarge,
}

impl Failed {
    fn into_error(self) -> HttpError {
        match self {
            Self::BeforeAnswer(e) | Self::WithinAnswer(e) => HttpError::Broken(e.to_string()),
            Self::TooLarge => HttpError::TooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_refused_with_a_reason() {
        for (url, expected) in [
            ("http://127.0.0.1:8332", Ok("127.0.0.1:8332")),
            ("http://127.0.0.1:8332/", Ok("127.0.0.1:8332")),
            ("http://[::1]:18443/wallet/x", Ok("[::1]:18443")),
            ("http://node.lan", Ok("node.lan:80")),
            ("https://node.lan:8332", Err("https")),
            ("127.0.0.1:8332", Err("")),
            ("node", Err("http://")),
            ("http://user:pass@node:8332", Err("credentials")),
            ("http://node:0", Err("port")),
            ("http://node:99999", Err("")),
            ("http://node:", Err("port")),
            ("", Err("")),
        ] {
            match (Http::new(url), expected) {
                (Ok(http), Ok(authority)) => assert_eq!(http.authority(), authority, "{url}"),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{url}: {reason}"),
                (got, _) => panic!("{url}: {:?}", got.map(|h| h.authority)),
            }
        }
        assert_eq!(Http::new("http://[::1]:1").unwrap().host, "::1");
    }
}
