//! `manifest.wps`: the signed list of every other file of a slot. By it a slot is judged, file by file.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::{self, EnvelopeError, Kind};
use crate::keys::PrivateKey;
use crate::trust::Trust;
use crate::version::Version;

/// Its name in the slot's root directory.
pub const NAME: &str = "manifest.wps";

/// What a slot holds. Fields are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotManifest {
    pub product: String,
    pub hardware: String,
    pub version: Version,
    /// Unix seconds.
    pub built: u64,
    /// Every file but the manifest itself, sorted by name.
    pub files: Vec<ManifestFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// From the root, parts separated by `/`, as in `overlays/disable-bt.dtbo`.
    pub name: String,
    pub size: u64,
    pub sha256: Digest,
}

impl SlotManifest {
    /// The bytes of `manifest.wps`.
    pub fn seal(&self, key: &PrivateKey) -> Result<Vec<u8>, EnvelopeError> {
        envelope::seal(Kind::Slot, key, &envelope::encode(self))
    }

    /// Reads the bytes of `manifest.wps` once their signature has been found good.
    pub fn open(file: &[u8], trust: &Trust) -> Result<Self, EnvelopeError> {
        envelope::decode(Kind::Slot, envelope::open(Kind::Slot, file, trust)?)
    }
}
