//! JSON-RPC as Core speaks it: requests (also named parameters, batches, version 2.0), answers, errors and their codes.
//! [`server`] carries it over HTTP; the methods are in [`mining`], [`blocks`] and [`info`].

mod blocks;
mod info;
mod mining;
pub(crate) mod server;

use std::sync::Arc;

use bitcoin::BlockHash;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::shared::Shared;

pub(crate) const MISC_ERROR: i32 = -1;
pub(crate) const TYPE_ERROR: i32 = -3;
pub(crate) const INVALID_ADDRESS_OR_KEY: i32 = -5;
pub(crate) const INVALID_PARAMETER: i32 = -8;
pub(crate) const CLIENT_NOT_CONNECTED: i32 = -9;
pub(crate) const CLIENT_IN_INITIAL_DOWNLOAD: i32 = -10;
pub(crate) const DESERIALIZATION_ERROR: i32 = -22;
const INVALID_REQUEST: i32 = -32_600;
const METHOD_NOT_FOUND: i32 = -32_601;
const PARSE_ERROR: i32 = -32_700;

/// An error of Core's: its code and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) message: String,
}

impl RpcError {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn parse() -> Self {
        Self::new(PARSE_ERROR, "Parse error")
    }

    fn status(&self) -> StatusCode {
        match self.code {
            INVALID_REQUEST => StatusCode::BAD_REQUEST,
            METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A method's result: a value, or JSON rendered before.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(Value),
    Rendered(Vec<Bytes>),
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// A request's parameters, by position or by name.
#[derive(Debug)]
pub(crate) struct Params(Value);

impl Params {
    /// The parameter, unless it is missing or null.
    pub(crate) fn get(&self, place: usize, name: &str) -> Option<&Value> {
        let value = if self.0.is_object() { self.0.get(name) } else { self.0.get(place) };
        value.filter(|value| !value.is_null())
    }

    fn required(&self, place: usize, name: &str) -> Result<&Value, RpcError> {
        self.get(place, name).ok_or_else(|| RpcError::new(MISC_ERROR, format!("the parameter {name} is missing")))
    }

    pub(crate) fn string(&self, place: usize, name: &str) -> Result<&str, RpcError> {
        let value = self.required(place, name)?;
        value.as_str().ok_or_else(|| wrong_type(value, place, name, "string"))
    }

    pub(crate) fn integer(&self, place: usize, name: &str) -> Result<i64, RpcError> {
        let value = self.required(place, name)?;
        value.as_i64().ok_or_else(|| wrong_type(value, place, name, "number"))
    }

    pub(crate) fn object(&self, place: usize, name: &str) -> Result<&Value, RpcError> {
        let value = self.required(place, name)?;
        if value.is_object() { Ok(value) } else { Err(wrong_type(value, place, name, "object")) }
    }

    /// A block hash, with Core's words where it is none.
    pub(crate) fn hash(&self, place: usize, name: &str) -> Result<BlockHash, RpcError> {
        parse_hash(self.string(place, name)?, name)
    }
}

pub(crate) fn parse_hash(text: &str, name: &str) -> Result<BlockHash, RpcError> {
    text.parse().map_err(|_| {
        let length = text.len();
        let message = if length == 64 {
            format!("{name} must be hexadecimal string (not '{text}')")
        } else {
            format!("{name} must be of length 64 (not {length}, for '{text}')")
        };
        RpcError::new(INVALID_PARAMETER, message)
    })
}

pub(crate) fn wrong_type(value: &Value, place: usize, name: &str, expected: &str) -> RpcError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let position = place + 1;
    let message = format!(
        "Wrong type passed:\n{{\n    \"Position {position} ({name})\": \"JSON value of type {found} is not of expected type {expected}\"\n}}"
    );
    RpcError::new(TYPE_ERROR, message)
}

/// One request out of a body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    params: Params,
    reply: ReplyTo,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug)]
pub(crate) struct ReplyTo {
    id: Option<Value>,
    version_2: bool,
}

impl Call {
    /// Reads a request as Core does; an error knows as much of the request as was read.
    pub(crate) fn parse(request: &Value) -> Result<Self, (RpcError, ReplyTo)> {
        let mut reply = ReplyTo { id: request.get("id").cloned(), version_2: false };
        let invalid = |message: &str, reply: &ReplyTo| (RpcError::new(INVALID_REQUEST, message), reply.clone());
        if !request.is_object() {
            return Err(invalid("Invalid Request object", &reply));
        }
        match request.get("jsonrpc") {
            None | Some(Value::Null) => {}
            Some(Value::String(version)) if version == "2.0" => reply.version_2 = true,
            Some(Value::String(version)) if version == "1.0" => {}
            Some(Value::String(_)) => return Err(invalid("JSON-RPC version not supported", &reply)),
            Some(_) => return Err(invalid("jsonrpc field must be a string", &reply)),
        }
        let method = match request.get("method") {
            None | Some(Value::Null) => return Err(invalid("Missing method", &reply)),
            Some(Value::String(method)) => method.clone(),
            Some(_) => return Err(invalid("Method must be a string", &reply)),
        };
        let params = match request.get("params") {
            None | Some(Value::Null) => Params(json!([])),
            Some(params @ (Value::Array(_) | Value::Object(_))) => Params(params.clone()),
            Some(_) => return Err(invalid("Params must be an array or object", &reply)),
        };
        Ok(Self { method, params, reply })
    }

    /// A request of version 2.0 without an id is done and not answered.
    pub(crate) fn is_notification(&self) -> bool {
        self.reply.version_2 && self.reply.id.is_none()
    }

    pub(crate) fn reply(&self) -> &ReplyTo {
        &self.reply
    }

    pub(crate) async fn run(&self, node: &Arc<Shared>) -> Result<Answer, RpcError> {
        let params = &self.params;
        let value = match self.method.as_str() {
            "getblocktemplate" => return mining::get_block_template(node, params).await,
            "submitblock" => return mining::submit_block(node, params).await,
            "generatetoaddress" => return mining::generate_to_address(node, params).await,
            "getmininginfo" => mining::get_mining_info(node),
            "getbestblockhash" => blocks::get_best_block_hash(node),
            "getblockcount" => blocks::get_block_count(node),
            "getblockhash" => blocks::get_block_hash(node, params)?,
            "getblockheader" => blocks::get_block_header(node, params)?,
            "getblock" => blocks::get_block(node, params)?,
            "getblockchaininfo" => info::get_blockchain_info(node),
            "getnetworkinfo" => info::get_network_info(node),
            "getpeerinfo" => info::get_peer_info(node),
            "getconnectioncount" => json!(node.peer_count()),
            "getmempoolinfo" => info::get_mempool_info(node),
            "getindexinfo" => json!({}),
            "getzmqnotifications" => info::get_zmq_notifications(node),
            "setmocktime" => info::set_mock_time(node, params)?,
            "uptime" => json!(node.started.elapsed().as_secs()),
            _ => return Err(RpcError::new(METHOD_NOT_FOUND, "Method not found")),
        };
        Ok(Answer::Value(value))
    }
}

impl ReplyTo {
    /// For a body that could not be read.
    pub(crate) fn unknown() -> Self {
        Self { id: Some(Value::Null), version_2: false }
    }

    /// The body of an answer, with the HTTP status it goes with.
    pub(crate) fn render(&self, result: Result<Answer, RpcError>) -> (StatusCode, Vec<Bytes>) {
        let status = match &result {
            Err(error) if !self.version_2 => error.status(),
            _ => StatusCode::OK,
        };
        let version = if self.version_2 { r#""jsonrpc":"2.0","# } else { "" };
        let id = self.id.as_ref().map_or_else(String::new, |id| format!(r#","id":{id}"#));
        match result {
            Ok(answer) => {
                let mut pieces = match answer {
                    Answer::Value(value) => vec![value.to_string().into()],
                    Answer::Rendered(rendered) => rendered,
                };
                let no_error = if self.version_2 { "" } else { r#","error":null"# };
                pieces.insert(0, format!(r#"{{{version}"result":"#).into());
                pieces.push(format!("{no_error}{id}}}\n").into());
                (status, pieces)
            }
            Err(error) => {
                let no_result = if self.version_2 { "" } else { r#""result":null,"# };
                let error = json!({ "code": error.code, "message": error.message });
                (
                    status,
                    vec![format!(r#"{{{version}{no_result}"error":{error}{id}}}"#).into(), Bytes::from_static(b"\n")],
                )
            }
        }
    }
}
