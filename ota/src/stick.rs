//! A bundle on a USB stick: the newest one for this device in the root folder, whatever it is called.

use crate::bundle::Bundle;
use crate::disk::{Disk, SECTOR, Window};
use crate::fat::{Directory, Entry, FatError, Volume};
use crate::source::FileSource;
use crate::trust::Trust;
use crate::version::Version;

/// A bundle's name ends so.
pub const EXTENSION: &str = ".bundle";
const FAT_TYPES: [u8; 6] = [0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e];

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StickError {
    #[error("the stick cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("the stick has no FAT file system: format it with FAT32, not exFAT or NTFS")]
    NotFat,
    #[error("the stick's file system: {0}")]
    FileSystem(#[from] FatError),
    #[error("there is no update bundle for this device in the stick's root folder{0}")]
    NoBundle(Found),
}

/// What was found instead.
#[derive(Debug, Default)]
pub struct Found(Vec<String>);

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|what| write!(f, "; {what}"))
    }
}

/// The stick's file system.
pub type StickVolume<'a> = Volume<Window<&'a mut dyn Disk>>;

/// Looks for the newest bundle on a stick, given as a whole disk or as one partition.
pub fn newest<'a>(stick: &'a mut dyn Disk, trust: &Trust) -> Result<(StickVolume<'a>, Entry), StickError> {
    let range = volume_range(stick)?.ok_or(StickError::NotFat)?;
    let mut volume = Volume::open(Window::new(stick, range)?)?;
    let mut best: Option<(Version, Entry)> = None;
    let mut others = Vec::new();
    for entry in volume.list(&Directory::root())? {
        if entry.is_directory() || !entry.name().to_lowercase().ends_with(EXTENSION) || entry.name().starts_with('.') {
            continue;
        }
        let opened = FileSource::new(volume.open_file(&entry)?).map(|mut source| Bundle::open(&mut source, trust));
        match opened {
            Ok(Ok(bundle)) if bundle.header.product != trust.product || bundle.header.hardware != trust.hardware => {
                others.push(format!("{} is for {} on {}", entry.name(), bundle.header.product, bundle.header.hardware));
            }
            Ok(Ok(bundle)) if best.as_ref().is_none_or(|(version, _)| bundle.header.version > *version) => {
                best = Some((bundle.header.version, entry));
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => others.push(format!("{}: {error}", entry.name())),
            Err(error) => others.push(format!("{}: {error}", entry.name())),
        }
    }
    let (_, entry) = best.ok_or(StickError::NoBundle(Found(others)))?;
    Ok((volume, entry))
}

/// The bytes of the first FAT: the whole stick, or one of its primary partitions.
fn volume_range(stick: &mut dyn Disk) -> Result<Option<std::ops::Range<u64>>, StickError> {
    let len = stick.len();
    if Volume::open(&mut *stick).is_ok() {
        return Ok(Some(0..len));
    }
    if len < SECTOR as u64 {
        return Ok(None);
    }
    let mut mbr = [0; SECTOR];
    stick.read_at(0, &mut mbr)?;
    for entry in mbr[446..510].as_chunks::<16>().0 {
        let word = |at: usize| u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
        let range = word(8) * SECTOR as u64..(word(8) + word(12)) * SECTOR as u64;
        let listed = mbr[510..] == [0x55, 0xaa] && FAT_TYPES.contains(&entry[4]) && range.start > 0 && range.end <= len;
        if listed && Volume::open(Window::new(&mut *stick, range.clone())?).is_ok() {
            return Ok(Some(range));
        }
    }
    Ok(None)
}
