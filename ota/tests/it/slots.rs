//! Small but real slots: a FAT with a few files and their signed manifest.

use std::io::{Cursor, Write};
use std::sync::LazyLock;

use warppool_ota::install::Admission;
use warppool_ota::manifest::{self, ManifestFile};
use warppool_ota::trust::TrustedKey;
use warppool_ota::{Digest, MemDisk, PrivateKey, Slot, SlotManifest, Trust, Version, bundle};

static KEY: LazyLock<PrivateKey> = LazyLock::new(PrivateKey::generate);

/// Names and contents.
pub type Files = Vec<(&'static str, Vec<u8>)>;

pub const SLOT: u64 = 12 << 20;
pub const BUILT: u64 = 1_790_000_000;

pub fn key() -> PrivateKey {
    KEY.clone()
}

pub fn trust() -> Trust {
    Trust {
        product: "warppool".into(),
        hardware: "rpi5".into(),
        minimum_version: Version::new(1, 0, 0),
        feed: String::new(),
        revoked: vec![],
        keys: vec![TrustedKey { name: "test".into(), public: key().public() }],
    }
}

/// Bytes that do not repeat and depend on a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; len];
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8;
    }
    bytes
}

/// The files of version 1.`minor`.0: the pool's part changes with every version, the base does not.
pub fn files(minor: u64) -> Files {
    vec![
        ("base.cpio.zst", noise(1, 1_500_000)),
        ("bcm2712-rpi-5-b.dtb", noise(2, 80_000)),
        ("cmdline.txt", b"console=ttyAMA10,115200\n".to_vec()),
        ("config.txt", format!("kernel=kernel.img\n# 1.{minor}.0\n").into_bytes()),
        ("kernel.img", noise(3, 700_001)),
        ("overlays/disable-bt.dtbo", noise(4, 1000)),
        ("pool.cpio.zst", noise(100 + minor, 300_000 + 700 * minor as usize)),
    ]
}

pub fn manifest_of(minor: u64, files: &[(&str, Vec<u8>)]) -> SlotManifest {
    let file = |(name, bytes): &(&str, Vec<u8>)| ManifestFile {
        name: (*name).into(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
    };
    SlotManifest {
        product: "warppool".into(),
        hardware: "rpi5".into(),
        version: Version::new(1, minor, 0),
        built: BUILT,
        files: files.iter().map(file).collect(),
    }
}

/// A FAT of these files, of the kind that its size makes it.
pub fn format(len: u64, files: &[(&str, Vec<u8>)]) -> MemDisk {
    let mut storage = Cursor::new(vec![0; len as usize]);
    let options = fatfs::FormatVolumeOptions::new().volume_id(7);
    let options = if len < 128 << 20 {
        options.bytes_per_cluster(512)
    } else {
        options.bytes_per_cluster(2048).fat_type(fatfs::FatType::Fat32)
    };
    fatfs::format_volume(&mut storage, options).unwrap();
    let volume = fatfs::FileSystem::new(&mut storage, fatfs::FsOptions::new()).unwrap();
    for (name, bytes) in files {
        if let Some((folder, _)) = name.split_once('/') {
            volume.root_dir().create_dir(folder).unwrap();
        }
        volume.root_dir().create_file(name).unwrap().write_all(bytes).unwrap();
    }
    volume.unmount().unwrap();
    MemDisk::from_bytes(storage.into_inner())
}

/// The slot of version 1.`minor`.0.
pub fn slot(minor: u64) -> MemDisk {
    slot_of(SLOT, &files(minor), &manifest_of(minor, &files(minor)))
}

pub fn slot_of(len: u64, files: &[(&str, Vec<u8>)], manifest: &SlotManifest) -> MemDisk {
    let mut all = files.to_vec();
    all.push((manifest::NAME, manifest.seal(&key()).unwrap()));
    format(len, &all)
}

/// The bundle of version 1.`minor`.0.
pub fn bundle(minor: u64) -> Vec<u8> {
    bundle_of(&mut slot(minor), 0)
}

pub fn bundle_of(slot: &mut MemDisk, minimum_eeprom: u64) -> Vec<u8> {
    let mut out = Vec::new();
    bundle::write(slot, &trust(), minimum_eeprom, &key(), &mut out).unwrap();
    out
}

/// Version 1.`running`.0 runs in slot A.
pub fn admission(running: u64) -> Admission {
    Admission {
        running: Some(Version::new(1, running, 0)),
        running_slot: Some(Slot::A),
        target: Slot::B,
        allow_downgrade: false,
        eeprom: None,
    }
}
