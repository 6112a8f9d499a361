//! The partition table as the loader reads it: four primary entries and the chain of an extended one.

use crate::disk::{Disk, SECTOR};

/// The loader looks at partitions 1 to 8 and no further (documentation, `PARTITION_WALK`).
const LAST: u32 = 8;

/// Where a table's four entries begin, and what one occupies.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;

/// One entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// 1 to 4 for primary entries, from 5 on for those in the extended one.
    pub number: u32,
    /// The type byte, such as 0x0c.
    pub kind: u8,
    /// First sector.
    pub start: u64,
    /// Sectors.
    pub sectors: u64,
}

impl Partition {
    /// Whether the type byte promises a FAT file system.
    ///
    /// Types of FAT12, FAT16 and FAT32, with and without LBA, and the EFI system partition boot; a hidden one (0x1c) does
    /// not (rpi-eeprom issues 259 and 313).
    pub fn promises_fat(&self) -> bool {
        matches!(self.kind, 0x01 | 0x04 | 0x06 | 0x0b | 0x0c | 0x0e | 0xef)
    }

    fn is_extended(&self) -> bool {
        // One report says that a Pi 4 does not follow 0x0f. A loader that does sees more partitions it could boot by
        // mistake, so the model follows it.
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// Why a disk has no usable table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MbrError {
    #[error("the disk's first sector cannot be read: {0}")]
    Unreadable(String),
    #[error("the disk's first sector does not end in 55 aa: there is no partition table")]
    NoSignature,
    #[error("the disk has a GPT, which this model does not know: use an MBR")]
    Gpt,
}

/// The partitions found, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    partitions: Vec<Partition>,
}

impl Table {
    /// Reads the table of `disk`. A broken chain of logical partitions ends the list; what stands before it counts.
    pub fn read(disk: &dyn Disk) -> Result<Self, MbrError> {
        let first = sector(disk, 0).map_err(MbrError::Unreadable)?.ok_or(MbrError::NoSignature)?;
        let mut partitions: Vec<Partition> = (0..4).filter_map(|index| entry(&first, index)).collect();
        if partitions.iter().any(|partition| partition.kind == 0xee) {
            return Err(MbrError::Gpt);
        }
        if let Some(extended) = partitions.iter().copied().find(Partition::is_extended) {
            partitions.extend(logical(disk, extended));
        }
        Ok(Self { partitions })
    }

    /// The partition with this number.
    pub fn get(&self, number: u32) -> Option<Partition> {
        self.partitions.iter().copied().find(|partition| partition.number == number)
    }

    /// The first one whose type promises a FAT file system: where `autoboot.txt` is looked for.
    pub fn first_fat(&self) -> Option<Partition> {
        self.partitions.iter().copied().find(Partition::promises_fat)
    }
}

fn logical(disk: &dyn Disk, extended: Partition) -> Vec<Partition> {
    let mut found = Vec::new();
    let mut at = extended.start;
    for number in 5..=LAST {
        let Ok(Some(bytes)) = sector(disk, at) else { break };
        let Some(here) = entry(&bytes, 0) else { break };
        found.push(Partition { number, start: at + here.start, ..here });
        let Some(next) = entry(&bytes, 1).filter(Partition::is_extended) else { break };
        at = extended.start + next.start;
    }
    found
}

/// The sector, or nothing where its last two bytes do not mark a table.
fn sector(disk: &dyn Disk, number: u64) -> Result<Option<[u8; SECTOR as usize]>, String> {
    let mut bytes = [0; SECTOR as usize];
    disk.read(number * SECTOR, &mut bytes).map_err(|why| why.to_string())?;
    Ok((bytes[510..] == [0x55, 0xaa]).then_some(bytes))
}

fn entry(sector: &[u8; SECTOR as usize], index: usize) -> Option<Partition> {
    let bytes = &sector[ENTRIES + index * ENTRY..][..ENTRY];
    let word = |at: usize| u64::from(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
    let partition = Partition { number: index as u32 + 1, kind: bytes[4], start: word(8), sectors: word(12) };
    (partition.kind != 0 && partition.sectors != 0).then_some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entry = (usize, u8, u32, u32);

    /// A disk whose sectors hold the given tables.
    fn disk(tables: &[(usize, &[Entry])]) -> Vec<u8> {
        let mut disk = vec![0; 64 * 512];
        for (sector, entries) in tables {
            let bytes = &mut disk[sector * 512..][..512];
            bytes[510..].copy_from_slice(&[0x55, 0xaa]);
            for (index, kind, start, sectors) in *entries {
                let entry = &mut bytes[446 + index * 16..][..16];
                entry[4] = *kind;
                entry[8..12].copy_from_slice(&start.to_le_bytes());
                entry[12..].copy_from_slice(&sectors.to_le_bytes());
            }
        }
        disk
    }

    fn numbers(table: &Table) -> Vec<(u32, u64)> {
        table.partitions.iter().map(|partition| (partition.number, partition.start)).collect()
    }

    #[test]
    fn primary_and_logical_partitions_keep_their_numbers() {
        let disk = disk(&[
            (0, &[(0, 0x0c, 1, 2), (1, 0x0c, 3, 4), (2, 0x0c, 7, 4), (3, 0x0f, 20, 30)]),
            (20, &[(0, 0x0c, 1, 4), (1, 0x05, 10, 9)]),
            (30, &[(0, 0x83, 1, 8)]),
        ]);
        let table = Table::read(&disk).unwrap();
        assert_eq!(numbers(&table), [(1, 1), (2, 3), (3, 7), (4, 20), (5, 21), (6, 31)]);
        assert_eq!(table.first_fat().unwrap().number, 1);
    }

    #[test]
    fn an_empty_entry_leaves_its_number_unused() {
        let table = Table::read(&disk(&[(0, &[(1, 0x83, 3, 4), (2, 0x0e, 7, 4)])])).unwrap();
        assert_eq!(numbers(&table), [(2, 3), (3, 7)]);
        assert_eq!(table.first_fat().unwrap().number, 3);
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        let table =
            Table::read(&disk(&[(0, &[(3, 0x0f, 20, 30)]), (20, &[(0, 0x0c, 1, 4), (1, 0x05, 0, 9)])])).unwrap();
        assert_eq!(table.partitions.len(), 1 + 4);
    }

    #[test]
    fn what_has_no_table_says_so() {
        assert_eq!(Table::read(&vec![0; 512]), Err(MbrError::NoSignature));
        assert_eq!(Table::read(&disk(&[(0, &[(0, 0xee, 1, 63)])])), Err(MbrError::Gpt));
        assert!(matches!(Table::read(&Vec::new()), Err(MbrError::Unreadable(_))));
    }

    #[test]
    fn hidden_and_foreign_types_promise_no_fat() {
        let promises = |kind| Partition { number: 1, kind, start: 1, sectors: 1 }.promises_fat();
        assert!([0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e, 0xef].into_iter().all(promises));
        assert!(![0x07, 0x1c, 0x83, 0x8e, 0x0f].into_iter().any(promises));
    }
}
