//! The submits of one connection, written from prepared pieces: every share another extranonce 2 or nonce, and a real
//! one where the pool's difficulty lets some hashes fail.

use std::sync::Arc;

use serde_json::Value;

use super::swarm::Connection;
use crate::miner::{
    hash::{EVERY_HASH_MEETS, HeaderHasher, ShareTarget},
    wire::Notify,
};

/// Where hashes must be tried, so many shares are looked for under one extranonce 2: its coinbase and branches cost as
/// much as twenty nonces.
const SHARES_A_HEADER: u32 = 16;
/// After so many nonces in vain a share is sent as it is: the load must not starve on a difficulty beyond it.
const MAX_TRIES: u32 = 4096;

#[derive(Debug)]
pub(crate) struct Feed {
    user: String,
    /// Between the id and extranonce 2.
    head: Vec<u8>,
    /// Between extranonce 2 and the nonce.
    middle: Vec<u8>,
    extranonce2_size: usize,
    shares: u64,
    search: Option<Search>,
}

#[derive(Debug)]
struct Search {
    notify: Arc<Notify>,
    extranonce1: Vec<u8>,
    target: ShareTarget,
    hasher: HeaderHasher,
    extranonce2: u64,
    nonce: u32,
    shares_left: u32,
}

impl Feed {
    pub(crate) fn new(user: &str) -> Self {
        let user = Value::from(user).to_string();
        Self { user, head: Vec::new(), middle: Vec::new(), extranonce2_size: 0, shares: 0, search: None }
    }

    /// Takes over the connection's job, difficulty and extranonce. `real` shares meet the difficulty.
    pub(crate) fn retarget(&mut self, connection: &Connection, real: bool) {
        let Some(job) = &connection.job else { return };
        let job_id = Value::from(&*job.job_id);
        self.head = format!(",\"method\":\"mining.submit\",\"params\":[{},{job_id},\"", self.user).into_bytes();
        self.middle = format!("\",\"{:08x}\",\"", job.ntime).into_bytes();
        self.extranonce2_size = connection.extranonce2_size;
        self.search = (real && connection.difficulty > EVERY_HASH_MEETS).then(|| Search {
            notify: job.clone(),
            extranonce1: connection.extranonce1.clone(),
            target: ShareTarget::new(connection.difficulty),
            hasher: HeaderHasher::new(&[0; 80]),
            extranonce2: 0,
            nonce: 0,
            shares_left: 0,
        });
    }

    /// Appends a submit that no one before equals.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, id: u64) {
        self.shares += 1;
        let (extranonce2, nonce) = match &mut self.search {
            // Odd times anything is one-to-one: nonces differ as long as extranonces 2 wrap around, however short.
            None => (self.shares, (self.shares as u32).wrapping_mul(0x9e37_79b1)),
            Some(search) => search.next(self.shares, self.extranonce2_size),
        };
        out.extend_from_slice(b"{\"id\":");
        push_decimal(out, id);
        out.extend_from_slice(&self.head);
        push_hex(out, &extranonce2_bytes(extranonce2)[16 - self.extranonce2_size.min(16)..]);
        out.extend_from_slice(&self.middle);
        push_hex(out, &nonce.to_be_bytes());
        out.extend_from_slice(b"\"]}\n");
    }
}

impl Search {
    fn next(&mut self, share: u64, extranonce2_size: usize) -> (u64, u32) {
        if self.shares_left == 0 {
            self.extranonce2 = share;
            let extranonce2 = &extranonce2_bytes(share)[16 - extranonce2_size.min(16)..];
            let header = self.notify.header(&self.extranonce1, extranonce2, self.notify.version, self.notify.ntime);
            self.hasher = HeaderHasher::new(&header);
            self.shares_left = SHARES_A_HEADER;
        }
        self.shares_left -= 1;
        for _ in 0..MAX_TRIES {
            self.nonce = self.nonce.wrapping_add(1);
            if self.target.met_by(&self.hasher.hash(self.nonce)) {
                break;
            }
        }
        (self.extranonce2, self.nonce)
    }
}

/// Sixteen bytes whose last ones are the extranonce 2, whatever its size up to that.
fn extranonce2_bytes(counter: u64) -> [u8; 16] {
    u128::from(counter).to_be_bytes()
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_json_has_them() {
        for number in [0, 7, 10, 99, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        let mut out = Vec::new();
        push_hex(&mut out, &[0, 0x9f, 0xa0]);
        assert_eq!(out, b"009fa0");
    }
}
