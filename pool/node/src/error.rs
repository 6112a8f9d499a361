//! What can go wrong between the pool and a node. What the operator should do about it is [`crate::Advice`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Settings that can never work, whatever the node does.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    #[error("node {node}: `{url}` is not a node's address: {reason}; write it as http://127.0.0.1:8332")]
    Url { node: String, url: String, reason: &'static str },
    #[error("node {node}: `{endpoint}` is not a ZMQ endpoint; write it as tcp://127.0.0.1:28332")]
    Zmq { node: String, endpoint: String },
    #[error("node {node}: the RPC user name contains a colon or the credentials contain control characters")]
    Credentials { node: String },
    #[error("two nodes are named {0}; give each its own name")]
    SameName(String),
    #[error("no node is configured; the pool needs at least one Bitcoin Core")]
    NoNodes,
}

/// Why an RPC call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("no answer to {method} within {after:?}")]
    Timeout { method: &'static str, after: Duration },
    #[error("the connection broke during {method}: {reason}")]
    Broken { method: &'static str, reason: String },
    #[error("the cookie file {} does not exist", path.display())]
    CookieMissing {
        path: PathBuf,
        /// It was there before: the node deletes it when it stops.
        was_there: bool,
    },
    #[error("the cookie file {} cannot be read: {source}", path.display())]
    CookieUnreadable { path: PathBuf, source: io::Error },
    #[error("the file {} is not a cookie of Bitcoin Core (`user:password` on one line)", path.display())]
    CookieMalformed { path: PathBuf },
    /// HTTP 401. `cookie` is the file the credentials came from, if they came from one.
    #[error("the node refuses the pool's credentials (HTTP 401)")]
    Unauthorized { cookie: Option<PathBuf> },
    /// HTTP 403: not in `rpcallowip`, or the method is not in `rpcwhitelist`.
    #[error("the node does not allow {method} from here (HTTP 403)")]
    Forbidden { method: &'static str },
    /// HTTP 503: the node's work queue is full.
    #[error("the node is too busy for {method} (HTTP 503)")]
    Busy { method: &'static str },
    #[error("HTTP {status} in answer to {method}: this is not Bitcoin Core's RPC port")]
    Http { method: &'static str, status: u16 },
    #[error("the answer to {method} is larger than {limit} bytes")]
    TooLarge { method: &'static str, limit: usize },
    #[error("the answer to {method} is malformed: {reason}")]
    Malformed { method: &'static str, reason: String },
    /// The node's own error.
    #[error("{method}: {message} (code {code})")]
    Rpc { method: &'static str, code: i64, message: String },
}

/// Core's own codes that have a meaning of their own here.
pub(crate) mod code {
    pub(crate) const INVALID_ADDRESS_OR_KEY: i64 = -5;
    pub(crate) const OUT_OF_MEMORY: i64 = -7;
    pub(crate) const NOT_CONNECTED: i64 = -9;
    pub(crate) const INITIAL_DOWNLOAD: i64 = -10;
    pub(crate) const DATABASE: i64 = -20;
    pub(crate) const DESERIALIZATION: i64 = -22;
    pub(crate) const WARMING_UP: i64 = -28;
}

impl RpcError {
    /// Whether the same call may succeed later without anybody changing the call.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TooLarge { .. } => false,
            Self::Rpc { code, .. } => {
                matches!(
                    *code,
                    code::WARMING_UP
                        | code::INITIAL_DOWNLOAD
                        | code::NOT_CONNECTED
                        | code::DATABASE
                        | code::OUT_OF_MEMORY
                )
            }
            _ => true,
        }
    }
}

/// Why a template cannot be mined on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    #[error("not a block template: {0}")]
    Json(String),
    #[error("{field}: `{value}` is not {expected}")]
    Field { field: &'static str, value: String, expected: &'static str },
    #[error("{field} is {value}, outside {least} to {most}")]
    Range { field: &'static str, value: i128, least: i128, most: i128 },
    #[error("transaction {index}: {field} is not hex of the right length")]
    TransactionHex { index: usize, field: &'static str },
    #[error("transaction {index}: {what}")]
    Transaction { index: usize, what: &'static str },
    #[error("coinbasevalue {value} is more than subsidy and fees, {most} satoshis")]
    CoinbaseValue { value: u64, most: u64 },
    #[error("the rule `{0}` must be known to build a block, and this release does not know it")]
    UnknownRule(String),
    #[error("this signet's blocks must be signed by its owner (challenge {0})")]
    SignedSignet(String),
    #[error("height {height} on the same tip that had height {before} before")]
    HeightChanged { height: u32, before: u32 },
    #[error(
        "bits {bits:08x} does not fit curtime {cur_time}: 1200 s after the previous block ({prev_time}) blocks are of minimum difficulty"
    )]
    BitsTime { bits: u32, cur_time: u32, prev_time: u32 },
}

/// Why a source has no template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("unusable block template: {0}")]
    Template(#[from] TemplateError),
}

/// Why a node asked by name gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    #[error("no node is named {0}")]
    Unknown(String),
    #[error("node {node}: {source}")]
    Rpc { node: String, source: RpcError },
}

impl NodeError {
    /// Whether asking again later may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Rpc { source, .. } => source.is_retryable(),
        }
    }
}

/// Foreign text for the operator's eyes: one line, no control characters, not endless.
pub(crate) fn printable(text: &str) -> String {
    const MOST: usize = 200;
    let mut out: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_short_line() {
        assert_eq!(printable("a\nb\x1b[31m"), "a b [31m");
        assert_eq!(printable(&"é".repeat(5000)).chars().count(), 201);
    }

    #[test]
    fn only_errors_that_pass_by_themselves_are_retryable() {
        let rpc = |code| RpcError::Rpc { method: "submitblock", code, message: String::new() };
        for (error, retryable) in [
            (rpc(-28), true),
            (rpc(-10), true),
            (rpc(-22), false),
            (rpc(-32601), false),
            (RpcError::Busy { method: "x" }, true),
            (RpcError::Timeout { method: "x", after: Duration::ZERO }, true),
            (RpcError::TooLarge { method: "x", limit: 1 }, false),
            (RpcError::Unauthorized { cookie: None }, true),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
        }
    }
}
