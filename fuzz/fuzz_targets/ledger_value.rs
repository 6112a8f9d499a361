//! A record of the ledger: a length byte, that many bytes of key, and the body of its value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_ledger::check::decode_body;

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, rest)) = bytes.split_first() else { return };
    let (key, body) = rest.split_at(rest.len().min(length.into()));
    drop(decode_body(key, body));
});
