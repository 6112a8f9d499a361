//! The hashing a miner does: double SHA-256 with the header's midstate kept, and difficulty as miners reckon it.
//! Difficulties are `f64` (difficulty 1 is `0xffff << 208`), exact enough for a miner: the pool has the last word.

use sha2::{Digest, Sha256, block_api::compress256};

const SHA256_START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// At and below this difficulty the target is above every 256-bit number: any hash is a share.
pub(crate) const EVERY_HASH_MEETS: f64 = 65535.0 / (65536.0 * 4_294_967_296.0);

/// `SHA256(SHA256(bytes))`, in the hash function's own byte order.
pub(crate) fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// The merkle root over a coinbase txid and its branches, all in internal byte order.
pub(crate) fn merkle_root(coinbase_txid: [u8; 32], branches: &[[u8; 32]]) -> [u8; 32] {
    branches.iter().fold(coinbase_txid, |root, branch| {
        let mut pair = [0; 64];
        pair[..32].copy_from_slice(&root);
        pair[32..].copy_from_slice(branch);
        sha256d(&pair)
    })
}

/// Hashes one 80-byte header under many nonces: two compressions each.
#[derive(Clone, Debug)]
pub(crate) struct HeaderHasher {
    midstate: [u32; 8],
    tail: [u8; 64],
}

impl HeaderHasher {
    pub(crate) fn new(header: &[u8; 80]) -> Self {
        let mut first = [0; 64];
        first.copy_from_slice(&header[..64]);
        let mut midstate = SHA256_START;
        compress256(&mut midstate, &[first]);
        let mut tail = [0; 64];
        tail[..16].copy_from_slice(&header[64..]);
        tail[16] = 0x80;
        tail[56..].copy_from_slice(&(80u64 * 8).to_be_bytes());
        Self { midstate, tail }
    }

    /// The block hash under this nonce, in internal byte order (its last bytes are the most significant).
    pub(crate) fn hash(&mut self, nonce: u32) -> [u8; 32] {
        self.tail[12..16].copy_from_slice(&nonce.to_le_bytes());
        let mut inner = self.midstate;
        compress256(&mut inner, &[self.tail]);
        let mut block = [0; 64];
        for (bytes, word) in block.chunks_exact_mut(4).zip(inner) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        block[32] = 0x80;
        block[56..].copy_from_slice(&(32u64 * 8).to_be_bytes());
        let mut outer = SHA256_START;
        compress256(&mut outer, &[block]);
        let mut hash = [0; 32];
        for (bytes, word) in hash.chunks_exact_mut(4).zip(outer) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        hash
    }
}

/// The difficulty this hash meets.
pub(crate) fn difficulty_of(hash: &[u8; 32]) -> f64 {
    let number = hash
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("chunks of eight")))
        .rfold(0.0, |sum, word| sum * 2f64.powi(64) + word as f64);
    65535.0 * 2f64.powi(208) / number
}

/// What a hash must beat, with a test on its top 64 bits in front that lets nearly every miss go at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShareTarget {
    difficulty: f64,
    top: u64,
}

impl ShareTarget {
    pub(crate) fn new(difficulty: f64) -> Self {
        // `as` saturates: a difficulty below the smallest gives u64::MAX, which every hash meets.
        let top = (65535.0 * 65536.0 / difficulty).ceil() as u64;
        Self { difficulty, top }
    }

    pub(crate) fn met_by(&self, hash: &[u8; 32]) -> bool {
        let top = u64::from_le_bytes(hash[24..].try_into().expect("eight of 32 bytes"));
        top <= self.top && difficulty_of(hash) >= self.difficulty
    }
}

/// Whether this hash is a block under the header's own compact target.
pub(crate) fn is_block(hash: &[u8; 32], nbits: u32) -> bool {
    let target = bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(nbits)).to_le_bytes();
    hash.iter().rev().cmp(target.iter().rev()).is_le()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genesis() -> [u8; 80] {
        let hex = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e\
                   67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c";
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_genesis_header_hashes_to_its_known_hash_with_and_without_midstate() {
        let known = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000";
        let header = genesis();
        assert_eq!(hex::encode(sha256d(&header)), known);
        let hash = HeaderHasher::new(&header).hash(2_083_236_893);
        assert_eq!(hex::encode(hash), known);
        assert!(is_block(&hash, 0x1d00_ffff));
        assert!(!is_block(&hash, 0x1a00_ffff));
        assert!((2000.0..3000.0).contains(&difficulty_of(&hash)), "{}", difficulty_of(&hash));
    }

    #[test]
    fn a_target_is_met_at_its_difficulty_and_missed_just_above() {
        let hash = HeaderHasher::new(&genesis()).hash(2_083_236_893);
        let difficulty = difficulty_of(&hash);
        let cases = [(EVERY_HASH_MEETS, true), (1.0, true), (difficulty, true), (difficulty * 1.000_001, false)];
        for (asked, met) in cases {
            assert_eq!(ShareTarget::new(asked).met_by(&hash), met, "{asked}");
        }
        assert!(ShareTarget::new(EVERY_HASH_MEETS).met_by(&[0xff; 32]));
        assert!(!ShareTarget::new(EVERY_HASH_MEETS * 1.01).met_by(&[0xff; 32]));
    }

    #[test]
    fn block_100000_of_mainnet_has_its_known_merkle_root() {
        let txid = |hex: &str| -> [u8; 32] {
            let mut bytes: [u8; 32] = hex::decode(hex).unwrap().try_into().unwrap();
            bytes.reverse();
            bytes
        };
        let coinbase = txid("8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87");
        let second = txid("fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4");
        let third = txid("6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4");
        let fourth = txid("e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d");
        let mut pair = third.to_vec();
        pair.extend(fourth);
        let root = merkle_root(coinbase, &[second, sha256d(&pair)]);
        assert_eq!(root, txid("f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766"));
    }
}
