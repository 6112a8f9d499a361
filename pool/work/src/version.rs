//! Version rolling (BIP310 over Stratum V1, on the bits BIP320 sets aside).

/// The bits BIP320 leaves to miners.
pub const ROLLABLE: u32 = 0x1fff_e000;

/// The bits of the block version a session may change: some of [`ROLLABLE`], or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionMask(u32);

impl VersionMask {
    pub const NONE: Self = Self(0);

    /// What a miner asked for, cut down to what may be rolled.
    pub fn requested(mask: u32) -> Self {
        Self(mask & ROLLABLE)
    }

    pub fn bits(self) -> u32 {
        self.0
    }
}

/// The versions a miner can have hashed when it submits `bits` for a job whose base version is `base` (rollable bits zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rolled {
    /// BIP310 form, or none sent, or the whole version with its other bits as the job has them: one reading.
    Plain(u32),
    /// Bits outside the mask: what the miner hashed has to be found out by trying.
    Unusual([u32; 3]),
}

pub(crate) fn roll(base: u32, bits: Option<u32>, mask: VersionMask) -> Rolled {
    let Some(bits) = bits else { return Rolled::Plain(base) };
    let outside = bits & !mask.0;
    if outside == 0 {
        // With the base's rollable bits zero, setting and flipping bits (BIP310, Bitaxe) come to the same.
        Rolled::Plain(base | bits)
    } else if outside == base & !mask.0 {
        Rolled::Plain(bits)
    } else {
        Rolled::Unusual([base | bits & mask.0, bits, base ^ bits])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_sending_the_version_is_understood() {
        let mask = VersionMask::requested(0xffff_ffff);
        assert_eq!(mask.bits(), ROLLABLE);
        let base = 0x2000_0000;
        assert_eq!(roll(base, None, mask), Rolled::Plain(base));
        assert_eq!(roll(base, Some(0x0040_2000), mask), Rolled::Plain(0x2040_2000), "BIP310");
        assert_eq!(roll(base, Some(0x2040_2000), mask), Rolled::Plain(0x2040_2000), "a full version");
        assert_eq!(roll(base, Some(0), mask), Rolled::Plain(base));
        assert!(matches!(roll(base, Some(0x4000_0000), mask), Rolled::Unusual(_)));
        assert!(matches!(roll(base, Some(0x0040_2000), VersionMask::NONE), Rolled::Unusual(_)));
        assert_eq!(roll(base, Some(base), VersionMask::NONE), Rolled::Plain(base));
    }
}
