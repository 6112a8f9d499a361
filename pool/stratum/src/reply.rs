//! What is written to miners: answers and notifications, appended to a buffer. Every answer has id, result and error.

use std::io::Write;

use warppool_work::Difficulty;

use crate::line::Id;

/// Error codes miners know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    Other = 20,
    Stale = 21,
    Duplicate = 22,
    LowDifficulty = 23,
    Unauthorized = 24,
    NotSubscribed = 25,
    InvalidRequest = -32600,
    UnknownMethod = -32601,
    Garbage = -32700,
}

fn open(out: &mut Vec<u8>, id: Id<'_>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.json());
}

/// The answer to nearly every line.
#[inline]
pub(crate) fn yes(out: &mut Vec<u8>, id: Id<'_>) {
    open(out, id);
    out.extend_from_slice(b",\"result\":true,\"error\":null}\n");
}

pub(crate) fn result(out: &mut Vec<u8>, id: Id<'_>, json: &serde_json::Value) {
    open(out, id);
    put(out, format_args!(",\"result\":{json},\"error\":null}}\n"));
}

pub(crate) fn error(out: &mut Vec<u8>, id: Id<'_>, code: Code, message: &str) {
    refusal(out, id, "null", code, message);
}

/// A refused authorization: some firmware looks at the result alone.
pub(crate) fn no(out: &mut Vec<u8>, id: Id<'_>, message: &str) {
    refusal(out, id, "false", Code::Unauthorized, message);
}

fn refusal(out: &mut Vec<u8>, id: Id<'_>, result: &str, code: Code, message: &str) {
    open(out, id);
    put(out, format_args!(",\"result\":{result},\"error\":[{},", code as i32));
    serde_json::to_writer(&mut *out, message).expect("any string is JSON, and a vector takes any bytes");
    out.extend_from_slice(b",null]}\n");
}

/// A double's shortest decimal form without an exponent: every firmware reads that.
pub(crate) fn set_difficulty(out: &mut Vec<u8>, difficulty: Difficulty) {
    put(out, format_args!("{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{}]}}\n", difficulty.get()));
}

/// To the same host: nobody obeys it for another.
pub(crate) fn reconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"client.reconnect\",\"params\":[]}\n");
}

/// For a browser or a health check that took the port for a web server.
pub(crate) fn http(out: &mut Vec<u8>) {
    const TEXT: &str = "This is a Stratum mining port. Point a miner at it, not a browser.\n";
    put(
        out,
        format_args!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{TEXT}",
            TEXT.len()
        ),
    );
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes any bytes");
}
