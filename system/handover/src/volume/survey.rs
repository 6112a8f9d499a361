//! A look at the file system's structures before its code sees them: sizes that fit each other and the disk, and no
//! pointer that leads outside. What fatfs would take for granted is made sure here.

use std::io::SeekFrom;

use super::{Disk, VolumeError};

/// The most clusters of a file system that is read; ours has some 16,000. Bounds the memory for its table.
const MAX_CLUSTERS: u64 = 1 << 20;
/// The largest root directory, bytes: 65,536 entries, more than any system makes.
const MAX_ROOT: u64 = 2 * 1024 * 1024;
const ENTRY: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

/// What the table says of a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cluster {
    Free,
    Next(u32),
    End,
    Bad,
    /// No cluster has this number.
    Outside,
}

pub(super) struct Survey {
    kind: Kind,
    /// Bytes from the start of the file system.
    data: u64,
    cluster_bytes: u64,
    /// They are numbered from 2.
    clusters: u32,
    end: u64,
    table: Vec<u8>,
}

impl Survey {
    /// Reads the structures and checks them.
    pub fn of(disk: &mut impl Disk) -> Result<Self, VolumeError> {
        let mut boot = [0; 512];
        read_at(disk, 0, &mut boot)?;
        let foreign = [(b"EXFAT   ", "it is exFAT"), (b"NTFS    ", "it is NTFS")];
        if let Some((_, name)) = foreign.iter().find(|(mark, _)| boot[3..11] == mark[..]) {
            return Err(VolumeError::NotFat(name));
        }
        if boot[510..] != [0x55, 0xaa] {
            return Err(VolumeError::NotFat("it is not formatted"));
        }
        let short = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let (sector, per_cluster, reserved, tables) = (short(11), u64::from(boot[13]), short(14), u64::from(boot[16]));
        let sizes_fit = [512, 1024, 2048, 4096].contains(&sector)
            && per_cluster.is_power_of_two()
            && per_cluster <= 128
            && reserved >= 1
            && (1..=2).contains(&tables);
        if !sizes_fit {
            return Err(VolumeError::NotFat("its first sector is not one of a FAT file system"));
        }
        let root_entries = short(17);
        let total = if short(19) == 0 { long(32) } else { short(19) };
        let is_32 = short(22) == 0;
        let table_sectors = if is_32 { long(36) } else { short(22) };
        let root_sectors = (root_entries * ENTRY as u64).div_ceil(sector);
        let first_data = reserved + tables * table_sectors + root_sectors;
        let clusters = total.saturating_sub(first_data) / per_cluster;
        let kind = match clusters {
            0 => return Err(VolumeError::Damaged("it has no room for data")),
            1..4085 => Kind::Fat12,
            4085..65_525 => Kind::Fat16,
            _ => Kind::Fat32,
        };
        if clusters > MAX_CLUSTERS {
            return Err(VolumeError::Damaged("it claims to be far larger than the partition"));
        }
        if (kind == Kind::Fat32) != is_32 || is_32 != (root_entries == 0) {
            return Err(VolumeError::Damaged("its kind and its size contradict each other"));
        }
        // Writing to one table alone, which nobody does, would be for fatfs to get right.
        if is_32 && short(40) & 0x80 != 0 {
            return Err(VolumeError::Damaged("its tables are not kept alike"));
        }
        let length = disk.seek(SeekFrom::End(0))?;
        if total * sector > length {
            return Err(VolumeError::Damaged("it claims to be larger than the partition"));
        }
        let bits = match kind {
            Kind::Fat12 => 12,
            Kind::Fat16 => 16,
            Kind::Fat32 => 32,
        };
        let table_bytes = ((clusters + 2) * bits).div_ceil(8);
        // FAT12 is read two bytes at a time, also the last one and a half.
        if table_bytes + 1 > table_sectors * sector {
            return Err(VolumeError::Damaged("its table is too short"));
        }
        let mut table = vec![0; table_bytes as usize + 1];
        read_at(disk, reserved * sector, &mut table)?;
        let survey = Self {
            kind,
            data: first_data * sector,
            cluster_bytes: per_cluster * sector,
            clusters: clusters as u32,
            end: total * sector,
            table,
        };
        survey.check_table()?;
        let root = if is_32 {
            survey.chain_content(disk, long(44) as u32)?
        } else {
            let mut root = vec![0; (root_sectors * sector) as usize];
            read_at(disk, survey.data - root_sectors * sector, &mut root)?;
            root
        };
        survey.check_root(&root)?;
        Ok(survey)
    }

    /// Where the file system ends, bytes.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn cluster_bytes(&self) -> usize {
        self.cluster_bytes as usize
    }

    /// Where each cluster lies that holds nothing, bytes.
    pub fn free(&self) -> impl Iterator<Item = u64> + '_ {
        let free = (2..self.clusters + 2).filter(|cluster| self.cluster(*cluster) == Cluster::Free);
        free.map(|cluster| self.offset(cluster))
    }

    fn offset(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster - 2) * self.cluster_bytes
    }

    fn exists(&self, cluster: u32) -> bool {
        (2..self.clusters + 2).contains(&cluster)
    }

    fn cluster(&self, cluster: u32) -> Cluster {
        let at = cluster as usize;
        let pair = |at: usize| u32::from(u16::from_le_bytes([self.table[at], self.table[at + 1]]));
        let (value, bad) = match self.kind {
            Kind::Fat12 => ((pair(at + at / 2) >> (4 * (at & 1))) & 0xfff, 0xff7),
            Kind::Fat16 => (pair(2 * at), 0xfff7),
            Kind::Fat32 => ((pair(4 * at) | pair(4 * at + 2) << 16) & 0x0fff_ffff, 0x0fff_fff7),
        };
        match value {
            0 => Cluster::Free,
            value if value == bad => Cluster::Bad,
            value if value > bad => Cluster::End,
            value if self.exists(value) => Cluster::Next(value),
            _ => Cluster::Outside,
        }
    }

    fn check_table(&self) -> Result<(), VolumeError> {
        let inside = (2..self.clusters + 2).all(|cluster| self.cluster(cluster) != Cluster::Outside);
        if inside { Ok(()) } else { Err(VolumeError::Damaged("its table leads outside")) }
    }

    /// The root directory of FAT32 is a chain like a file's.
    fn chain_content(&self, disk: &mut impl Disk, first: u32) -> Result<Vec<u8>, VolumeError> {
        let wrong = VolumeError::Damaged("its root directory leads outside or in circles");
        let mut content = Vec::new();
        let mut cluster = first;
        loop {
            if !self.exists(cluster) || content.len() as u64 + self.cluster_bytes > MAX_ROOT {
                return Err(wrong);
            }
            let start = content.len();
            content.resize(start + self.cluster_bytes as usize, 0);
            read_at(disk, self.offset(cluster), &mut content[start..])?;
            match self.cluster(cluster) {
                Cluster::Next(next) => cluster = next,
                Cluster::End => return Ok(content),
                _ => return Err(wrong),
            }
        }
    }

    /// Every file begins at a cluster that exists, or nowhere, and its clusters do not go round in circles.
    fn check_root(&self, root: &[u8]) -> Result<(), VolumeError> {
        for entry in root.chunks_exact(ENTRY) {
            let (mark, attributes) = (entry[0], entry[11]);
            match mark {
                0 => break,
                0xe5 => continue,
                _ if attributes & 0x08 != 0 => continue, // A label, or a part of a long name.
                _ => {}
            }
            let low = u32::from(u16::from_le_bytes([entry[26], entry[27]]));
            let high = u32::from(u16::from_le_bytes([entry[20], entry[21]]));
            let first = if self.kind == Kind::Fat32 { high << 16 | low } else { low };
            if first != 0 && !self.ends(first) {
                return Err(VolumeError::Damaged("a file leads outside or in circles"));
            }
        }
        Ok(())
    }

    fn ends(&self, first: u32) -> bool {
        if !self.exists(first) {
            return false;
        }
        let mut cluster = first;
        for _ in 0..=self.clusters {
            match self.cluster(cluster) {
                Cluster::Next(next) => cluster = next,
                // A chain that breaks off is what a power cut leaves of a file that was being removed.
                Cluster::End | Cluster::Free | Cluster::Bad => return true,
                Cluster::Outside => return false,
            }
        }
        false
    }
}

fn read_at(disk: &mut impl Disk, at: u64, into: &mut [u8]) -> Result<(), VolumeError> {
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(into).map_err(|why| match why.kind() {
        std::io::ErrorKind::UnexpectedEof => VolumeError::NotFat("it is too short"),
        _ => VolumeError::Io(why),
    })
}
