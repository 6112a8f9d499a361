//! The one thing asked of the node: to find a block now.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const MAX_ANSWER: usize = 1 << 20;

/// A node's RPC as `http://user:password@host:port`.
#[derive(Clone)]
pub(crate) struct Rpc {
    /// `host:port`, the only part of the URL that may be shown.
    host: String,
    authorization: String,
}

impl Rpc {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").context("the RPC URL must be http://USER:PASSWORD@HOST:PORT")?;
        let rest = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (credentials, host) =
            rest.rsplit_once('@').context("the RPC URL has no USER:PASSWORD@ in front of its host")?;
        let credentials = percent_decode(credentials).context("the RPC URL's credentials have a broken %-escape")?;
        let authorization = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials));
        Ok(Self { host: host.to_owned(), authorization })
    }

    /// The hash of a new block that pays to this address, as hex.
    pub(crate) async fn generate(&self, address: &str) -> Result<String> {
        let result = self.call("generatetoaddress", &json!([1, address])).await?;
        let hash = result.pointer("/0").and_then(Value::as_str).filter(|hash| hash.len() == 64);
        hash.map(str::to_owned).with_context(|| format!("the node answered generatetoaddress with {result}"))
    }

    pub(crate) async fn call(&self, method: &str, params: &Value) -> Result<Value> {
        let host = &self.host;
        let stream =
            TcpStream::connect(host).await.with_context(|| format!("the node's RPC at {host} is not there"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let body = json!({"jsonrpc": "1.0", "id": "warppool-sim", "method": method, "params": params}).to_string();
        let request = Request::post("/")
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await.with_context(|| format!("{method} at {host} failed"))?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(anyhow::Error::from_boxed);
        driver.abort();
        if status == StatusCode::UNAUTHORIZED {
            bail!("the node at {host} refuses the user or password of the RPC URL");
        }
        let answer = answer.with_context(|| format!("the answer of {host} to {method} broke off"))?.to_bytes();
        let mut answer: Value = serde_json::from_slice(&answer)
            .with_context(|| format!("{host} answered {method} with status {status} and no JSON"))?;
        match answer.get("error") {
            None | Some(Value::Null) => Ok(answer["result"].take()),
            Some(error) => bail!("the node refuses {method}: {error}"),
        }
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            (digit(bytes.next()?)? * 16 + digit(bytes.next()?)?) as u8
        } else {
            byte
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rpc_url_is_taken_apart() {
        let cases = [
            ("http://user:pass@127.0.0.1:18443", Some(("127.0.0.1:18443", "user:pass"))),
            ("http://__cookie__:0a%3Ab@node:1/", Some(("node:1", "__cookie__:0a:b"))),
            ("http://u:p%40q@[::1]:2/wallet/x", Some(("[::1]:2", "u:p@q"))),
            ("https://user:pass@127.0.0.1:18443", None),
            ("http://127.0.0.1:18443", None),
            ("http://u:%4@host:1", None),
            ("http://u:%zz@host:1", None),
        ];
        for (url, expected) in cases {
            let rpc = Rpc::new(url).ok().map(|rpc| {
                let encoded = rpc.authorization.strip_prefix("Basic ").unwrap();
                let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
                (rpc.host, String::from_utf8(decoded).unwrap())
            });
            let rpc = rpc.as_ref().map(|(host, credentials)| (host.as_str(), credentials.as_str()));
            assert_eq!(rpc, expected, "{url}");
        }
    }
}
