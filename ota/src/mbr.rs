//! The partition table: an MBR, and the chain of extended boot records that holds the last two partitions.
//!
//! Reading is strict: a table that is not ours is refused with what is wrong, because what is written by it would be lost data.

use std::io;

use crate::disk::{Disk, SECTOR};
use crate::layout::{ALIGN, DISK_ID, Extent, Layout, TYPE_EXTENDED, TYPE_FAT, TYPE_LINUX};

const TABLE: usize = 446;
const ENTRY: usize = 16;
const DISK_ID_AT: usize = 440;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MbrError {
    #[error("the partition table cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("sector {0} holds no partition table: flash the image again")]
    NoTable(u64),
    #[error("the disk has a GPT, which WarpPool does not boot from: flash the image again")]
    Gpt,
    #[error("partition {number} {what}: this is not WarpPool's partition table; flash the image again")]
    Foreign { number: u32, what: &'static str },
    #[error(
        "partition {number} ends at sector {end}, but the disk has {sectors}: it is smaller than the image; use a larger one"
    )]
    BeyondTheDisk { number: u32, end: u64, sectors: u64 },
    #[error(
        "the disk has sectors of {0} bytes, and the boot loader's disks must have 512: use another disk, or format it with 512"
    )]
    SectorSize(u32),
}

/// What [`grow`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The data partition already reaches the end of the disk.
    Complete,
    /// Sectors of the data partition before and now. The kernel still has to be told.
    Grown { from: u32, to: u32 },
}

/// Refuses disks whose sectors are not 512 bytes; the system knows them as `logical_block_size`.
pub fn check_sector_size(bytes: u32) -> Result<(), MbrError> {
    if bytes as usize == SECTOR { Ok(()) } else { Err(MbrError::SectorSize(bytes)) }
}

/// Reads where the partitions lie.
pub fn read(disk: &mut dyn Disk) -> Result<Layout, MbrError> {
    Table::read(disk).map(|table| table.layout)
}

/// Writes a whole table onto a fresh disk image; flushing is left to the caller.
pub fn write(disk: &mut dyn Disk, layout: &Layout) -> Result<(), MbrError> {
    let Layout { boot, slot_a, slot_b, extended, handover, data } = *layout;
    let second = second_record(layout);
    let mut mbr = [0; SECTOR];
    mbr[DISK_ID_AT..DISK_ID_AT + 4].copy_from_slice(&DISK_ID.to_le_bytes());
    put(&mut mbr, 0, TYPE_FAT, boot);
    put(&mut mbr, 1, TYPE_FAT, slot_a);
    put(&mut mbr, 2, TYPE_FAT, slot_b);
    put(&mut mbr, 3, TYPE_EXTENDED, extended);
    let mut first = [0; SECTOR];
    put(&mut first, 0, TYPE_FAT, relative(handover, extended.start));
    put(&mut first, 1, TYPE_EXTENDED, Extent::new(second - extended.start, (data.end() - u64::from(second)) as u32));
    let mut last = [0; SECTOR];
    put(&mut last, 0, TYPE_LINUX, relative(data, second));
    for (sector, at) in [(mbr, 0), (first, extended.start), (last, second)] {
        disk.write_at(u64::from(at) * SECTOR as u64, &sector)?;
    }
    // What was just written must be what would be read.
    Table::read(disk).map(drop)
}

/// Extends the data partition, and the extended one around it, to the end of the disk.
///
/// Three steps of one sector each, each made durable before the next; after any of them the table is valid and the data partition
/// is where it was, so that a power cut costs nothing and the next call goes on.
pub fn grow(disk: &mut dyn Disk) -> Result<Growth, MbrError> {
    let Table { layout, second, link } = Table::read(disk)?;
    // 32-bit sector numbers end at 2 TiB; the rest of a larger disk stays unused.
    let sectors = (disk.len() / SECTOR as u64).min(u64::from(u32::MAX));
    let end = sectors as u32 / ALIGN * ALIGN;
    let (extended, data) = (layout.extended, layout.data);
    let steps = [
        (0, 3, extended.sectors, end.saturating_sub(extended.start)),
        (extended.start, 1, link.sectors, end.saturating_sub(second)),
        (second, 0, data.sectors, end.saturating_sub(data.start)),
    ];
    for (sector, entry, is, wanted) in steps {
        if wanted > is {
            resize(disk, sector, entry, wanted)?;
        }
    }
    let to = data.sectors.max(end.saturating_sub(data.start));
    Ok(if to > data.sectors { Growth::Grown { from: data.sectors, to } } else { Growth::Complete })
}

/// Where the second extended boot record lies: a mebibyte before the data.
fn second_record(layout: &Layout) -> u32 {
    layout.data.start - ALIGN
}

fn relative(extent: Extent, base: u32) -> Extent {
    Extent::new(extent.start - base, extent.sectors)
}

/// The table and what growing it needs to know besides.
struct Table {
    layout: Layout,
    /// Sector of the second extended boot record.
    second: u32,
    /// What the first record says of the second.
    link: Extent,
}

impl Table {
    fn read(disk: &mut dyn Disk) -> Result<Self, MbrError> {
        let sectors = disk.len() / SECTOR as u64;
        let mbr = sector(disk, 0)?;
        if mbr[TABLE + 4] == 0xee {
            return Err(MbrError::Gpt);
        }
        let boot = take(&mbr, 0, 1, TYPE_FAT)?;
        let slot_a = take(&mbr, 1, 2, TYPE_FAT)?;
        let slot_b = take(&mbr, 2, 3, TYPE_FAT)?;
        let extended = take(&mbr, 3, 4, TYPE_EXTENDED)?;

        let first = sector(disk, extended.start)?;
        let handover = absolute(take(&first, 0, 5, TYPE_FAT)?, extended.start, 5)?;
        let link = take(&first, 1, 6, TYPE_EXTENDED)?;
        let second = extended.start.checked_add(link.start).ok_or(foreign(6, "lies beyond every disk"))?;
        if u64::from(second) < handover.end() || u64::from(second) >= extended.end() {
            return Err(foreign(6, "is not described behind partition 5"));
        }
        let last = sector(disk, second)?;
        let data = absolute(take(&last, 0, 6, TYPE_LINUX)?, second, 6)?;
        if last[TABLE + ENTRY..TABLE + 4 * ENTRY].iter().any(|&byte| byte != 0) {
            return Err(foreign(7, "is not expected"));
        }

        let mut from = 1;
        for (number, part) in [(1, boot), (2, slot_a), (3, slot_b), (4, extended)] {
            if u64::from(part.start) < from {
                return Err(foreign(number, "overlaps the one before it"));
            }
            from = part.end();
            if part.end() > sectors {
                return Err(MbrError::BeyondTheDisk { number, end: part.end(), sectors });
            }
        }
        let mut from = u64::from(extended.start) + 1;
        for (number, part) in [(5, handover), (6, data)] {
            if u64::from(part.start) < from || part.end() > extended.end() {
                return Err(foreign(number, "does not lie in its place within partition 4"));
            }
            from = part.end().max(u64::from(second) + 1);
        }
        if slot_a.sectors != slot_b.sectors {
            return Err(foreign(3, "is not as large as partition 2"));
        }
        Ok(Self { layout: Layout { boot, slot_a, slot_b, extended, handover, data }, second, link })
    }
}

fn foreign(number: u32, what: &'static str) -> MbrError {
    MbrError::Foreign { number, what }
}

fn absolute(extent: Extent, base: u32, number: u32) -> Result<Extent, MbrError> {
    let start = base.checked_add(extent.start).ok_or(foreign(number, "lies beyond every disk"))?;
    Ok(Extent::new(start, extent.sectors))
}

/// Reads a sector that must hold a table.
fn sector(disk: &mut dyn Disk, at: u32) -> Result<[u8; SECTOR], MbrError> {
    let at = u64::from(at);
    if (at + 1) * SECTOR as u64 > disk.len() {
        return Err(MbrError::BeyondTheDisk { number: 4, end: at, sectors: disk.len() / SECTOR as u64 });
    }
    let mut sector = [0; SECTOR];
    disk.read_at(at * SECTOR as u64, &mut sector)?;
    if sector[510..] != [0x55, 0xaa] {
        return Err(MbrError::NoTable(at));
    }
    Ok(sector)
}

fn take(sector: &[u8; SECTOR], entry: usize, number: u32, kind: u8) -> Result<Extent, MbrError> {
    let bytes = &sector[TABLE + entry * ENTRY..][..ENTRY];
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let extent = Extent::new(word(8), word(12));
    if bytes[4] != kind {
        return Err(foreign(number, if bytes[4] == 0 { "is missing" } else { "is of another type" }));
    }
    if extent.start == 0 || extent.sectors == 0 {
        return Err(foreign(number, "is empty"));
    }
    Ok(extent)
}

fn put(sector: &mut [u8; SECTOR], entry: usize, kind: u8, extent: Extent) {
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let bytes = &mut sector[TABLE + entry * ENTRY..][..ENTRY];
    // Cylinders, heads and sectors: "too large to say", for start and end.
    bytes[..8].copy_from_slice(&[0, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff]);
    bytes[8..12].copy_from_slice(&extent.start.to_le_bytes());
    bytes[12..].copy_from_slice(&extent.sectors.to_le_bytes());
}

fn resize(disk: &mut dyn Disk, at: u32, entry: usize, sectors: u32) -> Result<(), MbrError> {
    let mut bytes = sector(disk, at)?;
    bytes[TABLE + entry * ENTRY + 12..][..4].copy_from_slice(&sectors.to_le_bytes());
    disk.write_at(u64::from(at) * SECTOR as u64, &bytes)?;
    Ok(disk.flush()?)
}
