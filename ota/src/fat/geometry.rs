//! The boot sector: where FATs, root directory and data lie, and which FAT it is, decided by the number of clusters alone.
//!
//! After Microsoft's "FAT: General Overview of On-Disk Format", version 1.03.

use std::ops::Range;

use super::FatError;
use crate::disk::Disk;

/// Bytes of a directory entry.
pub(super) const DIRENT: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

/// Where the root directory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// FAT12 and FAT16: bytes of the volume.
    Fixed(Range<u64>),
    /// FAT32: its first cluster.
    Cluster(u32),
}

/// Where everything lies, in bytes from the start of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub kind: Kind,
    pub sector: u64,
    pub cluster: u64,
    /// Before the first FAT: boot sectors, and on FAT32 the `FSInfo` sectors.
    pub reserved: Range<u64>,
    pub fats: Vec<Range<u64>>,
    pub root: Root,
    /// Where cluster 2 begins.
    pub data: u64,
    /// Data clusters; they count from 2.
    pub clusters: u32,
    /// The second copy of the boot sector, if there is one.
    pub backup_boot: Option<u64>,
    /// Bytes of the volume, at most those of the disk.
    pub len: u64,
}

impl Geometry {
    pub fn read(disk: &mut dyn Disk) -> Result<Self, FatError> {
        if disk.len() < 512 {
            return Err(FatError::NotFat("it is smaller than a sector"));
        }
        let mut boot = [0; 512];
        disk.read_at(0, &mut boot)?;
        Self::parse(&boot, disk.len())
    }

    /// Reads a boot sector of a volume on a disk of `len` bytes.
    pub fn parse(boot: &[u8; 512], len: u64) -> Result<Self, FatError> {
        let not = |what| Err(FatError::NotFat(what));
        let half = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let word = |at: usize| half(at) | half(at + 2) << 16;
        if boot[510..] != [0x55, 0xaa] {
            return not("the boot sector has no signature");
        }
        // That it begins with a jump is not asked for: whether the firmware asks is not known, and what it may boot counts as there.
        let sector = half(11);
        if ![512, 1024, 2048, 4096].contains(&sector) {
            return not("its sectors have an impossible size");
        }
        let per_cluster = u64::from(boot[13]);
        if !per_cluster.is_power_of_two() {
            return not("its clusters have an impossible size");
        }
        let (reserved, count, root_entries) = (half(14), u64::from(boot[16]), half(17));
        if reserved == 0 || !(1..=4).contains(&count) {
            return not("it has no boot sector or no FAT");
        }
        let total = if half(19) == 0 { word(32) } else { half(19) };
        let per_fat = if half(22) == 0 { word(36) } else { half(22) };
        if per_fat == 0 {
            return not("its FAT is empty");
        }
        let root_sectors = (root_entries * DIRENT).div_ceil(sector);
        let before = reserved + count * per_fat + root_sectors;
        let Some(data_sectors) = total.checked_sub(before) else {
            return not("it is smaller than its own tables");
        };
        if total * sector > len {
            return not("it is larger than the partition it lies in");
        }
        let clusters = data_sectors / per_cluster;
        let (kind, bits) = match clusters {
            0..4085 => (Kind::Fat12, 12),
            4085..65_525 => (Kind::Fat16, 16),
            65_525..0x0fff_fff5 => (Kind::Fat32, 32),
            _ => return not("it has more clusters than a FAT can have"),
        };
        if per_fat * sector * 8 / bits < clusters + 2 {
            return not("its FAT is shorter than its data");
        }
        let fat_bytes = per_fat * sector;
        let first = reserved * sector;
        let fats: Vec<_> = (0..count).map(|n| first + n * fat_bytes..first + (n + 1) * fat_bytes).collect();
        let root_at = first + count * fat_bytes;
        let data = root_at + root_sectors * sector;
        let (root, backup_boot) = if kind == Kind::Fat32 {
            if half(22) != 0 || root_entries != 0 || half(42) != 0 {
                return not("it has as many clusters as a FAT32 but the boot sector of another");
            }
            if half(40) & 0x80 != 0 && half(40) & 0x0f != 0 {
                return not("its first FAT does not count");
            }
            let cluster = (word(44) & 0x0fff_ffff) as u32;
            if cluster < 2 || u64::from(cluster) >= clusters + 2 {
                return not("its root directory lies outside");
            }
            let backup = half(50);
            (Root::Cluster(cluster), (1..reserved).contains(&backup).then_some(backup * sector))
        } else {
            if half(22) == 0 || root_entries == 0 {
                return not("it has the boot sector of a FAT32 but too few clusters for one");
            }
            (Root::Fixed(root_at..data), None)
        };
        Ok(Self {
            kind,
            sector,
            cluster: per_cluster * sector,
            reserved: 0..first,
            fats,
            root,
            data,
            clusters: clusters as u32,
            backup_boot,
            len: total * sector,
        })
    }

    /// The bytes of a data cluster; `None` for a number that is none.
    pub fn cluster_bytes(&self, cluster: u32) -> Option<Range<u64>> {
        if cluster < 2 || cluster - 2 >= self.clusters {
            return None;
        }
        let start = self.data + u64::from(cluster - 2) * self.cluster;
        Some(start..start + self.cluster)
    }
}
