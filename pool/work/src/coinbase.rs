//! The coinbase transaction of a job, cut where the miner's extranonce goes.
//!
//! It is serialised without its witness (what the txid covers, and what miners get); [`Coinbase::with_witness`] gives the form
//! a block carries. It follows BIP54 (nLockTime = height − 1, nSequence not final) and BIP34.

use crate::extranonce::{EN1_SIZE, EN2_SIZE};
use crate::hash::{BLOCK, Midstate};
use crate::{Hash, Output};

/// Consensus limit for the coinbase's scriptSig, bytes.
const MOST_SCRIPT_SIG: usize = 100;
/// Longest pool tag, bytes.
pub const MOST_TAG: usize = 19;
/// Bytes of the random tag of a start.
pub const START_TAG_SIZE: usize = 8;
const EXTRANONCE: usize = EN1_SIZE + EN2_SIZE;
/// Not final (BIP54), and no relative lock.
const SEQUENCE: u32 = 0xffff_fffe;
/// Blocks after the midstate that [`Coinbase::txid`] keeps on the stack: 1024 bytes, far above a plain coinbase.
const MOST_TAIL_BLOCKS: usize = 16;

/// What stands in every coinbase of this start of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    pool: Vec<u8>,
    start: [u8; START_TAG_SIZE],
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoinbaseError {
    #[error("the pool tag has {0} bytes; at most {MOST_TAG} are allowed")]
    TagTooLong(usize),
    #[error("the pool tag has a character that is not printable ASCII")]
    TagNotPrintable,
    #[error("the coinbase would have {0} bytes, more than can be handled")]
    TooLarge(usize),
}

impl Tags {
    /// `start` must be random for each start of the pool: it keeps work from repeating across restarts.
    pub fn new(pool: &str, start: [u8; START_TAG_SIZE]) -> Result<Self, CoinbaseError> {
        if pool.len() > MOST_TAG {
            return Err(CoinbaseError::TagTooLong(pool.len()));
        }
        if !pool.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(CoinbaseError::TagNotPrintable);
        }
        Ok(Self { pool: pool.as_bytes().to_vec(), start })
    }
}

/// A coinbase with a gap for the extranonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coinbase {
    /// Up to the gap: `coinb1` of Stratum.
    prefix: Vec<u8>,
    /// From the gap on: `coinb2` of Stratum.
    suffix: Vec<u8>,
    outputs: Vec<Output>,
    /// Over the whole blocks of `prefix`.
    midstate: Midstate,
    /// The rest of `prefix`, the gap, `suffix` and SHA-256's padding.
    tail: Vec<[u8; BLOCK]>,
    /// Where the gap begins in `tail`, bytes.
    gap: usize,
}

impl Coinbase {
    /// `commitment` is the scriptPubKey of the witness commitment, where one is owed.
    pub(crate) fn new(
        height: u32,
        tags: &Tags,
        outputs: Vec<Output>,
        commitment: Option<&[u8]>,
    ) -> Result<Self, CoinbaseError> {
        let mut script_sig = push_height(height);
        // "/WarpPool/" and the start tag in one push, the extranonce in another.
        let pool = if tags.pool.is_empty() { Vec::new() } else { [b"/", tags.pool.as_slice(), b"/"].concat() };
        script_sig.push((pool.len() + START_TAG_SIZE) as u8);
        script_sig.extend_from_slice(&pool);
        script_sig.extend_from_slice(&tags.start);
        script_sig.push(EXTRANONCE as u8);
        let script_sig_size = script_sig.len() + EXTRANONCE;
        assert!(script_sig_size <= MOST_SCRIPT_SIG, "a tag of {MOST_TAG} bytes fits");

        let mut prefix = Vec::with_capacity(64 + script_sig.len());
        prefix.extend_from_slice(&2i32.to_le_bytes()); // version
        prefix.push(1); // inputs
        prefix.extend_from_slice(&[0; 32]); // no previous output
        prefix.extend_from_slice(&u32::MAX.to_le_bytes());
        prefix.push(script_sig_size as u8);
        prefix.extend_from_slice(&script_sig);

        let mut suffix = Vec::with_capacity(160);
        suffix.extend_from_slice(&SEQUENCE.to_le_bytes());
        push_size(&mut suffix, outputs.len() + usize::from(commitment.is_some()));
        for output in &outputs {
            push_output(&mut suffix, output.value, &output.script);
        }
        if let Some(script) = commitment {
            push_output(&mut suffix, 0, script);
        }
        suffix.extend_from_slice(&height.saturating_sub(1).to_le_bytes()); // nLockTime

        let (midstate, rest) = Midstate::over(&prefix);
        let gap = rest.len();
        let tail = midstate.pad(&[rest, &[0; EXTRANONCE], &suffix].concat());
        if tail.len() > MOST_TAIL_BLOCKS {
            return Err(CoinbaseError::TooLarge(prefix.len() + EXTRANONCE + suffix.len()));
        }
        Ok(Self { prefix, suffix, outputs, midstate, tail, gap })
    }

    /// Bytes before the extranonce, without witness.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Bytes after the extranonce, without witness.
    pub fn suffix(&self) -> &[u8] {
        &self.suffix
    }

    /// What it pays, without the commitment output.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Bytes of the whole without witness; devices bear 255.
    pub fn size(&self) -> usize {
        self.prefix.len() + EXTRANONCE + self.suffix.len()
    }

    /// Weight units of the whole with its witness.
    pub(crate) fn weight(&self) -> u32 {
        // Marker and flag, then the count of stack items, the item's size and the item.
        (self.size() * 4 + 2 + 1 + 1 + 32) as u32
    }

    /// Txid, internal byte order. Costs [`Coinbase::compressions`] and no allocation.
    #[inline]
    pub fn txid(&self, en1: [u8; EN1_SIZE], en2: [u8; EN2_SIZE]) -> Hash {
        let mut blocks = [[0; BLOCK]; MOST_TAIL_BLOCKS];
        let blocks = &mut blocks[..self.tail.len()];
        blocks.copy_from_slice(&self.tail);
        let flat = blocks.as_flattened_mut();
        flat[self.gap..self.gap + EN1_SIZE].copy_from_slice(&en1);
        flat[self.gap + EN1_SIZE..self.gap + EXTRANONCE].copy_from_slice(&en2);
        self.midstate.finish_padded(blocks)
    }

    /// SHA-256 compressions one txid costs after the midstate.
    pub fn compressions(&self) -> usize {
        self.tail.len() + 1
    }

    /// As a block carries it: with marker, flag and the witness reserved value of 32 zeros.
    pub(crate) fn with_witness(&self, en1: [u8; EN1_SIZE], en2: [u8; EN2_SIZE]) -> Vec<u8> {
        let (version, inputs) = self.prefix.split_at(4);
        let (rest, lock_time) = self.suffix.split_at(self.suffix.len() - 4);
        [version, &[0, 1], inputs, &en1, &en2, rest, &[1, 32], &[0; 32], lock_time].concat()
    }

    /// As it is hashed: without witness.
    pub fn without_witness(&self, en1: [u8; EN1_SIZE], en2: [u8; EN2_SIZE]) -> Vec<u8> {
        [self.prefix.as_slice(), &en1, &en2, &self.suffix].concat()
    }
}

/// The height as BIP34 has it: the shortest push of a script number (`OP_1` to `OP_16` below 17, `OP_0` for 0).
fn push_height(height: u32) -> Vec<u8> {
    match height {
        0 => vec![0x00],
        1..=16 => vec![0x50 + height as u8],
        _ => {
            let mut bytes = height.to_le_bytes().to_vec();
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            // The highest bit is the sign.
            if bytes.last().is_some_and(|b| b & 0x80 != 0) {
                bytes.push(0);
            }
            [vec![bytes.len() as u8], bytes].concat()
        }
    }
}

/// A size as the wire has it ("compact size").
pub(crate) fn push_size(out: &mut Vec<u8>, size: usize) {
    match size {
        0..=0xfc => out.push(size as u8),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&(size as u16).to_le_bytes());
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&(size as u32).to_le_bytes());
        }
    }
}

fn push_output(out: &mut Vec<u8>, value: u64, script: &[u8]) {
    out.extend_from_slice(&value.to_le_bytes());
    push_size(out, script.len());
    out.extend_from_slice(script);
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::deserialize;
    use bitcoin::{Transaction, hashes::Hash as _};

    use super::*;

    fn tags() -> Tags {
        Tags::new("WarpPool", [7; START_TAG_SIZE]).unwrap()
    }

    fn outputs(scripts: &[usize]) -> Vec<Output> {
        scripts.iter().map(|size| Output { value: 5_000_000_000, script: vec![0x51; *size] }).collect()
    }

    #[test]
    fn heights_are_pushed_as_bip34_and_core_have_them() {
        let case = |height: u32, expected: &[u8]| {
            assert_eq!(push_height(height), expected, "height {height}");
            let core = bitcoin::script::Builder::new().push_int(i64::from(height)).into_script();
            assert_eq!(push_height(height), core.as_bytes(), "height {height} as the library has it");
        };
        case(0, &[0x00]);
        case(1, &[0x51]);
        case(16, &[0x60]);
        case(17, &[1, 17]);
        case(127, &[1, 127]);
        case(128, &[2, 128, 0]);
        case(255, &[2, 255, 0]);
        case(256, &[2, 0, 1]);
        case(32767, &[2, 0xff, 0x7f]);
        case(32768, &[3, 0, 0x80, 0]);
        case(227_931, &[3, 0x5b, 0x7a, 0x03]); // The first block BIP34 bound on mainnet.
        case(8_388_608, &[4, 0, 0, 0x80, 0]);
    }

    #[test]
    fn a_coinbase_parses_with_and_without_witness_and_its_txid_is_right() {
        let commitment = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[9; 32]].concat();
        for height in [0, 1, 16, 17, 840_000, 8_388_608] {
            for (sizes, commitment) in [
                (&[22][..], Some(commitment.as_slice())),
                (&[34, 34, 34], Some(&commitment)),
                (&[25], None),
                (&[42; 12], Some(&commitment)),
            ] {
                let coinbase = Coinbase::new(height, &tags(), outputs(sizes), commitment).unwrap();
                let (en1, en2) = ([1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12]);
                let bare: Transaction = deserialize(&coinbase.without_witness(en1, en2)).unwrap();
                let full: Transaction = deserialize(&coinbase.with_witness(en1, en2)).unwrap();
                assert_eq!(bare.compute_txid(), full.compute_txid());
                assert_eq!(coinbase.txid(en1, en2), full.compute_txid().to_byte_array());
                assert_eq!(full.weight().to_wu(), u64::from(coinbase.weight()));
                assert_eq!(bare.total_size(), coinbase.size());
                assert!(full.is_coinbase());
                assert_eq!(full.output.len(), sizes.len() + usize::from(commitment.is_some()));
                assert_eq!(full.input[0].witness.to_vec(), vec![vec![0; 32]]);
                assert!((2..=100).contains(&full.input[0].script_sig.len()));
                assert_eq!(full.lock_time.to_consensus_u32(), height.saturating_sub(1), "BIP54");
                assert!(!full.input[0].sequence.is_final(), "BIP54");
            }
        }
    }

    #[test]
    fn a_plain_payout_fits_every_device() {
        let commitment = [0; 38];
        let longest_tag = Tags::new(&"x".repeat(MOST_TAG), [0; START_TAG_SIZE]).unwrap();
        let coinbase = Coinbase::new(8_388_608, &longest_tag, outputs(&[34]), Some(&commitment)).unwrap();
        assert!(coinbase.size() <= 255, "{} bytes", coinbase.size());
    }

    #[test]
    fn tags_are_checked() {
        assert_eq!(Tags::new(&"x".repeat(20), [0; 8]), Err(CoinbaseError::TagTooLong(20)));
        assert_eq!(Tags::new("a\nb", [0; 8]), Err(CoinbaseError::TagNotPrintable));
        assert_eq!(Tags::new("Pööl", [0; 8]), Err(CoinbaseError::TagNotPrintable));
        assert!(Tags::new("", [0; 8]).is_ok());
    }

    #[test]
    fn a_coinbase_too_large_to_handle_is_refused() {
        let error = Coinbase::new(1, &tags(), outputs(&[34; 40]), None).unwrap_err();
        assert!(matches!(error, CoinbaseError::TooLarge(_)));
    }
}
