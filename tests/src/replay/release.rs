//! A release to install: the files of a slot, the slot itself and its bundle.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use warppool_ota::digest::Digest;
use warppool_ota::manifest::{self, ManifestFile, SlotManifest};
use warppool_ota::trust::TrustedKey;
use warppool_ota::{Disk as _, Layout, PrivateKey, Trust, Version, bundle};

use super::store::{Store, Stream};

static KEY: LazyLock<PrivateKey> = LazyLock::new(PrivateKey::generate);

/// The image's trust, in which one key counts.
pub fn trust() -> Trust {
    Trust {
        product: "warppool".into(),
        hardware: "rpi5".into(),
        minimum_version: Version::new(0, 1, 0),
        feed: String::new(),
        revoked: vec![],
        keys: vec![TrustedKey { name: "replay".into(), public: KEY.public() }],
    }
}

/// One version of the appliance, small.
#[derive(Debug)]
pub struct Release {
    pub version: Version,
    /// Every file but the manifest.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The slot's bytes, as many as a partition has.
    pub slot: Store,
    pub bundle: Vec<u8>,
}

impl Release {
    /// Version 1.`minor`.0. Releases of the same `base` have kernel and base system in common, as point releases do.
    pub fn new(minor: u64, base: u64) -> Self {
        let version = Version::new(1, minor, 0);
        let files = files(minor, base);
        let listed = files.iter().map(|(name, bytes)| ManifestFile {
            name: name.clone(),
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
        });
        let manifest = SlotManifest {
            product: trust().product,
            hardware: trust().hardware,
            version: version.clone(),
            built: 1_800_000_000 + minor,
            files: listed.collect(),
        };
        let manifest = manifest.seal(&KEY).unwrap();
        // What makes a partition bootable stands first in its directory, so that half a directory is the worst it can be.
        let boots = |name: &str| name == "config.txt" || name == "kernel.img" || name.starts_with("bcm2712");
        let mut listed: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        listed.sort_by_key(|(name, _)| !boots(name));
        let mut slot = slot(&listed, &manifest);
        let mut bundle = Vec::new();
        bundle::write(&mut slot, &trust(), 0, &KEY, &mut bundle).unwrap();
        Self { version, files, slot, bundle }
    }
}

fn files(minor: u64, base: u64) -> BTreeMap<String, Vec<u8>> {
    let text = |text: String| text.into_bytes();
    let mut files = BTreeMap::from([
        ("config.txt".into(), text("kernel=kernel.img\ninitramfs base.cpio.zst,pool.cpio.zst followkernel\n".into())),
        ("cmdline.txt".into(), text(format!("console=ttyAMA10 quiet version=1.{minor}.0\n"))),
        ("kernel.img".into(), noise(base, 900_000)),
        ("base.cpio.zst".into(), noise(base + 100, 700_000)),
        ("pool.cpio.zst".into(), noise(minor + 200, 500_000)),
    ]);
    for (number, board) in ["5-b", "500", "cm5-cm5io", "cm5l-cm5io"].into_iter().enumerate() {
        files.insert(format!("bcm2712-rpi-{board}.dtb"), noise(base + 300 + number as u64, 20_000));
    }
    for number in 0..3 {
        files.insert(format!("overlays/overlay{number}.dtbo"), noise(base + 400 + number, 1_500));
    }
    files
}

/// Bytes that repeat nowhere, the same for the same seed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(|| random.next().to_le_bytes()).take(count / 8 + 1).flatten().collect();
    bytes.truncate(count);
    bytes
}

fn slot(files: &[(&str, &[u8])], manifest: &[u8]) -> Store {
    let bytes = Layout::default().slot_a.bytes();
    let mut disk = Store::new(bytes.end - bytes.start);
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(2048).volume_id(0x5750_0002);
    format_volume(Stream { disk: &mut disk, position: 0 }, options).unwrap();
    let volume = FileSystem::new(Stream { disk: &mut disk, position: 0 }, FsOptions::new()).unwrap();
    for (name, bytes) in files.iter().chain([&(manifest::NAME, manifest)]) {
        if let Some((folder, _)) = name.split_once('/') {
            volume.root_dir().create_dir(folder).unwrap();
        }
        volume.root_dir().create_file(name).unwrap().write_all(bytes).unwrap();
    }
    volume.unmount().unwrap();
    disk.flush().unwrap();
    disk
}

/// Numbers that look random and are the same in every run (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
