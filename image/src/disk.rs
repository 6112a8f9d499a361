//! The whole disk as it is flashed: partition table, `autoboot.txt`, slot A, an empty slot B, hand-over and data.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use warppool_ota::autoboot::Autoboot;
use warppool_ota::layout::{ALIGN, Extent};
use warppool_ota::{FileDisk, Layout, SECTOR, Slot, Window, mbr, p1};

use crate::bmap::BLOCK;
use crate::error::ImageError;
use crate::{ext4, fat};

/// What the hand-over partition says of itself.
const README: &str = include_str!("handover-readme.txt");
const MIB: u64 = ALIGN as u64 * SECTOR as u64;

/// Makes the disk image at `path`, sparse, from the image of a slot; `built` (Unix seconds) stands for every time in it.
///
/// Answers with the regions that have to be flashed, in bytes, whatever was on the card before.
pub fn write(path: &Path, slot: &[u8], built: u64) -> Result<Vec<Range<u64>>, ImageError> {
    let layout = Layout::default();
    let slot_size = layout.slot_a.bytes().end - layout.slot_a.bytes().start;
    if slot.len() as u64 != slot_size {
        return Err(ImageError::Full { what: "the slot", needed: slot.len() as u64, size: slot_size });
    }
    tables(path, &layout)?;
    let mut image = OpenOptions::new().read(true).write(true).open(path).map_err(ImageError::io(path))?;
    let used =
        slot.chunks(BLOCK as usize).rposition(|block| !is_zero(block)).map_or(0, |last| (last as u64 + 1) * BLOCK);
    put(&mut image, layout.slot_a, slot).map_err(ImageError::io(path))?;
    put(&mut image, layout.handover, &handover(layout.handover)?).map_err(ImageError::io(path))?;

    let beside = path.with_extension("data");
    let size = layout.data.bytes().end - layout.data.bytes().start;
    ext4::make(&beside, size, built)?;
    let copied = copy(&beside, &mut image, layout.data.bytes().start);
    std::fs::remove_file(&beside).and(copied).map_err(ImageError::io(&beside))?;

    let (slot_a, slot_b) = (layout.slot_a.bytes(), layout.slot_b.bytes());
    Ok(vec![
        // Table and partition 1 whole; of slot A what is in use.
        0..layout.boot.bytes().end,
        slot_a.start..slot_a.start + used,
        // A slot B that an earlier flashing left must not stay bootable: its boot sectors become zeros.
        slot_b.start..slot_b.start + MIB,
        // What an earlier owner handed over goes. A new ext4 counts on zeros where it has not written.
        layout.extended.bytes(),
    ])
}

/// Partition table and partition 1, on a file of zeros.
fn tables(path: &Path, layout: &Layout) -> Result<(), ImageError> {
    let failed = |error: String| ImageError::Io { path: path.into(), error: io::Error::other(error) };
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(ImageError::io(path))?;
    file.set_len(layout.sectors() * SECTOR as u64).map_err(ImageError::io(path))?;
    let mut disk = FileDisk::from_file(file).map_err(ImageError::io(path))?;
    mbr::write(&mut disk, layout).map_err(|error| failed(error.to_string()))?;
    let mut boot = Window::new(disk, layout.boot.bytes()).map_err(ImageError::io(path))?;
    p1::write(&mut boot, &Autoboot::new(Slot::A).text()).map_err(|error| failed(error.to_string()))
}

fn handover(place: Extent) -> Result<Vec<u8>, ImageError> {
    let volume = fat::Volume {
        what: "the hand-over partition",
        size: place.bytes().end - place.bytes().start,
        fat32: false,
        cluster: 2048,
        id: 0x5750_0005,
        label: b"WARPPOOL   ",
    };
    let example = warppool_handover::EXAMPLE.replace('\n', "\r\n");
    let readme = README.replace('\n', "\r\n");
    volume.write(&[("README.txt", readme.as_bytes()), (warppool_handover::EXAMPLE_FILE, example.as_bytes())])
}

/// Writes the blocks that are not zero, so that the image stays sparse.
fn put(image: &mut File, place: Extent, bytes: &[u8]) -> io::Result<()> {
    for (at, block) in (place.bytes().start..).step_by(BLOCK as usize).zip(bytes.chunks(BLOCK as usize)) {
        if !is_zero(block) {
            image.seek(SeekFrom::Start(at))?;
            image.write_all(block)?;
        }
    }
    Ok(())
}

fn is_zero(block: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    *block == ZEROS[..block.len()]
}

/// Copies a file into the image, sparse.
fn copy(from: &Path, image: &mut File, at: u64) -> io::Result<()> {
    let mut bytes = Vec::new();
    File::open(from)?.read_to_end(&mut bytes)?;
    put(image, Extent::new((at / SECTOR as u64) as u32, (bytes.len() / SECTOR) as u32), &bytes)
}
