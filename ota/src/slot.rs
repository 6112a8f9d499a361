//! Is this slot whole? Judged file by file against the signed manifest that lies in it.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::disk::Disk;
use crate::envelope::{EnvelopeError, Kind};
use crate::fat::{Entry, FatError, Volume};
use crate::manifest::{self, SlotManifest};
use crate::trust::{Distrust, Trust};

/// What the firmware looks for to take a partition for bootable.
const CONFIG: &str = "config.txt";

/// What a first look finds, without reading the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The firmware would start it: there is a FAT with a `config.txt`.
    pub bootable: bool,
    /// The manifest, where it is there and its signature is good.
    pub manifest: Option<SlotManifest>,
    /// Why there is no manifest, or why it does not count.
    pub problem: Option<Damage>,
}

/// What a thorough look finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub manifest: Option<SlotManifest>,
    /// What is wrong; empty is sound.
    pub damage: Vec<Damage>,
    /// Files that no manifest names and the firmware does not read, as Windows and macOS leave them. They do no harm.
    pub foreign: Vec<String>,
}

impl Verdict {
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.manifest.is_some()
    }
}

/// One thing that is wrong with a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// The file system as a whole.
    FileSystem(String),
    /// The manifest is missing or damaged.
    Manifest(String),
    /// The manifest is signed by a key that does not count, or no longer.
    Distrusted(Distrust),
    /// It is for something else than this device.
    Foreign { product: String, hardware: String },
    /// A file that the manifest names.
    File { name: String, what: FileDamage },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileDamage {
    Missing,
    Size {
        is: u64,
        should: u64,
    },
    Content,
    Unreadable(String),
    /// No manifest names it, and the firmware would read it.
    Unlisted,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem(what) => f.write_str(what),
            Self::Manifest(what) => write!(f, "{}: {what}", manifest::NAME),
            Self::Distrusted(why) => write!(f, "{}: {why}", manifest::NAME),
            Self::Foreign { product, hardware } => write!(f, "it is made for {product} on {hardware}"),
            Self::File { name, what } => match what {
                FileDamage::Missing => write!(f, "{name} is missing"),
                FileDamage::Size { is, should } => write!(f, "{name} has {is} bytes instead of {should}"),
                FileDamage::Content => write!(f, "{name} has other content than it should"),
                FileDamage::Unreadable(error) => write!(f, "{name} cannot be read: {error}"),
                FileDamage::Unlisted => write!(f, "{name} is not of this version, and the firmware would read it"),
            },
        }
    }
}

/// A first look at a slot: would the firmware start it, and what does it say it is?
pub fn look(slot: &mut dyn Disk, trust: &Trust) -> Look {
    let mut volume = match Volume::open(slot) {
        Ok(volume) => volume,
        Err(error) => {
            return Look { bootable: false, manifest: None, problem: Some(Damage::FileSystem(error.to_string())) };
        }
    };
    let bootable = volume.find(CONFIG).is_ok_and(|entry| !entry.is_directory());
    match read_manifest(&mut volume, trust) {
        Ok(manifest) => Look { bootable, manifest: Some(manifest), problem: None },
        Err(problem) => Look { bootable, manifest: None, problem: Some(problem) },
    }
}

/// Reads every file of a slot and compares it with the manifest.
pub fn verify(slot: &mut dyn Disk, trust: &Trust) -> Verdict {
    let nothing = |damage| Verdict { manifest: None, damage: vec![damage], foreign: Vec::new() };
    let mut volume = match Volume::open(slot) {
        Ok(volume) => volume,
        Err(error) => return nothing(Damage::FileSystem(error.to_string())),
    };
    let manifest = match read_manifest(&mut volume, trust) {
        Ok(manifest) => manifest,
        Err(damage) => return nothing(damage),
    };
    let files = match volume.walk() {
        Ok(files) => files,
        Err(error) => return nothing(Damage::FileSystem(error.to_string())),
    };
    let mut files: HashMap<String, Entry> =
        files.into_iter().map(|(name, entry)| (name.to_lowercase(), entry)).collect();
    files.remove(manifest::NAME);
    let mut damage = Vec::new();
    for file in &manifest.files {
        let what = match files.remove(&file.name.to_lowercase()) {
            None => Some(FileDamage::Missing),
            Some(entry) if u64::from(entry.size()) != file.size => {
                Some(FileDamage::Size { is: entry.size().into(), should: file.size })
            }
            Some(entry) => match hash(&mut volume, &entry) {
                Ok(digest) if digest == file.sha256 => None,
                Ok(_) => Some(FileDamage::Content),
                Err(error) => Some(FileDamage::Unreadable(error.to_string())),
            },
        };
        damage.extend(what.map(|what| Damage::File { name: file.name.clone(), what }));
    }
    let (mut read, mut foreign): (Vec<String>, Vec<String>) = files.into_keys().partition(|name| firmware_reads(name));
    read.sort();
    foreign.sort();
    damage.extend(read.into_iter().map(|name| Damage::File { name, what: FileDamage::Unlisted }));
    Verdict { manifest: Some(manifest), damage, foreign }
}

/// Whether the firmware takes a file of this name, in lower case, without any file that the manifest lists naming it.
fn firmware_reads(name: &str) -> bool {
    if let Some(overlay) = name.strip_prefix("overlays/") {
        return !overlay.starts_with('.') && has_ending(overlay, &[".dtb", ".dtbo"]);
    }
    if name.contains('/') || name.starts_with('.') {
        return false;
    }
    let whole = [
        "autoboot.txt",
        "tryboot.txt",
        "config.txt",
        "cmdline.txt",
        "boot.img",
        "boot.sig",
        "config.sig",
        "tryboot.img",
    ];
    let beginnings = ["armstub", "kernel", "initramfs", "recovery.", "pieeprom.", "start", "fixup", "vl805."];
    whole.contains(&name)
        || beginnings.iter().any(|beginning| name.starts_with(beginning))
        || has_ending(name, &[".dtb", ".elf", ".upd", ".bin"])
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

fn read_manifest<D: Disk>(volume: &mut Volume<D>, trust: &Trust) -> Result<SlotManifest, Damage> {
    let entry = volume.find(manifest::NAME).map_err(|error| Damage::Manifest(error.to_string()))?;
    let bytes = volume.read(&entry, Kind::Slot.longest() * 2).map_err(|error| Damage::Manifest(error.to_string()))?;
    let manifest = SlotManifest::open(&bytes, trust).map_err(|error| match error {
        EnvelopeError::Distrusted(why @ (Distrust::UnknownKey(_) | Distrust::RevokedKey(_))) => Damage::Distrusted(why),
        error => Damage::Manifest(error.to_string()),
    })?;
    if manifest.product != trust.product || manifest.hardware != trust.hardware {
        return Err(Damage::Foreign { product: manifest.product, hardware: manifest.hardware });
    }
    Ok(manifest)
}

/// The SHA-256 of a file.
pub(crate) fn hash<D: Disk>(volume: &mut Volume<D>, entry: &Entry) -> Result<Digest, FatError> {
    let mut hash = Sha256::new();
    volume.stream(entry, &mut |piece| hash.update(piece))?;
    Ok(Digest(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_firmware_reads_is_told_from_litter() {
        for name in [
            "armstub8-2712.bin",
            "recovery.bin",
            "recovery.001",
            "pieeprom.upd",
            "pieeprom.sig",
            "bcm2712-rpi-5-b.dtb",
            "start4.elf",
            "kernel8.img",
            "initramfs_2712",
            "boot.img",
            "boot.sig",
            "tryboot.txt",
            "autoboot.txt",
            "bootcode.bin",
            "fixup4.dat",
            "overlays/overlay_map.dtb",
            "overlays/hat.dtbo",
        ] {
            assert!(firmware_reads(name), "{name}");
        }
        for name in [
            "._kernel8.img",
            ".trashes",
            "indexer.dat",
            "system volume information/wpsettings.dat",
            "backup/kernel8.img",
            "overlays/readme",
            "overlays/._x.dtbo",
            "notes.txt",
        ] {
            assert!(!firmware_reads(name), "{name}");
        }
    }
}
