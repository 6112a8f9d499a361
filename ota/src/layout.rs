//! Where the partitions lie: sizes are fixed for ever when a card is flashed, only the data partition grows.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::disk::SECTOR;

/// The disk id in the MBR, the same on every card: nothing refers to a disk by it, and images are reproducible.
pub const DISK_ID: u32 = 0x5750_4f4c;
/// Partition type of every FAT: FAT32 with LBA, which the firmware takes for FAT16 too.
pub const TYPE_FAT: u8 = 0x0c;
pub const TYPE_EXTENDED: u8 = 0x0f;
pub const TYPE_LINUX: u8 = 0x83;
/// Partitions begin at multiples of a mebibyte, in sectors.
pub const ALIGN: u32 = 2048;

/// One of the two places where a system lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The partition's number, as `autoboot.txt` and the firmware count: 2 or 3.
    pub fn partition(self) -> u32 {
        match self {
            Self::A => 2,
            Self::B => 3,
        }
    }

    pub fn from_partition(number: u32) -> Option<Self> {
        match number {
            2 => Some(Self::A),
            3 => Some(Self::B),
            _ => None,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// A run of sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub start: u32,
    pub sectors: u32,
}

impl Extent {
    pub fn new(start: u32, sectors: u32) -> Self {
        Self { start, sectors }
    }

    /// The first sector after it.
    pub fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.sectors)
    }

    /// The bytes it covers, for a [`Window`](crate::disk::Window).
    pub fn bytes(self) -> Range<u64> {
        u64::from(self.start) * SECTOR as u64..self.end() * SECTOR as u64
    }
}

/// The whole disk. What is read from a card's MBR counts, the default is what an image is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Partition 1: `autoboot.txt` and nothing else.
    pub boot: Extent,
    /// Partitions 2 and 3.
    pub slot_a: Extent,
    pub slot_b: Extent,
    /// Partition 4, which holds 5 and 6.
    pub extended: Extent,
    /// Partition 5: what the owner writes on a PC.
    pub handover: Extent,
    /// Partition 6, the last: what outlives an update.
    pub data: Extent,
}

const MIB: u32 = 2048;

impl Default for Layout {
    fn default() -> Self {
        let boot = Extent::new(ALIGN, 16 * MIB);
        let slot_a = Extent::new(ALIGN + 16 * MIB, 256 * MIB);
        let slot_b = Extent::new(slot_a.start + slot_a.sectors, 256 * MIB);
        let extended = Extent::new(slot_b.start + slot_b.sectors, 2 * ALIGN + 32 * MIB + 64 * MIB);
        let handover = Extent::new(extended.start + ALIGN, 32 * MIB);
        let data = Extent::new(handover.start + handover.sectors + ALIGN, 64 * MIB);
        Self { boot, slot_a, slot_b, extended, handover, data }
    }
}

impl Layout {
    pub fn slot(&self, slot: Slot) -> Extent {
        match slot {
            Slot::A => self.slot_a,
            Slot::B => self.slot_b,
        }
    }

    /// Sectors a disk needs to hold it.
    pub fn sectors(&self) -> u64 {
        self.extended.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_adjacent_aligned_and_ends_with_the_data() {
        let layout = Layout::default();
        let Layout { boot, slot_a, slot_b, extended, handover, data } = layout;
        assert_eq!(boot.end(), u64::from(slot_a.start), "the firmware's partitions are adjacent");
        assert_eq!(slot_a.end(), u64::from(slot_b.start));
        assert_eq!(slot_b.end(), u64::from(extended.start));
        assert_eq!(data.end(), extended.end());
        assert_eq!(slot_a.sectors, slot_b.sectors);
        for part in [boot, slot_a, slot_b, extended, handover, data] {
            assert_eq!(part.start % ALIGN, 0, "{part:?}");
        }
        assert!(slot_a.sectors / 4 >= 65_525 + 1024, "2 KiB clusters make it FAT32 with room for its two FATs");
    }
}
