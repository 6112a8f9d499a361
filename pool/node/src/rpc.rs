//! JSON-RPC as Bitcoin Core speaks it: one call, one answer, and an error that keeps what the node said.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde::{Serialize, de};

use crate::auth::Credentials;
use crate::error::printable;
use crate::http::{ANSWER_LIMIT, Answer, Http, HttpError};
use crate::{Latency, NodeSettings, RpcError, SettingsError};

/// A client of one node. Calls may run at the same time: each has a connection of its own.
pub struct Rpc {
    http: Http,
    credentials: Credentials,
    latency: Arc<Latency>,
}

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    AtMost(Duration),
    /// For long polls, which wait by design and are left out of the latency figures.
    Forever,
}

/// An answer that carries a result, still as the node's JSON so that a template can borrow from it.
#[derive(Debug)]
pub struct Reply {
    method: &'static str,
    body: Vec<u8>,
    head_at: Instant,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("address", &self.http.authority()).finish_non_exhaustive()
    }
}

impl Rpc {
    /// Does not connect yet. Every call's duration goes into `latency`.
    pub fn new(settings: &NodeSettings, latency: Arc<Latency>) -> Result<Self, SettingsError> {
        let node = || settings.name.clone();
        let http = Http::new(&settings.rpc_url).map_err(|reason| SettingsError::Url {
            node: node(),
            url: settings.rpc_url.clone(),
            reason,
        })?;
        let credentials =
            Credentials::new(settings.auth.clone()).ok_or_else(|| SettingsError::Credentials { node: node() })?;
        Ok(Self { http, credentials, latency })
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.http.authority()
    }

    /// Calls `method` with positional `params`.
    pub async fn call<P: Serialize + ?Sized>(
        &self,
        method: &'static str,
        params: &P,
        patience: Patience,
    ) -> Result<Reply, RpcError> {
        let request = Envelope { jsonrpc: "1.0", id: "warppool", method, params };
        let body = serde_json::to_vec(&request)
            .map_err(|e| RpcError::Malformed { method, reason: format!("request: {e}") })?
            .into();
        let Patience::AtMost(limit) = patience else {
            return self.exchange(method, &body).await;
        };
        let started = Instant::now();
        let outcome = tokio::time::timeout(limit, self.exchange(method, &body)).await;
        self.latency.record(started.elapsed());
        outcome.unwrap_or(Err(RpcError::Timeout { method, after: limit }))
    }

    async fn exchange(&self, method: &'static str, body: &Bytes) -> Result<Reply, RpcError> {
        let header = match self.credentials.header().await {
            // Core deletes its cookie when it stops: "nothing answers" is then the truth, not "no cookie".
            Err(missing @ RpcError::CookieMissing { .. }) => {
                self.http.reach().await.map_err(|e| self.http_error(method, e))?;
                return Err(missing);
            }
            other => other?,
        };
        let post = |header| async move {
            let header: Option<hyper::header::HeaderValue> = header;
            self.http.post(body, header.as_ref()).await.map_err(|e| self.http_error(method, e))
        };
        let mut answer = post(header.clone()).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(fresh) = self.credentials.after_refusal(header.as_ref()).await?
        {
            answer = post(Some(fresh)).await?;
        }
        self.judge(method, answer)
    }

    /// An answer without a result becomes the error it means.
    fn judge(&self, method: &'static str, answer: Answer) -> Result<Reply, RpcError> {
        match answer.status {
            StatusCode::UNAUTHORIZED => {
                return Err(RpcError::Unauthorized {
                    cookie: self.credentials.cookie_path().map(std::path::Path::to_path_buf),
                });
            }
            StatusCode::FORBIDDEN => return Err(RpcError::Forbidden { method }),
            StatusCode::SERVICE_UNAVAILABLE => return Err(RpcError::Busy { method }),
            _ => {}
        }
        let reply = Reply { method, body: answer.body, head_at: answer.head_at };
        if answer.status == StatusCode::OK {
            return Ok(reply);
        }
        // Core answers its own errors with status 500, 404 and 400, and the error as JSON in the body.
        match reply.result::<IgnoredAny>() {
            Err(error @ RpcError::Rpc { .. }) => Err(error),
            _ => Err(RpcError::Http { method, status: answer.status.as_u16() }),
        }
    }

    fn http_error(&self, method: &'static str, error: HttpError) -> RpcError {
        match error {
            HttpError::Connect(source) => RpcError::Connect { address: self.address().to_owned(), source },
            HttpError::Broken(reason) => RpcError::Broken { method, reason },
            HttpError::TooLarge => RpcError::TooLarge { method, limit: ANSWER_LIMIT },
        }
    }
}

impl Reply {
    /// For tests and fuzzing: an answer as if it had come from a node.
    pub fn from_body(method: &'static str, body: Vec<u8>) -> Self {
        Self { method, body, head_at: Instant::now() }
    }

    /// When the head of the answer arrived: the moment the node had something to say.
    pub fn head_at(&self) -> Instant {
        self.head_at
    }

    /// The result; `None` is a null, which is how Core says "fine". A missing result is an error.
    pub fn result<'a, T: Deserialize<'a>>(&'a self) -> Result<Option<T>, RpcError> {
        let malformed = |reason: String| RpcError::Malformed { method: self.method, reason };
        let outcome: Outcome<'a, T> =
            serde_json::from_slice(&self.body).map_err(|e| malformed(printable(&e.to_string())))?;
        if let Some(error) = outcome.error {
            return Err(RpcError::Rpc {
                method: self.method,
                code: error.code,
                message: printable(&error.message.unwrap_or_default()),
            });
        }
        match outcome.result {
            Presence::Value(value) => Ok(Some(value)),
            Presence::Null => Ok(None),
            Presence::Missing => Err(malformed("it has neither result nor error".into())),
        }
    }

    /// The result, where null is none.
    pub fn value<'a, T: Deserialize<'a>>(&'a self) -> Result<T, RpcError> {
        self.result()?.ok_or_else(|| RpcError::Malformed { method: self.method, reason: "the result is null".into() })
    }
}

#[derive(Serialize)]
struct Envelope<'a, P: ?Sized> {
    jsonrpc: &'a str,
    id: &'a str,
    method: &'a str,
    params: &'a P,
}

#[derive(serde::Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Outcome<'a, T> {
    #[serde(default)]
    result: Presence<T>,
    #[serde(default, borrow)]
    error: Option<RawError<'a>>,
}

#[derive(serde::Deserialize)]
struct RawError<'a> {
    code: i64,
    #[serde(borrow)]
    message: Option<std::borrow::Cow<'a, str>>,
}

/// A field that tells null from absent.
#[derive(Default)]
enum Presence<T> {
    #[default]
    Missing,
    Null,
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Presence<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Option<T> as de::Deserialize>::deserialize(deserializer).map(|value| value.map_or(Self::Null, Self::Value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_result_is_success_and_a_missing_one_is_not() {
        let result = |body: &str| Reply::from_body("submitblock", body.into()).result::<String>();
        assert_eq!(result(r#"{"result":null,"error":null,"id":1}"#).unwrap(), None);
        assert_eq!(result(r#"{"jsonrpc":"2.0","result":"duplicate","id":1}"#).unwrap().as_deref(), Some("duplicate"));
        for body in [r#"{"error":null,"id":1}"#, "{}", "[]", "", "nonsense", r#"{"result":7,"error":null}"#] {
            assert!(matches!(result(body), Err(RpcError::Malformed { .. })), "{body}");
        }
    }

    #[test]
    fn an_error_keeps_its_code_and_message() {
        let body = r#"{"result":null,"error":{"code":-28,"message":"Loading block\u0020index…\n"},"id":1}"#;
        match Reply::from_body("getblocktemplate", body.into()).result::<IgnoredAny>() {
            Err(RpcError::Rpc { code: -28, message, method: "getblocktemplate" }) => {
                assert_eq!(message, "Loading block index… ");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_without_a_message_is_an_error() {
        let body = r#"{"error":{"code":-1}}"#;
        assert!(matches!(
            Reply::from_body("x", body.into()).result::<IgnoredAny>(),
            Err(RpcError::Rpc { code: -1, .. })
        ));
    }
}
