//! A slot: the FAT partition that the firmware starts, with a signed list of every file on it.

use std::collections::BTreeMap;

use warppool_ota::manifest::{self, ManifestFile, SlotManifest};
use warppool_ota::{Digest, PrivateKey, Release};

use crate::board::{Board, check_config};
use crate::error::ImageError;
use crate::fat::Volume;
use crate::limits;

/// 2 KiB clusters make 256 MiB a FAT32 that the firmware does not take for FAT16.
const CLUSTER: u32 = 2048;
/// The same for every slot of every version, as both slots of a card are to be the same bytes.
const VOLUME_ID: u32 = 0x5750_0002;
const LABEL: &[u8; 11] = b"WPSLOT     ";

/// Files that the firmware, the kernel and PID 1 expect, whatever the board.
const NEEDED: [&str; 5] = ["config.txt", "cmdline.txt", "kernel.img", "base.cpio.zst", "pool.cpio.zst"];

/// A slot's files but the manifest, by name from the root.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Makes the image of a slot of `size` bytes.
pub fn write(
    files: &Files,
    board: Board,
    release: &Release,
    key: &PrivateKey,
    size: u64,
) -> Result<Vec<u8>, ImageError> {
    check(files, board)?;
    let listed = files.iter().map(|(name, bytes)| ManifestFile {
        name: name.clone(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
    });
    let manifest = SlotManifest {
        product: release.product.clone(),
        hardware: release.hardware.clone(),
        version: release.version.clone(),
        built: release.built,
        files: listed.collect(),
    };
    let sealed = manifest.seal(key)?;
    let mut all: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    all.push((manifest::NAME, &sealed));
    all.sort_unstable();
    let volume = Volume { what: "the slot", size, fat32: true, cluster: CLUSTER, id: VOLUME_ID, label: LABEL };
    volume.write(&all)
}

fn check(files: &Files, board: Board) -> Result<(), ImageError> {
    for needed in NEEDED.into_iter().chain(board.device_trees().iter().copied()) {
        if !files.contains_key(needed) {
            return Err(ImageError::Needed(needed));
        }
    }
    for (name, bytes) in files {
        if !crate::tree::is_plain_path(name) || !name.is_ascii() || name == manifest::NAME {
            return Err(ImageError::BadName(name.into()));
        }
        limits::loadable(name, bytes.len() as u64)?;
    }
    let config = String::from_utf8_lossy(&files["config.txt"]);
    check_config(&config, |name| files.contains_key(name))
}

#[cfg(test)]
pub(crate) mod tests {
    use warppool_ota::trust::{Trust, TrustedKey};
    use warppool_ota::{MemDisk, Version, fat};

    use super::*;
    use crate::limits::LARGEST_FILE;

    pub(crate) const SIZE: u64 = 256 << 20;

    pub(crate) fn release() -> Release {
        Release {
            product: "warppool".into(),
            hardware: "qemu".into(),
            version: Version::new(1, 2, 3),
            built: 1_790_000_000,
        }
    }

    pub(crate) fn trust(key: &PrivateKey) -> Trust {
        Trust {
            product: "warppool".into(),
            hardware: "qemu".into(),
            minimum_version: Version::new(0, 1, 0),
            feed: String::new(),
            revoked: vec![],
            keys: vec![TrustedKey { name: "test".into(), public: key.public() }],
        }
    }

    pub(crate) fn files() -> Files {
        let mut files = Files::new();
        for name in NEEDED {
            files.insert(name.into(), name.repeat(1000).into_bytes());
        }
        files.insert("config.txt".into(), Board::Qemu.config().into());
        // More entries than one cluster of a folder holds.
        for number in 0..60 {
            files.insert(format!("overlays/an-overlay-number-{number}.dtbo"), vec![number; 5000]);
        }
        files
    }

    #[test]
    fn a_slot_verifies_against_its_manifest() {
        let key = PrivateKey::generate();
        let mut slot = MemDisk::from_bytes(write(&files(), Board::Qemu, &release(), &key, SIZE).unwrap());
        let verdict = warppool_ota::slot::verify(&mut slot, &trust(&key));
        assert!(verdict.is_sound(), "{:?}", verdict.damage);
        assert!(verdict.foreign.is_empty());
        assert_eq!(verdict.manifest.unwrap().files.len(), files().len());
    }

    #[test]
    fn it_is_fat32_by_its_clusters_and_every_file_and_folder_is_in_one_piece() {
        let slot = write(&files(), Board::Qemu, &release(), &PrivateKey::generate(), SIZE).unwrap();
        let mut volume = fat::Volume::open(MemDisk::from_bytes(slot)).unwrap();
        assert!(volume.geometry().clusters >= limits::LEAST_FAT32_CLUSTERS);
        let mut last = 0;
        for (name, entry) in volume.walk().unwrap() {
            let pieces = volume.pieces(&entry).unwrap();
            assert_eq!(pieces.len(), 1, "{name}");
            last = last.max(pieces[0].end);
        }
        assert_eq!(volume.directory_pieces(&fat::Directory::root()).unwrap().len(), 1);
        let overlays = volume.find("overlays").unwrap();
        assert_eq!(volume.pieces(&overlays).unwrap().len(), 1);
        assert!(last < 3 << 20, "files are packed from the beginning: {last}");
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Files)) -> ImageError {
        let mut files = files();
        change(&mut files);
        write(&files, Board::Qemu, &release(), &PrivateKey::generate(), SIZE).unwrap_err()
    }

    #[test]
    fn what_would_not_start_is_refused() {
        for name in NEEDED {
            let error = refused(|files| drop(files.remove(name)));
            assert!(matches!(error, ImageError::Needed(missing) if missing == name), "{error}");
        }
        let tree = write(&files(), Board::Rpi5, &release(), &PrivateKey::generate(), SIZE).unwrap_err();
        assert!(matches!(tree, ImageError::Needed("bcm2712-rpi-5-b.dtb")), "{tree}");
        let overlay = refused(|files| {
            files.insert("config.txt".into(), b"dtoverlay=none".into());
        });
        assert!(matches!(overlay, ImageError::Missing(name) if name == "overlays/none.dtbo"));
        for name in ["manifest.wps", "a//b", "käse.txt"] {
            let error = refused(|files| drop(files.insert(name.into(), vec![])));
            assert!(matches!(error, ImageError::BadName(_)), "{error}");
        }
    }

    #[test]
    fn a_file_that_older_firmware_cannot_load_is_refused() {
        let error = refused(|files| drop(files.insert("kernel.img".into(), vec![1; LARGEST_FILE as usize])));
        assert!(matches!(&error, ImageError::TooLarge { name, .. } if name == "kernel.img"), "{error}");
    }

    #[test]
    fn a_slot_that_would_be_fat16_is_refused_and_so_is_one_too_small_for_its_files() {
        let small = write(&files(), Board::Qemu, &release(), &PrivateKey::generate(), 120 << 20).unwrap_err();
        assert!(matches!(small, ImageError::FewClusters { .. }), "{small}");
        let full = refused(|files| {
            for number in 0..9 {
                files.insert(format!("{number}"), vec![1; LARGEST_FILE as usize - 1]);
            }
        });
        assert!(matches!(full, ImageError::Full { what: "the slot", .. }), "{full}");
    }
}
