//! A file of the spool of found blocks: as it lies there, and with its checksum put right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use warppool_engine::spool::decode;

const MAGIC: &[u8] = b"WARPBLK1";

fuzz_target!(|bytes: &[u8]| {
    drop(decode(bytes));
    let whole = [MAGIC, Sha256::digest(bytes).as_slice(), bytes].concat();
    if let Ok(found) = decode(&whole) {
        assert!(found.block.len() <= bytes.len());
    }
});
