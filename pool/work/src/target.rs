//! Targets as exact 256-bit numbers, and difficulty as the miner sees it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Hash;

/// A 256-bit number a block hash must not exceed. Limbs most significant first, so that the derived order is the numeric one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target([u64; 4]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    #[error("compact target {0:08x} is negative")]
    Negative(u32),
    #[error("compact target {0:08x} does not fit 256 bits")]
    Overflow(u32),
    #[error("compact target {0:08x} is zero")]
    Zero(u32),
}

impl Target {
    pub const MAX: Self = Self([u64::MAX; 4]);
    /// The target of difficulty 1: 0xffff × 2^208.
    pub const DIFFICULTY_1: Self = Self([0x0000_0000_ffff_0000, 0, 0, 0]);

    /// From 32 bytes, least significant first (a hash in internal order is such a number).
    #[inline]
    pub fn from_le_bytes(bytes: &[u8; 32]) -> Self {
        let (limbs, _) = bytes.as_chunks::<8>();
        Self([3, 2, 1, 0].map(|n| u64::from_le_bytes(limbs[n])))
    }

    /// 32 bytes, least significant first.
    pub fn to_le_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (bytes, limb) in out.chunks_exact_mut(8).zip(self.0.iter().rev()) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        out
    }

    /// From the compact form of a block header (`nBits`), as Bitcoin Core reads it.
    pub fn from_compact(bits: u32) -> Result<Self, TargetError> {
        let size = bits >> 24;
        let mantissa = bits & 0x007f_ffff;
        if mantissa != 0 && bits & 0x0080_0000 != 0 {
            return Err(TargetError::Negative(bits));
        }
        let mut bytes = [0; 32];
        for (n, byte) in mantissa.to_le_bytes()[..3].iter().enumerate() {
            let place = i64::from(size) - 3 + n as i64;
            match usize::try_from(place) {
                Ok(place) if place < 32 => bytes[place] = *byte,
                Ok(_) if *byte != 0 => return Err(TargetError::Overflow(bits)),
                _ => {}
            }
        }
        if bytes == [0; 32] { Err(TargetError::Zero(bits)) } else { Ok(Self::from_le_bytes(&bytes)) }
    }

    /// Whether a hash (internal order) meets this target.
    #[inline]
    pub fn is_met_by(&self, hash: &Hash) -> bool {
        Self::from_le_bytes(hash) <= *self
    }

    /// How many times harder than difficulty 1, to the precision of a double.
    pub fn difficulty(&self) -> f64 {
        // Scaled by 2^-192 on both sides, so that nothing overflows.
        let value = self.0.iter().fold(0.0, |sum, limb| sum * 2f64.powi(64) + *limb as f64);
        if value == 0.0 { f64::MAX } else { 65535.0 * 2f64.powi(208) / value }
    }

    /// Divides 0xffff × 2^208 by `difficulty`, exactly, rounding down.
    fn of(difficulty: f64) -> Self {
        // A finite positive double is mantissa × 2^exponent exactly; the caller has seen to both.
        let bits = difficulty.to_bits();
        let raw_exponent = (bits >> 52) as i64;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, exponent) =
            if raw_exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, raw_exponent - 1075) };
        // Long division, a bit at a time: 16 ones followed by 208 - exponent zeros, by the mantissa.
        let mut quotient = [0u64; 4];
        let mut remainder = 0u64;
        for position in 0..(16 + 208 - exponent) {
            remainder = remainder << 1 | u64::from(position < 16);
            let bit = u64::from(remainder >= mantissa);
            remainder -= mantissa * bit;
            if quotient[0] >> 63 == 1 {
                return Self::MAX; // Easier than any hash can be hard.
            }
            for n in 0..3 {
                quotient[n] = quotient[n] << 1 | quotient[n + 1] >> 63;
            }
            quotient[3] = quotient[3] << 1 | bit;
        }
        Self(quotient)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// How many times harder than difficulty 1 (0xffff × 2^208) a share is: finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Difficulty(f64);

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("difficulty {0} is not a finite number above zero")]
pub struct DifficultyError(f64);

impl Difficulty {
    pub const ONE: Self = Self(1.0);

    pub fn new(value: f64) -> Result<Self, DifficultyError> {
        if value.is_finite() && value > 0.0 { Ok(Self(value)) } else { Err(DifficultyError(value)) }
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// The exact target of this difficulty, rounded down; [`Target::MAX`] below about 2.3e-10.
    pub fn target(self) -> Target {
        Target::of(self.0)
    }

    #[must_use]
    pub fn clamp(self, low: Self, high: Self) -> Self {
        Self(self.0.max(low.0).min(high.0))
    }

    /// The form sent to miners: whole numbers from 1 up, since some firmware reads an integer here and would otherwise work
    /// at a lower difficulty than is asked of it.
    #[must_use]
    pub fn rounded_for_miners(self) -> Self {
        if self.0 >= 1.0 { Self(self.0.floor()) } else { self }
    }
}

impl TryFrom<f64> for Difficulty {
    type Error = DifficultyError;
    fn try_from(value: f64) -> Result<Self, DifficultyError> {
        Self::new(value)
    }
}

impl From<Difficulty> for f64 {
    fn from(difficulty: Difficulty) -> f64 {
        difficulty.0
    }
}

impl fmt::Display for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The difficulty a hash (internal order) would have met.
pub fn difficulty_of_hash(hash: &Hash) -> f64 {
    Target::from_le_bytes(hash).difficulty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn case(difficulty: f64, target: &str) {
        assert_eq!(Difficulty::new(difficulty).unwrap().target().to_string(), target, "difficulty {difficulty}");
    }

    #[test]
    fn targets_of_difficulties_are_exact() {
        case(1.0, "00000000ffff0000000000000000000000000000000000000000000000000000");
        case(2.0, "000000007fff8000000000000000000000000000000000000000000000000000");
        case(3.0, "0000000055550000000000000000000000000000000000000000000000000000");
        case(0.5, "00000001fffe0000000000000000000000000000000000000000000000000000");
        // 0xffff × 2^208 / 7, as an integer division says.
        case(7.0, "0000000024922492492492492492492492492492492492492492492492492492");
        case(2f64.powi(-20), "000ffff000000000000000000000000000000000000000000000000000000000");
        case(1e-12, "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff");
        case(65535.0 * 2f64.powi(208), "0000000000000000000000000000000000000000000000000000000000000001");
        case(f64::MAX, "0000000000000000000000000000000000000000000000000000000000000000");
        case(f64::MIN_POSITIVE / 4.0, "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff");
    }

    #[test]
    fn compact_targets_are_read_as_core_reads_them() {
        let case = |bits: u32, expected: Result<&str, TargetError>| {
            assert_eq!(Target::from_compact(bits).map(|t| t.to_string()), expected.map(str::to_owned), "{bits:08x}");
        };
        case(0x1d00_ffff, Ok("00000000ffff0000000000000000000000000000000000000000000000000000"));
        case(0x207f_ffff, Ok("7fffff0000000000000000000000000000000000000000000000000000000000"));
        case(0x1b04_864c, Ok("000000000004864c000000000000000000000000000000000000000000000000"));
        case(0x0312_3456, Ok("0000000000000000000000000000000000000000000000000000000000123456"));
        case(0x0112_3456, Ok("0000000000000000000000000000000000000000000000000000000000000012"));
        case(0x0500_9234, Ok("0000000000000000000000000000000000000000000000000000000092340000"));
        case(0x0492_3456, Err(TargetError::Negative(0x0492_3456)));
        case(0xff12_3456, Err(TargetError::Overflow(0xff12_3456)));
        case(0x2212_3456, Err(TargetError::Overflow(0x2212_3456)));
        case(0x2100_ffff, Ok("ffff000000000000000000000000000000000000000000000000000000000000"));
        case(0x0000_0000, Err(TargetError::Zero(0)));
        case(0x0012_3456, Err(TargetError::Zero(0x0012_3456)));
    }

    #[test]
    fn what_is_no_difficulty_is_refused() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Difficulty::new(value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_target_gives_its_difficulty_back(exponent in -30.0..60.0f64) {
            let difficulty = 2f64.powf(exponent);
            let back = Difficulty::new(difficulty).unwrap().target().difficulty();
            prop_assert!((back / difficulty - 1.0).abs() < 1e-12, "{difficulty} became {back}");
        }

        #[test]
        fn harder_means_a_smaller_target(a in 1e-9..1e15f64, b in 1e-9..1e15f64) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(Difficulty::new(high).unwrap().target() <= Difficulty::new(low).unwrap().target());
        }

        #[test]
        fn bytes_round_trip(bytes: [u8; 32]) {
            prop_assert_eq!(Target::from_le_bytes(&bytes).to_le_bytes(), bytes);
        }
    }
}
