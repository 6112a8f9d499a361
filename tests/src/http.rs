//! Requests by HTTP to this machine, a connection each.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// An answer's status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

async fn send(port: u16, request: Request<Full<Bytes>>, within: Duration) -> std::io::Result<Answer> {
    let whole = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok(Answer { status, body })
    };
    tokio::time::timeout(within, whole).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

pub async fn get(port: u16, path: &str) -> std::io::Result<Answer> {
    let request = Request::get(path).header("host", format!("127.0.0.1:{port}")).body(Full::default());
    send(port, request.unwrap(), Duration::from_secs(10)).await
}

/// Posts JSON with an `Authorization` header.
pub async fn post(port: u16, authorization: &str, body: String, within: Duration) -> std::io::Result<Answer> {
    let request = Request::post("/")
        .header("host", format!("127.0.0.1:{port}"))
        .header("authorization", authorization)
        .header("content-type", "application/json")
        .body(Full::from(body));
    send(port, request.unwrap(), within).await
}
