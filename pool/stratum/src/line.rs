//! One line of a miner's, read into a request.
//!
//! Submissions in their usual form are read by a scanner that allocates nothing and touches each byte once. Everything else
//! goes through `serde_json`; both agree wherever the scanner has an opinion.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Most parameters a submission has.
const MOST_FIELDS: usize = 6;
/// Digits of an id the scanner takes; longer ones go the long way.
const MOST_ID: usize = 40;

/// A request as read from a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    pub id: Id<'a>,
    pub call: Call<'a>,
}

/// A request's id, to be echoed exactly as it came: a JSON number, string, boolean or `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a>(&'a [u8]);

impl<'a> Id<'a> {
    pub const NULL: Id<'static> = Id(b"null");

    /// The JSON text.
    pub fn json(self) -> &'a [u8] {
        self.0
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Call<'a> {
    /// `mining.submit` in its usual form.
    Submit(Fields<'a>),
    Other {
        method: Cow<'a, str>,
        /// `null` when there were none.
        params: Value,
    },
}

/// The parameters of a submission: worker, job, extranonce 2, time, nonce and, perhaps, version bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    fields: [&'a [u8]; MOST_FIELDS],
    count: usize,
}

impl<'a> Fields<'a> {
    /// No parameters at all, or none that can be read.
    pub const NONE: Fields<'static> = Fields { fields: [&[]; MOST_FIELDS], count: 0 };

    /// From parameters read the long way; `None` unless they are at most six strings or nulls.
    pub fn from_params(params: &'a Value) -> Option<Self> {
        let params = params.as_array().filter(|params| params.len() <= MOST_FIELDS)?;
        let mut fields = [&[][..]; MOST_FIELDS];
        for (field, param) in fields.iter_mut().zip(params) {
            *field = match param {
                Value::String(text) => text.as_bytes(),
                // Some firmware says so that it has nothing to say here.
                Value::Null => &[],
                _ => return None,
            };
        }
        Some(Self { fields, count: params.len() })
    }

    pub fn as_slice(&self) -> &[&'a [u8]] {
        &self.fields[..self.count]
    }
}

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError<'a> {
    #[error("the line is not a JSON object")]
    NotJson,
    #[error("the request has no method")]
    NoMethod(Id<'a>),
    #[error("the line is an answer to a request")]
    Answer,
}

/// Reads one line, without its line feed.
pub fn parse(line: &[u8]) -> Result<Request<'_>, LineError<'_>> {
    if let Some((id, fields)) = (Scanner { rest: line }).submission() {
        return Ok(Request { id, call: Call::Submit(fields) });
    }
    parse_at_length(line)
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(default)]
    params: Value,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

fn parse_at_length(line: &[u8]) -> Result<Request<'_>, LineError<'_>> {
    // A struct could be read from an array as well, which no miner means.
    if line.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(LineError::NotJson);
    }
    let envelope: Envelope<'_> = serde_json::from_slice(line).map_err(|_| LineError::NotJson)?;
    let id = match envelope.id.map(|id| id.get().as_bytes()) {
        Some(json) if !matches!(json.first(), Some(b'{' | b'[')) => Id(json),
        _ => Id::NULL,
    };
    match envelope.method {
        Some(method) => Ok(Request { id, call: Call::Other { method, params: envelope.params } }),
        None if envelope.result.is_some() || envelope.error.is_some() => Err(LineError::Answer),
        None => Err(LineError::NoMethod(id)),
    }
}

/// Reads `{"id":…,"method":"mining.submit","params":["…",…]}` in any order of keys and with any spaces. Gives up (`None`) on
/// whatever is not plain: the long way decides then.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn submission(mut self) -> Option<(Id<'a>, Fields<'a>)> {
        let (mut id, mut method, mut fields) = (None, false, None);
        self.expect(b'{')?;
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            match key {
                b"id" if id.is_none() => id = Some(self.id()?),
                b"method" if !method => {
                    if self.string()? != b"mining.submit" {
                        return None;
                    }
                    method = true;
                }
                b"params" if fields.is_none() => fields = Some(self.fields()?),
                b"jsonrpc" => {
                    self.string()?;
                }
                _ => return None,
            }
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        self.skip_spaces();
        if !self.rest.is_empty() || !method {
            return None;
        }
        Some((id.unwrap_or(Id::NULL), fields?))
    }

    fn fields(&mut self) -> Option<Fields<'a>> {
        let mut fields = [&[][..]; MOST_FIELDS];
        self.expect(b'[')?;
        for count in 1..=MOST_FIELDS {
            fields[count - 1] = self.string()?;
            match self.next()? {
                b',' => {}
                b']' => return Some(Fields { fields, count }),
                _ => return None,
            }
        }
        None
    }

    fn id(&mut self) -> Option<Id<'a>> {
        self.skip_spaces();
        let whole = self.rest;
        let length = match whole.first()? {
            b'"' => {
                self.string()?;
                return Some(Id(&whole[..whole.len() - self.rest.len()]));
            }
            b'n' => 4,
            // A leading zero is no JSON number unless it stands alone.
            b'0' => 1,
            b'1'..=b'9' => whole.iter().take_while(|byte| byte.is_ascii_digit()).count(),
            _ => return None,
        };
        let (id, rest) = whole.split_at_checked(length)?;
        // Fractions and exponents go the long way.
        let ends = matches!(rest.first()?, b',' | b'}' | b' ' | b'\t' | b'\r');
        if !ends || length > MOST_ID || (id[0] == b'n' && id != b"null") {
            return None;
        }
        self.rest = rest;
        Some(Id(id))
    }

    /// A string of printable ASCII without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\') || !matches!(byte, b' '..=b'~'))?;
        let (string, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\"")?;
        Some(string)
    }

    fn expect(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        self.skip_spaces();
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip_spaces(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn submit(line: &str, id: &str, fields: &[&str]) {
        let request = parse(line.as_bytes()).unwrap();
        assert_eq!(std::str::from_utf8(request.id.json()).unwrap(), id, "{line}");
        let Call::Submit(read) = request.call else { panic!("{line} goes the long way") };
        assert_eq!(read.as_slice(), fields.iter().map(|f| f.as_bytes()).collect::<Vec<_>>(), "{line}");
    }

    #[test]
    fn usual_submissions_are_scanned_in_any_order_and_spacing() {
        let f = &["bc1q.rig", "6a", "0000000000000001", "66aabbcc", "00000001"][..];
        let params = r#"["bc1q.rig","6a","0000000000000001","66aabbcc","00000001"]"#;
        submit(&format!(r#"{{"id":4,"method":"mining.submit","params":{params}}}"#), "4", f);
        submit(&format!(r#"{{"params":{params},"id":"four","method":"mining.submit"}}"#), "\"four\"", f);
        submit(&format!(r#" {{ "params" : {params} , "method" : "mining.submit" , "id" : null }} "#), "null", f);
        submit(&format!("{{\"id\":0,\"method\":\"mining.submit\",\"params\":{params}}}\r"), "0", f);
        submit(&format!(r#"{{"jsonrpc":"2.0","id":4,"method":"mining.submit","params":{params}}}"#), "4", f);
        submit(&format!(r#"{{"method":"mining.submit","params":{params}}}"#), "null", f);
        let six = [f, &["1fffe000"]].concat();
        let params = serde_json::to_string(&six).unwrap();
        submit(
            &format!(r#"{{"id":18446744073709551616,"method":"mining.submit","params":{params}}}"#),
            "18446744073709551616",
            &six,
        );
    }

    #[test]
    fn ids_are_kept_as_they_came() {
        let case = |id: &str| {
            let line = format!(r#"{{"id":{id},"method":"mining.ping","params":[]}}"#);
            assert_eq!(parse(line.as_bytes()).unwrap().id.json(), id.as_bytes(), "{id}");
        };
        for id in
            ["1", "-1", "1.0", "1e3", "340282366920938463463374607431768211456", "\"a\\u00e9\\\"\"", "null", "true"]
        {
            case(id);
        }
        for id in ["[1]", "{\"a\":1}"] {
            let line = format!(r#"{{"id":{id},"method":"mining.ping"}}"#);
            assert_eq!(parse(line.as_bytes()).unwrap().id, Id::NULL, "{id} is no id");
        }
    }

    #[test]
    fn what_is_unusual_goes_the_long_way_and_means_the_same() {
        for line in [
            r#"{"id":1,"method":"mining.submit","params":["a\u0062c","6a","00","00","00"]}"#,
            r#"{"id":1.5,"method":"mining.submit","params":["abc"]}"#,
            r#"{"id":1,"method":"mining.submit","params":[],"extra":{"x":[]}}"#,
            r#"{"id":1,"method":"mining.submit","params":["a","b","c","d","e","f","g"]}"#,
            r#"{"id":1,"method":"mining.submit","params":[1]}"#,
            r#"{"id":1,"method":"mining.submit","params":["ä"]}"#,
        ] {
            assert!(matches!(parse(line.as_bytes()), Ok(Request { call: Call::Other { .. }, .. })), "{line}");
        }
    }

    #[test]
    fn what_is_no_request_is_named() {
        let case = |line: &str, error| assert_eq!(parse(line.as_bytes()), Err(error), "{line}");
        case("", LineError::NotJson);
        case("hello", LineError::NotJson);
        case("[]", LineError::NotJson);
        case(r#"[1,"mining.submit",[]]"#, LineError::NotJson);
        case(r#"{"id":1,"method":"mining.submit","params":["a""#, LineError::NotJson);
        case(r#"{"id":1,"method":"mining.submit","params":["a"]} x"#, LineError::NotJson);
        case(r#"{"id":1,"id":2,"method":"mining.submit","params":["a"]}"#, LineError::NotJson);
        case(r#"{"id":007,"method":"mining.submit","params":["a"]}"#, LineError::NotJson);
        case(r#"{"id":7}"#, LineError::NoMethod(Id(b"7")));
        case(r#"{"id":7,"result":true,"error":null}"#, LineError::Answer);
        case(&"[".repeat(10_000), LineError::NotJson);
        case(&format!(r#"{{"id":1,"method":"a","params":{}"#, "[".repeat(10_000)), LineError::NotJson);
    }

    /// A submission's strings whichever way the line was read.
    fn strings(request: &Request<'_>) -> Option<Vec<Vec<u8>>> {
        match &request.call {
            Call::Submit(fields) => Some(fields.as_slice().iter().map(|f| f.to_vec()).collect()),
            Call::Other { method, params } if method == "mining.submit" => {
                Fields::from_params(params).map(|fields| fields.as_slice().iter().map(|f| f.to_vec()).collect())
            }
            Call::Other { .. } => None,
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&line);
        }

        #[test]
        fn the_scanner_agrees_with_serde_on_lines_near_the_usual_form(
            tokens in prop::collection::vec(prop::sample::select(&[
                "{", "}", "[", "]", ":", ",", " ", "\"", "\\", "id", "\"id\"", "\"method\"", "\"mining.submit\"", "\"params\"",
                "\"a\"", "null", "1", "0", "-", ".5", "{\"id\":4,", "\"method\":\"mining.submit\"", ",\"params\":[\"a\",\"b\"]}",
            ][..]), 0..14)
        ) {
            let line = tokens.concat();
            if let Ok(scanned @ Request { call: Call::Submit(_), .. }) = parse(line.as_bytes()) {
                let long = parse_at_length(line.as_bytes());
                prop_assert!(long.is_ok(), "{} is no JSON", line);
                let long = long.unwrap();
                prop_assert_eq!(scanned.id, long.id);
                prop_assert_eq!(strings(&scanned), strings(&long));
            }
        }
    }
}
