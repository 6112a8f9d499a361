//! A job as miners read it: the parts common to all are written once a job, the coinbase once a payout.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use warppool_work::{Coinbase, Job, JobError, Payout};

/// What is kept beside a job. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Prepared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Up to coinb1.
    head: Box<[u8]>,
    /// From behind coinb2 up to the word that says whether to drop older work.
    tail: Box<[u8]>,
    /// Counts tips since start.
    tip: u64,
    coinbases: Mutex<HashMap<Arc<Payout>, Arc<Coinbase>>>,
}

impl Prepared {
    pub(crate) fn new(job: &Job, tip: u64) -> Self {
        let mut head = String::with_capacity(128);
        head.push_str(r#"{"id":null,"method":"mining.notify","params":[""#);
        let _ = write!(head, r#"{}",""#, job.id);
        // Each group of four bytes is sent reversed.
        for group in job.prev_hash.chunks(4) {
            group.iter().rev().for_each(|byte| {
                let _ = write!(head, "{byte:02x}");
            });
        }
        head.push_str(r#"",""#);
        let branches: Vec<String> =
            job.branches.iter().map(|hash| format!("\"{}\"", const_hex::encode(hash))).collect();
        let tail =
            format!(r#"",[{}],"{:08x}","{:08x}","{:08x}","#, branches.join(","), job.version, job.bits, job.time);
        let (head, tail) = (head.into_bytes().into(), tail.into_bytes().into());
        Self(Arc::new(Inner { head, tail, tip, coinbases: Mutex::default() }))
    }

    pub(crate) fn tip(&self) -> u64 {
        self.0.tip
    }

    /// The coinbase of `job` that pays `payout`; built when nobody has asked for it before.
    pub(crate) fn coinbase(&self, job: &Job, payout: &Arc<Payout>) -> Result<Arc<Coinbase>, JobError> {
        let mut coinbases = self.0.coinbases.lock();
        if let Some(coinbase) = coinbases.get(payout) {
            return Ok(Arc::clone(coinbase));
        }
        let coinbase = Arc::new(job.coinbase(payout)?);
        coinbases.insert(Arc::clone(payout), Arc::clone(&coinbase));
        Ok(coinbase)
    }

    /// Gives the coinbases' memory back. They are built again for those who still send shares for this job.
    pub(crate) fn forget(&self) {
        *self.0.coinbases.lock() = HashMap::new();
    }

    /// The whole `mining.notify` line for a payout; empty, and told to the operator, where no coinbase can pay it.
    pub(crate) fn line_for(&self, job: &Job, payout: &Arc<Payout>, clean: bool) -> Vec<u8> {
        let mut line = Vec::new();
        match self.coinbase(job, payout) {
            Ok(coinbase) => self.line(&coinbase, clean, &mut line),
            Err(error) => tracing::error!(%error, "no coinbase can be made for a payout: its miners get no job"),
        }
        line
    }

    /// Appends the whole `mining.notify` line. `clean` tells the miner to drop what it works on.
    fn line(&self, coinbase: &Coinbase, clean: bool, out: &mut Vec<u8>) {
        let (prefix, suffix) = (coinbase.prefix(), coinbase.suffix());
        out.reserve(self.0.head.len() + self.0.tail.len() + 2 * (prefix.len() + suffix.len()) + 16);
        out.extend_from_slice(&self.0.head);
        push_hex(out, prefix);
        out.extend_from_slice(b"\",\"");
        push_hex(out, suffix);
        out.extend_from_slice(&self.0.tail);
        out.extend_from_slice(if clean { b"true]}\n" } else { b"false]}\n" });
    }
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    const_hex::encode_to_slice(bytes, &mut out[start..]).expect("the room is twice the bytes");
}
