//! Stratum V1 as a client reads it: one line to one [`ServerLine`], whatever pool it comes from.
//! Nothing here panics on foreign bytes; what cannot be read is a [`WireError`] that says why.

use serde_json::Value;

use super::hash;

/// A line no pool needs to exceed; a longer one ends the connection.
pub(crate) const MAX_LINE: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WireError {
    #[error("not a JSON object: {0}")]
    NotJson(String),
    #[error("neither a method nor an answer")]
    Neither,
    #[error("{method}: {what}")]
    Params { method: &'static str, what: String },
}

/// What a pool says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServerLine {
    Notify(Box<Notify>),
    SetDifficulty(f64),
    SetExtranonce {
        extranonce1: Vec<u8>,
        extranonce2_size: usize,
    },
    SetVersionMask(u32),
    /// Reconnect; hosts named in it are nobody's business.
    Reconnect,
    /// A request that wants an answer with this id, such as `client.get_version` or `mining.ping`.
    Request {
        id: Value,
        method: String,
    },
    /// Anything else that needs no answer, such as `client.show_message`.
    Other,
    /// `complete` tells whether id, result and error were all there.
    Answer {
        id: Value,
        result: Value,
        error: Value,
        complete: bool,
    },
}

/// The work of a `mining.notify`, unpacked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notify {
    pub(crate) job_id: String,
    /// As it stands in the header (internal byte order).
    pub(crate) prev_hash: [u8; 32],
    pub(crate) coinb1: Vec<u8>,
    pub(crate) coinb2: Vec<u8>,
    pub(crate) branches: Vec<[u8; 32]>,
    pub(crate) version: u32,
    pub(crate) nbits: u32,
    pub(crate) ntime: u32,
    pub(crate) clean: bool,
}

impl Notify {
    pub(crate) fn coinbase_len(&self, extranonce1: usize, extranonce2: usize) -> usize {
        self.coinb1.len() + extranonce1 + extranonce2 + self.coinb2.len()
    }

    /// The header a miner works on, its nonce zero.
    pub(crate) fn header(&self, extranonce1: &[u8], extranonce2: &[u8], version: u32, ntime: u32) -> [u8; 80] {
        let coinbase = [&self.coinb1, extranonce1, extranonce2, &self.coinb2].concat();
        let root = hash::merkle_root(hash::sha256d(&coinbase), &self.branches);
        let mut header = [0; 80];
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(&self.prev_hash);
        header[36..68].copy_from_slice(&root);
        header[68..72].copy_from_slice(&ntime.to_le_bytes());
        header[72..76].copy_from_slice(&self.nbits.to_le_bytes());
        header
    }
}

/// Reads one line (without its line feed).
pub(crate) fn parse(line: &[u8]) -> Result<ServerLine, WireError> {
    let value: Value = serde_json::from_slice(line).map_err(|error| WireError::NotJson(error.to_string()))?;
    let Value::Object(mut fields) = value else {
        return Err(WireError::NotJson("another kind of value".into()));
    };
    let id = fields.remove("id");
    if let Some(Value::String(method)) = fields.get("method") {
        let params = fields.get("params").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        return call(method, params, id.unwrap_or(Value::Null));
    }
    let complete = id.is_some() && fields.contains_key("result") && fields.contains_key("error");
    if id.is_none() && !fields.contains_key("result") {
        return Err(WireError::Neither);
    }
    Ok(ServerLine::Answer {
        id: id.unwrap_or(Value::Null),
        result: fields.remove("result").unwrap_or(Value::Null),
        error: fields.remove("error").unwrap_or(Value::Null),
        complete,
    })
}

fn call(method: &str, params: &[Value], id: Value) -> Result<ServerLine, WireError> {
    match method {
        "mining.notify" => notify(params).map(|notify| ServerLine::Notify(Box::new(notify))),
        "mining.set_difficulty" => match params.first().and_then(Value::as_f64) {
            Some(difficulty) if difficulty > 0.0 => Ok(ServerLine::SetDifficulty(difficulty)),
            _ => Err(wrong("mining.set_difficulty", format!("no positive number in {params:?}"))),
        },
        "mining.set_extranonce" => {
            let (extranonce1, extranonce2_size) = extranonce("mining.set_extranonce", params.first(), params.get(1))?;
            Ok(ServerLine::SetExtranonce { extranonce1, extranonce2_size })
        }
        "mining.set_version_mask" => {
            number("mining.set_version_mask", "mask", params.first()).map(ServerLine::SetVersionMask)
        }
        "client.reconnect" | "mining.reconnect" => Ok(ServerLine::Reconnect),
        "client.get_version" | "mining.ping" => Ok(ServerLine::Request { id, method: method.into() }),
        _ => Ok(ServerLine::Other),
    }
}

fn wrong(method: &'static str, what: String) -> WireError {
    WireError::Params { method, what }
}

fn notify(params: &[Value]) -> Result<Notify, WireError> {
    const METHOD: &str = "mining.notify";
    let branches = params
        .get(4)
        .and_then(Value::as_array)
        .ok_or_else(|| wrong(METHOD, "the merkle branches are no array".into()))?
        .iter()
        .map(|branch| hash_param(METHOD, "merkle branch", Some(branch)))
        .collect::<Result<_, _>>()?;
    let mut prev_hash = hash_param(METHOD, "previous hash", params.get(1))?;
    prev_hash.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    Ok(Notify {
        job_id: text(METHOD, "job id", params.first())?.to_owned(),
        prev_hash,
        coinb1: bytes(METHOD, "coinb1", params.get(2))?,
        coinb2: bytes(METHOD, "coinb2", params.get(3))?,
        branches,
        version: number(METHOD, "version", params.get(5))?,
        nbits: number(METHOD, "nbits", params.get(6))?,
        ntime: number(METHOD, "ntime", params.get(7))?,
        clean: params.get(8).and_then(Value::as_bool).unwrap_or(false),
    })
}

/// Extranonce 1 and the size of extranonce 2, as in the result of subscribe and in `mining.set_extranonce`.
pub(crate) fn extranonce(
    method: &'static str,
    extranonce1: Option<&Value>,
    size: Option<&Value>,
) -> Result<(Vec<u8>, usize), WireError> {
    let size = size
        .and_then(Value::as_u64)
        .filter(|size| *size <= 64)
        .ok_or_else(|| wrong(method, "the size of extranonce 2 is not a number up to 64".into()))?;
    Ok((bytes(method, "extranonce 1", extranonce1)?, size as usize))
}

fn text<'a>(method: &'static str, name: &str, param: Option<&'a Value>) -> Result<&'a str, WireError> {
    param.and_then(Value::as_str).ok_or_else(|| wrong(method, format!("{name} is not a string")))
}

fn bytes(method: &'static str, name: &str, param: Option<&Value>) -> Result<Vec<u8>, WireError> {
    hex::decode(text(method, name, param)?).map_err(|error| wrong(method, format!("{name}: {error}")))
}

fn hash_param(method: &'static str, name: &str, param: Option<&Value>) -> Result<[u8; 32], WireError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text(method, name, param)?, &mut hash)
        .map_err(|error| wrong(method, format!("{name}: {error}")))?;
    Ok(hash)
}

/// A 32-bit number in hex, as it stands in a message (most significant digit first).
pub(crate) fn number(method: &'static str, name: &str, param: Option<&Value>) -> Result<u32, WireError> {
    let text = text(method, name, param)?;
    u32::from_str_radix(text, 16).map_err(|error| wrong(method, format!("{name} {text:?}: {error}")))
}

/// The code of an error in any of the shapes pools use; 0 where there is none to be read.
pub(crate) fn error_code(error: &Value) -> i64 {
    let code = match error {
        Value::Array(triple) => triple.first(),
        Value::Object(fields) => fields.get("code"),
        other => Some(other),
    };
    code.and_then(Value::as_i64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREV: &str = "1000000020000000300000004000000050000000600000007000000080000000";

    fn notify_line(change: impl Fn(&mut Vec<Value>)) -> String {
        let mut params = vec![
            "j1".into(),
            PREV.into(),
            "01".into(),
            "02".into(),
            serde_json::json!(["ab".repeat(32)]),
            "20000000".into(),
            "207fffff".into(),
            "65000000".into(),
            true.into(),
        ];
        change(&mut params);
        serde_json::json!({"id": null, "method": "mining.notify", "params": params}).to_string()
    }

    #[test]
    fn a_notify_is_unpacked_with_its_previous_hash_in_header_order() {
        let line = notify_line(|_| ());
        let ServerLine::Notify(notify) = parse(line.as_bytes()).unwrap() else { panic!("no notify") };
        assert_eq!(&notify.prev_hash[..8], [0, 0, 0, 0x10, 0, 0, 0, 0x20]);
        assert_eq!((notify.version, notify.nbits, notify.ntime), (0x2000_0000, 0x207f_ffff, 0x6500_0000));
        assert!(notify.clean && notify.job_id == "j1" && notify.branches == [[0xab; 32]]);
        assert_eq!(notify.coinbase_len(4, 8), 14);
    }

    #[test]
    fn a_notify_with_anything_missing_or_misshapen_is_an_error_that_names_it() {
        let cases: [(usize, Value, &str); 8] = [
            (0, 7.into(), "job id"),
            (1, "00".into(), "previous hash"),
            (2, "0".into(), "coinb1"),
            (3, Value::Null, "coinb2"),
            (4, serde_json::json!(["zz"]), "merkle branch"),
            (5, "-1".into(), "version"),
            (6, 3.into(), "nbits"),
            (7, "1234567890".into(), "ntime"),
        ];
        for (at, value, named) in cases {
            let error = parse(notify_line(|params| params[at] = value.clone()).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
            assert!(parse(notify_line(|params| params.truncate(at)).as_bytes()).is_err());
        }
    }

    #[test]
    fn lines_of_other_kinds_are_told_apart() {
        let cases: [(&str, ServerLine); 7] = [
            (r#"{"method":"mining.set_difficulty","params":[1e-9]}"#, ServerLine::SetDifficulty(1e-9)),
            (r#"{"method":"mining.set_version_mask","params":["1fffe000"]}"#, ServerLine::SetVersionMask(0x1fff_e000)),
            (r#"{"method":"client.reconnect","params":["evil",1,0]}"#, ServerLine::Reconnect),
            (r#"{"method":"client.show_message","params":["hello"]}"#, ServerLine::Other),
            (
                r#"{"method":"mining.ping","id":"x"}"#,
                ServerLine::Request { id: "x".into(), method: "mining.ping".into() },
            ),
            (
                r#"{"id":4,"result":true,"error":null}"#,
                ServerLine::Answer { id: 4.into(), result: true.into(), error: Value::Null, complete: true },
            ),
            (
                r#"{"id":4,"result":true}"#,
                ServerLine::Answer { id: 4.into(), result: true.into(), error: Value::Null, complete: false },
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), Ok(expected), "{line}");
        }
    }

    #[test]
    fn foreign_bytes_are_errors_never_a_panic() {
        let deep = "[".repeat(100_000);
        let cases = [
            "",
            "{",
            "null",
            "[]",
            "{}",
            "\u{fffd}",
            &deep,
            r#"{"method":"mining.set_difficulty","params":[]}"#,
            r#"{"method":"mining.set_difficulty","params":[-1]}"#,
            r#"{"method":"mining.set_difficulty","params":{"a":1}}"#,
            r#"{"method":"mining.set_extranonce","params":["00",65]}"#,
            r#"{"method":"mining.notify"}"#,
        ];
        for line in cases {
            assert!(parse(line.as_bytes()).is_err(), "{line:.60}");
        }
        assert!(parse(&[0xff, 0xfe, 0]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_parameters_are_read_without_a_panic(
            method in "mining\\.(notify|set_difficulty|set_extranonce|set_version_mask)",
            params in proptest::collection::vec("(\"[0-9a-fg]{0,70}\"|-?[0-9]{1,25}(e[0-9]{1,3})?|null|true|\\[\\]|\\[\"00\"\\]|\\{\\})", 0..10),
        ) {
            let _ = parse(format!(r#"{{"id":null,"method":"{method}","params":[{}]}}"#, params.join(",")).as_bytes());
        }
    }

    #[test]
    fn error_codes_are_read_from_triples_objects_and_numbers() {
        let cases = [
            ("[23,\"low\",null]", 23),
            ("{\"code\":21,\"message\":\"m\"}", 21),
            ("24", 24),
            ("\"no\"", 0),
            ("null", 0),
        ];
        for (error, code) in cases {
            assert_eq!(error_code(&serde_json::from_str(error).unwrap()), code, "{error}");
        }
    }
}
