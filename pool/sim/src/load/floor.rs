//! The least a share can cost: the SHA-256 compressions its judgement needs once the constant start of the coinbase is
//! kept as a midstate, in a dependent chain, on the thread and in the run in which the pool is measured.

use std::{hint::black_box, time::Instant};

use serde::Serialize;
use sha2::block_api::compress256;

/// Branches of a full block's template (2049 to 4096 transactions), the figure pools are compared at.
pub const BRANCHES: usize = 12;

/// So many timed runs; their median counts.
const RUNS: usize = 21;
/// Compressions in one timed run: about half a millisecond.
const RUN: u32 = 16_384;

/// The compressions one share needs, by what they hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compressions {
    /// What is left of the coinbase after the midstate, and the second hash over its first.
    pub coinbase: u32,
    /// Three a branch: two for 64 bytes with their padding, one for the second hash.
    pub merkle: u32,
    /// Two for 80 bytes with their padding, one for the second hash.
    pub header: u32,
    pub total: u32,
}

impl Compressions {
    /// For a coinbase of so many bytes whose first `constant` bytes are the same for every share of a job.
    pub fn of_share(coinbase_len: usize, constant: usize, branches: usize) -> Self {
        // SHA-256 pads with one byte and a length of eight.
        let blocks = (coinbase_len + 9).div_ceil(64);
        let kept = constant.min(coinbase_len) / 64;
        let coinbase = (blocks - kept) as u32 + 1;
        let merkle = 3 * branches as u32;
        let header = 3;
        Self { coinbase, merkle, header, total: coinbase + merkle + header }
    }
}

/// Nanoseconds of `compressions` compressions, each waiting for the one before it: one timing for each of several runs.
///
/// The chain goes through the state alone, so what a judge adds (hashes written out and read in again as the next
/// message) is the judge's own cost.
pub(crate) fn time(compressions: u32) -> Vec<f64> {
    let chains = (RUN / compressions).max(1);
    (0..RUNS)
        .map(|_| {
            let block = black_box([0x5a; 64]);
            let begun = Instant::now();
            for _ in 0..chains {
                let mut state = black_box([1; 8]);
                for _ in 0..compressions {
                    compress256(&mut state, std::slice::from_ref(&block));
                }
                black_box(state);
            }
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(chains)
        })
        .collect()
}

/// The middle one; 0 of none.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_counted_after_the_midstate() {
        let cases = [
            // coinbase bytes, constant bytes, branches -> coinbase, total
            (255, 0, 0, 6, 9),
            (255, 63, 0, 6, 9),
            (255, 64, 12, 5, 44),
            (183, 60, 12, 4, 43),
            (183, 130, 12, 2, 41),
            // 247 bytes and their padding fill four blocks to the last byte.
            (247, 0, 1, 5, 11),
            (10, 100, 0, 2, 5),
        ];
        for (coinbase, constant, branches, of_coinbase, total) in cases {
            let counted = Compressions::of_share(coinbase, constant, branches);
            assert_eq!((counted.coinbase, counted.total), (of_coinbase, total), "{coinbase} {constant} {branches}");
        }
    }

    #[test]
    fn twice_the_compressions_take_about_twice_the_time() {
        let (once, twice) = (time(40), time(80));
        let least = |samples: Vec<f64>| samples.into_iter().fold(f64::INFINITY, f64::min);
        let ratio = least(twice) / least(once);
        assert!((1.5..2.6).contains(&ratio), "{ratio}");
    }
}
