//! SHA-256d over the shapes mining needs, on the processor's own SHA instructions where it has them.
//!
//! `sha2`'s block function picks SHA-NI (x86-64) or the ARMv8 SHA2 extension (Cortex-A76) at run time. The shapes below keep
//! their padding ready made, so that a hash costs its compressions and next to nothing else.

use sha2::block_api::compress256;

use crate::Hash;

/// FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Bytes in one block of SHA-256.
pub const BLOCK: usize = 64;

/// The second block of every 64-byte message: nothing but padding.
const PADDING_64: [u8; BLOCK] = {
    let mut block = [0; BLOCK];
    block[0] = 0x80;
    block[62] = 0x02; // 512 bits
    block
};

/// The one block of a 32-byte message, its first half still empty.
const PADDED_32: [u8; BLOCK] = {
    let mut block = [0; BLOCK];
    block[32] = 0x80;
    block[62] = 0x01; // 256 bits
    block
};

fn to_bytes(state: [u32; 8]) -> Hash {
    let mut out = [0; 32];
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// SHA-256 of a first pass's digest: the "d" of SHA-256d. One compression.
fn second_pass(first: [u32; 8]) -> Hash {
    let mut block = PADDED_32;
    block[..32].copy_from_slice(&to_bytes(first));
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    to_bytes(state)
}

/// SHA-256d of any message.
pub fn sha256d(message: &[u8]) -> Hash {
    Midstate::START.finish(message)
}

/// SHA-256d of two hashes side by side: a node of a merkle tree. Three compressions.
pub fn sha256d_pair(left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [[0; BLOCK], PADDING_64];
    blocks[0][..32].copy_from_slice(left);
    blocks[0][32..].copy_from_slice(right);
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    second_pass(state)
}

/// SHA-256d of a block header. Three compressions.
pub fn sha256d_header(header: &[u8; 80]) -> Hash {
    let mut blocks = [[0; BLOCK]; 2];
    blocks[0].copy_from_slice(&header[..BLOCK]);
    blocks[1][..16].copy_from_slice(&header[BLOCK..]);
    blocks[1][16] = 0x80;
    blocks[1][62] = 0x02; // 640 bits
    blocks[1][63] = 0x80;
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    second_pass(state)
}

/// SHA-256 after a whole number of blocks: what stays the same for every share of a coinbase is hashed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Midstate {
    state: [u32; 8],
    /// Bytes hashed so far, a multiple of [`BLOCK`].
    length: u64,
}

impl Midstate {
    const START: Self = Self { state: INITIAL, length: 0 };

    /// Takes in the whole blocks of `message`; gives the rest back.
    pub fn over(message: &[u8]) -> (Self, &[u8]) {
        let (blocks, rest) = message.as_chunks::<BLOCK>();
        let mut state = INITIAL;
        compress256(&mut state, blocks);
        (Self { state, length: (message.len() - rest.len()) as u64 }, rest)
    }

    /// SHA-256d of everything taken in, followed by `rest` (of any length).
    pub fn finish(&self, rest: &[u8]) -> Hash {
        let mut state = self.state;
        let (blocks, tail) = rest.as_chunks::<BLOCK>();
        compress256(&mut state, blocks);
        let mut last = [[0; BLOCK]; 2];
        last[0][..tail.len()].copy_from_slice(tail);
        last[0][tail.len()] = 0x80;
        let used = if tail.len() < 56 { 1 } else { 2 };
        let bits = (self.length + rest.len() as u64) * 8;
        last[used - 1][56..].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut state, &last[..used]);
        second_pass(state)
    }

    /// Pads `rest` so that [`Midstate::finish_padded`] can hash it block by block without looking at it again.
    pub(crate) fn pad(&self, rest: &[u8]) -> Vec<[u8; BLOCK]> {
        let mut blocks = vec![[0; BLOCK]; (rest.len() + 9).div_ceil(BLOCK)];
        let flat = blocks.as_flattened_mut();
        flat[..rest.len()].copy_from_slice(rest);
        flat[rest.len()] = 0x80;
        let bits = (self.length + rest.len() as u64) * 8;
        let end = flat.len();
        flat[end - 8..].copy_from_slice(&bits.to_be_bytes());
        blocks
    }

    /// SHA-256d of everything taken in, followed by blocks from [`Midstate::pad`].
    pub(crate) fn finish_padded(&self, blocks: &[[u8; BLOCK]]) -> Hash {
        let mut state = self.state;
        compress256(&mut state, blocks);
        second_pass(state)
    }
}

/// The sibling hashes on the way from the first leaf (the coinbase, not among `rest`) to the root. `rest` holds the other
/// leaves in order.
///
/// Bitcoin's tree repeats the last node of an odd level.
pub fn merkle_branches(rest: &[Hash]) -> Vec<Hash> {
    let mut branches = Vec::with_capacity(usize::BITS as usize - rest.len().leading_zeros() as usize);
    // `level` holds the current level without its first node, which depends on the coinbase.
    let mut level = rest.to_vec();
    while let Some((&sibling, others)) = level.split_first() {
        branches.push(sibling);
        let parents: Vec<Hash> =
            others.chunks(2).map(|pair| sha256d_pair(&pair[0], pair.get(1).unwrap_or(&pair[0]))).collect();
        level = parents;
    }
    branches
}

/// Folds branches onto a first leaf: the merkle root.
pub fn merkle_root(leaf: Hash, branches: &[Hash]) -> Hash {
    branches.iter().fold(leaf, |node, sibling| sha256d_pair(&node, sibling))
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::{Hash as _, sha256d};

    use super::*;

    fn reference(message: &[u8]) -> Hash {
        sha256d::Hash::hash(message).to_byte_array()
    }

    #[test]
    fn every_shape_agrees_with_an_independent_sha256d() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n * 7 + 3) as u8).collect();
        for length in 0..bytes.len() {
            let message = &bytes[..length];
            assert_eq!(super::sha256d(message), reference(message), "length {length}");
            for cut in [0, 1, 63, 64, 65, 130] {
                if cut <= length {
                    let (midstate, rest) = Midstate::over(&message[..cut]);
                    let tail = [rest, &message[cut..]].concat();
                    assert_eq!(midstate.finish(&tail), reference(message), "length {length}, cut {cut}");
                    assert_eq!(midstate.finish_padded(&midstate.pad(&tail)), reference(message));
                }
            }
        }
        let header: &[u8; 80] = bytes[..80].try_into().unwrap();
        assert_eq!(sha256d_header(header), reference(header));
        let (left, right) = (bytes[..32].try_into().unwrap(), bytes[32..64].try_into().unwrap());
        assert_eq!(sha256d_pair(left, right), reference(&bytes[..64]));
    }

    #[test]
    fn branches_fold_to_the_root_for_every_number_of_transactions() {
        for count in 1..40u8 {
            let leaves: Vec<Hash> = (0..count).map(|n| super::sha256d(&[n])).collect();
            let expected = bitcoin::merkle_tree::calculate_root(
                leaves.iter().map(|leaf| bitcoin::TxMerkleNode::from_byte_array(*leaf)),
            );
            let root = merkle_root(leaves[0], &merkle_branches(&leaves[1..]));
            assert_eq!(Some(root), expected.map(bitcoin::TxMerkleNode::to_byte_array), "{count} transactions");
        }
    }
}
