//! One connection's work: the current job, the difficulty it is done for, and the walk through nonce, version,
//! extranonce 2 and time that never tries the same header twice.

use super::{
    hash::{HeaderHasher, ShareTarget, difficulty_of, is_block},
    wire::Notify,
};

/// After so many nonces the next version, extranonce 2 or time is taken: few, so that all of them are used even by a
/// miner of some hundred hashes a second.
const NONCES_A_HEADER: u32 = 256;

#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) notify: Notify,
    pub(crate) difficulty: f64,
    extranonce1: Vec<u8>,
    extranonce2: Vec<u8>,
    mask: u32,
    random: Random,
    target: ShareTarget,
    hasher: HeaderHasher,
    version: u32,
    ntime: u32,
    nonce: u32,
    nonces_left: u32,
    headers: u64,
}

/// A share as it is to be submitted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) extranonce2: Vec<u8>,
    pub(crate) ntime: u32,
    pub(crate) nonce: u32,
    /// The whole version that was hashed.
    pub(crate) version: u32,
    pub(crate) difficulty: f64,
    pub(crate) block: bool,
}

impl Work {
    pub(crate) fn new(
        notify: Notify,
        difficulty: f64,
        extranonce1: &[u8],
        extranonce2_size: usize,
        mask: u32,
        seed: u64,
    ) -> Self {
        let mut random = Random(seed);
        let extranonce2: Vec<u8> = (0..extranonce2_size).map(|_| random.next() as u8).collect();
        let mut work = Self {
            target: ShareTarget::new(difficulty),
            hasher: HeaderHasher::new(&[0; 80]),
            version: notify.version,
            ntime: notify.ntime,
            nonce: 0,
            nonces_left: 0,
            headers: 0,
            notify,
            difficulty,
            extranonce1: extranonce1.to_vec(),
            extranonce2,
            mask,
            random,
        };
        work.set_header();
        work
    }

    pub(crate) fn set_difficulty(&mut self, difficulty: f64) {
        self.difficulty = difficulty;
        self.target = ShareTarget::new(difficulty);
    }

    /// Tries one nonce.
    pub(crate) fn step(&mut self) -> Option<Found> {
        if self.nonces_left == 0 {
            self.next_header();
        }
        self.nonces_left -= 1;
        let nonce = self.nonce;
        self.nonce = nonce.wrapping_add(1);
        let hash = self.hasher.hash(nonce);
        self.target.met_by(&hash).then(|| Found {
            extranonce2: self.extranonce2.clone(),
            ntime: self.ntime,
            nonce,
            version: self.version,
            difficulty: difficulty_of(&hash),
            block: is_block(&hash, self.notify.nbits),
        })
    }

    /// Rolls the version where the pool lets us, every fourth time extranonce 2 as well, now and then the time.
    fn next_header(&mut self) {
        self.headers += 1;
        if self.mask != 0 {
            self.version = (self.notify.version & !self.mask) | (self.random.next() as u32 & self.mask);
        }
        if self.mask == 0 || self.headers.is_multiple_of(4) {
            for byte in &mut self.extranonce2 {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
        // A minute ahead at most: every pool bears that.
        self.ntime = self.notify.ntime + (self.headers / 64).min(60) as u32;
        self.set_header();
    }

    fn set_header(&mut self) {
        let header = self.notify.header(&self.extranonce1, &self.extranonce2, self.version, self.ntime);
        self.hasher = HeaderHasher::new(&header);
        self.nonce = self.random.next() as u32;
        self.nonces_left = NONCES_A_HEADER;
    }
}

/// `SplitMix64`: enough randomness to keep miners apart, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::miner::hash::EVERY_HASH_MEETS;

    fn notify() -> Notify {
        Notify {
            job_id: "1".into(),
            prev_hash: [1; 32],
            coinb1: vec![2; 60],
            coinb2: vec![3; 60],
            branches: vec![[4; 32]; 3],
            version: 0x2000_0000,
            nbits: 0x207f_ffff,
            ntime: 1_700_000_000,
            clean: true,
        }
    }

    #[test]
    fn no_header_is_tried_twice_and_every_field_is_rolled() {
        for (mask, versions) in [(0, 1), (0x1fff_e000, 50)] {
            let mut work = Work::new(notify(), EVERY_HASH_MEETS, &[9; 4], 8, mask, 7);
            let found: Vec<_> = (0..256 * 200).map(|_| work.step().expect("every hash is a share")).collect();
            let distinct: HashSet<_> =
                found.iter().map(|one| (one.nonce, one.version, one.ntime, one.extranonce2.clone())).collect();
            assert_eq!(distinct.len(), found.len());
            assert!(found.iter().map(|one| one.version).collect::<HashSet<_>>().len() >= versions);
            assert!(found.iter().map(|one| &one.extranonce2).collect::<HashSet<_>>().len() >= 40);
            assert!(found.iter().map(|one| one.ntime).collect::<HashSet<_>>().len() >= 3);
            assert!(found.iter().all(|one| one.version & !mask == 0x2000_0000 & !mask));
        }
    }

    #[test]
    fn what_is_found_hashes_to_what_it_claims() {
        let mut work = Work::new(notify(), 1e-8, &[9; 4], 8, 0x1fff_e000, 7);
        let found = (0..100_000).find_map(|_| work.step()).expect("one hash in 43 is a share");
        let mut header = notify().header(&[9; 4], &found.extranonce2, found.version, found.ntime);
        header[76..].copy_from_slice(&found.nonce.to_le_bytes());
        let hash = crate::miner::hash::sha256d(&header);
        assert!(difficulty_of(&hash) >= 1e-8);
        assert_eq!(found.block, is_block(&hash, 0x207f_ffff));
    }
}
