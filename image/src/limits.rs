//! What the Pi's firmware can take.

use crate::error::ImageError;

/// A file as long as this, or longer, did not load from `NVMe` before the EEPROM of 2025-06-09.
pub const LARGEST_FILE: u64 = 32 << 20;
/// Characters of a line of config.txt that every firmware reads; newer ones read 98.
pub const LONGEST_LINE: usize = 78;
/// With fewer clusters a FAT is FAT16, whatever its boot sector says.
pub const LEAST_FAT32_CLUSTERS: u32 = 65_525;

/// Refuses a file that is too large to be loaded.
pub fn loadable(name: &str, size: u64) -> Result<(), ImageError> {
    if size < LARGEST_FILE { Ok(()) } else { Err(too_large(name, size)) }
}

pub(crate) fn too_large(name: &str, size: u64) -> ImageError {
    ImageError::TooLarge { name: name.into(), size, limit: LARGEST_FILE }
}
