//! Makes a bundle from a finished slot.

use std::io::{self, Write};

use super::header::{BadHeader, BundleHeader, CHUNK};
use super::map::describe;
use crate::disk::Disk;
use crate::envelope::{self, EnvelopeError, Kind};
use crate::fat::FatError;
use crate::keys::PrivateKey;
use crate::slot::{self, Damage};
use crate::trust::{Distrust, Trust};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    #[error("the slot is not sound: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Damaged(Vec<Damage>),
    #[error("the slot's file system: {0}")]
    FileSystem(#[from] FatError),
    #[error("the key does not count in the image that is bundled, so no device would go on from it: {0}")]
    Key(#[from] Distrust),
    #[error("the bundle cannot be made: {0}")]
    Header(#[from] BadHeader),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("the bundle cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes the bundle of a slot to `out`: product, hardware, version and time come from its manifest. The same slot and key give the
/// same bytes.
///
/// `trust` is that of the bundled image: what it does not believe itself is not bundled. `minimum_eeprom` in Unix seconds; 0 is any.
pub fn write(
    slot: &mut dyn Disk,
    trust: &Trust,
    minimum_eeprom: u64,
    key: &PrivateKey,
    out: &mut dyn Write,
) -> Result<BundleHeader, BundleError> {
    trust.key(key.public().id())?;
    let verdict = slot::verify(slot, trust);
    let manifest = match verdict.manifest {
        Some(manifest) if verdict.damage.is_empty() => manifest,
        _ => return Err(BundleError::Damaged(verdict.damage)),
    };
    let (chunks, zeros, slot_size) = describe(slot)?;
    let header = BundleHeader {
        product: manifest.product,
        hardware: manifest.hardware,
        version: manifest.version,
        built: manifest.built,
        minimum_eeprom,
        slot_size,
        chunks,
        zeros,
    };
    header.check()?;
    out.write_all(&envelope::seal(Kind::Bundle, key, &envelope::encode(&header))?)?;
    let mut buffer = vec![0; CHUNK as usize];
    for chunk in &header.chunks {
        let bytes = &mut buffer[..chunk.length as usize];
        slot.read_at(chunk.offset, bytes)?;
        out.write_all(bytes)?;
    }
    out.flush()?;
    Ok(header)
}
