//! Partition 1: a FAT16 that holds `autoboot.txt` and nothing the firmware could boot.
//!
//! It is made whole and the same every time, and the one sector that a commit writes is found by reading the FAT.

use std::io;

use crate::autoboot::{LONGEST, NAME};
use crate::disk::{Disk, SECTOR, zero};
use crate::fat::{Directory, Entry, FatError, Volume};

/// Serial number of the volume.
const VOLUME_ID: u32 = 0x5750_0001;
const SECTORS_PER_CLUSTER: u32 = 4;
const RESERVED: u32 = 4;
const ROOT_ENTRIES: u32 = 512;
const ROOT_SECTORS: u32 = ROOT_ENTRIES * 32 / SECTOR as u32;
const SECTOR_BYTES: u64 = SECTOR as u64;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum P1Error {
    #[error("it cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Fat(#[from] FatError),
    #[error("it is not as WarpPool made it: {0}; it is put right at the next restart")]
    Changed(&'static str),
    #[error("{0} bytes are too few or too many for it: flash the image again")]
    Size(u64),
}

/// Where `autoboot.txt` lies on partition 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of its only data sector, bytes from the start of the partition.
    pub offset: u64,
    /// Bytes of the file, at most 512.
    pub len: u32,
}

/// Finds the data sector of `autoboot.txt`. Refuses a file that is not one cluster or longer than the firmware reads.
pub fn locate(p1: &mut dyn Disk) -> Result<Place, P1Error> {
    let mut volume = Volume::open(p1)?;
    let entries = volume.list(&Directory::root())?;
    let mut named = entries.iter().filter(|entry| entry.is_called(NAME));
    let file = named.next().ok_or(FatError::Missing { path: NAME.into() })?;
    if named.next().is_some() {
        return Err(P1Error::Changed("there are two files of the name autoboot.txt"));
    }
    check(file)?;
    if volume.next(file.cluster())?.is_some() {
        return Err(P1Error::Changed("autoboot.txt has more than one cluster"));
    }
    match volume.pieces(file)?.as_slice() {
        [piece] if piece.start % SECTOR_BYTES == 0 => Ok(Place { offset: piece.start, len: file.size() }),
        _ => Err(P1Error::Changed("autoboot.txt does not lie in one sector")),
    }
}

fn check(file: &Entry) -> Result<(), P1Error> {
    if file.is_directory() {
        return Err(P1Error::Changed("autoboot.txt is a folder"));
    }
    match file.size() as usize {
        0 => Err(P1Error::Changed("autoboot.txt is empty")),
        1..=LONGEST => Ok(()),
        _ => Err(P1Error::Changed("autoboot.txt is longer than 512 bytes")),
    }
}

/// The bytes of `autoboot.txt`.
pub fn read(p1: &mut dyn Disk) -> Result<Vec<u8>, P1Error> {
    let place = locate(p1)?;
    let mut sector = [0; SECTOR];
    p1.read_at(place.offset, &mut sector)?;
    Ok(sector[..place.len as usize].to_vec())
}

/// Whether nothing on this partition could be booted. What Windows and macOS write on every card they see does no harm.
pub fn is_alone(p1: &mut dyn Disk) -> bool {
    let Ok(mut volume) = Volume::open(p1) else { return false };
    let bootable =
        ["config.txt", "kernel.img", "kernel8.img", "kernel_2712.img", "recovery.bin", "boot.img", "tryboot.txt"];
    volume
        .list(&Directory::root())
        .is_ok_and(|entries| !entries.iter().any(|entry| bootable.iter().any(|name| entry.is_called(name))))
}

/// Makes the whole partition, holding this text.
///
/// The boot sector goes first and comes last: until it is written there is no file system, and the firmware passes the partition
/// over. Every step is durable before the next.
pub fn write(p1: &mut dyn Disk, text: &str) -> Result<(), P1Error> {
    let shape = Shape::of(p1.len())?;
    if text.is_empty() || text.len() > LONGEST {
        return Err(P1Error::Changed("the text to write is empty or longer than 512 bytes"));
    }
    p1.write_at(0, &[0; SECTOR])?;
    p1.flush()?;

    let data = shape.data() * SECTOR_BYTES;
    zero(p1, SECTOR_BYTES, data - SECTOR_BYTES)?;
    let mut fat = [0; SECTOR];
    // The media byte, the end mark, and one file of one cluster.
    fat[..6].copy_from_slice(&[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff]);
    p1.write_at(u64::from(RESERVED) * SECTOR_BYTES, &fat)?;
    p1.write_at(u64::from(RESERVED + shape.fat_sectors) * SECTOR_BYTES, &fat)?;
    p1.write_at(data - u64::from(ROOT_SECTORS) * SECTOR_BYTES, &directory(text.len() as u32))?;
    let mut content = [0; SECTOR * SECTORS_PER_CLUSTER as usize];
    content[..text.len()].copy_from_slice(text.as_bytes());
    p1.write_at(data, &content)?;
    p1.flush()?;

    p1.write_at(0, &shape.boot_sector())?;
    Ok(p1.flush()?)
}

/// The first sector of the root directory: the file, under a name that is short in both cases.
fn directory(len: u32) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let entry = &mut sector[..32];
    entry[..11].copy_from_slice(b"AUTOBOOTTXT");
    entry[11] = 0x20; // archive
    entry[12] = 0x18; // shown in lower case
    for date in [16, 18, 24] {
        entry[date..date + 2].copy_from_slice(&0x0021u16.to_le_bytes()); // 1980-01-01
    }
    entry[26..28].copy_from_slice(&2u16.to_le_bytes());
    entry[28..].copy_from_slice(&len.to_le_bytes());
    sector
}

/// How large its tables are.
struct Shape {
    sectors: u32,
    fat_sectors: u32,
}

impl Shape {
    fn of(bytes: u64) -> Result<Self, P1Error> {
        let bad = || P1Error::Size(bytes);
        let sectors = u32::try_from(bytes / SECTOR_BYTES).map_err(|_| bad())?;
        // Two bytes a cluster in each of two FATs; a FAT that is a little too long does no harm.
        let fat_sectors = (sectors / SECTORS_PER_CLUSTER + 2).div_ceil(SECTOR as u32 / 2);
        let shape = Self { sectors, fat_sectors };
        let clusters = u64::from(sectors).checked_sub(shape.data()).ok_or_else(bad)? / u64::from(SECTORS_PER_CLUSTER);
        if (4085..65_525).contains(&clusters) { Ok(shape) } else { Err(bad()) }
    }

    /// The first data sector.
    fn data(&self) -> u64 {
        u64::from(RESERVED + 2 * self.fat_sectors + ROOT_SECTORS)
    }

    fn boot_sector(&self) -> [u8; SECTOR] {
        let mut boot = [0; SECTOR];
        boot[..11].copy_from_slice(b"\xeb\x3c\x90WARPPOOL");
        boot[11..13].copy_from_slice(&(SECTOR as u16).to_le_bytes());
        boot[13] = SECTORS_PER_CLUSTER as u8;
        boot[14..16].copy_from_slice(&(RESERVED as u16).to_le_bytes());
        boot[16] = 2;
        boot[17..19].copy_from_slice(&(ROOT_ENTRIES as u16).to_le_bytes());
        match u16::try_from(self.sectors) {
            Ok(sectors) => boot[19..21].copy_from_slice(&sectors.to_le_bytes()),
            Err(_) => boot[32..36].copy_from_slice(&self.sectors.to_le_bytes()),
        }
        boot[21] = 0xf8;
        boot[22..24].copy_from_slice(&(self.fat_sectors as u16).to_le_bytes());
        boot[24..26].copy_from_slice(&63u16.to_le_bytes());
        boot[26..28].copy_from_slice(&255u16.to_le_bytes());
        boot[36] = 0x80;
        boot[38] = 0x29;
        boot[39..43].copy_from_slice(&VOLUME_ID.to_le_bytes());
        boot[43..62].copy_from_slice(b"NO NAME    FAT16   ");
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        boot
    }
}
