//! What `scripts/appliance` has made, and further bundles made from its parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use warppool_image::board::Board;
use warppool_image::recipe::Recipe;
use warppool_image::{build, slot};
use warppool_ota::{Layout, MemDisk, PrivateKey};

/// The version of the disk image.
pub const FIRST: &str = "0.1.0";

/// The folder of the image and its parts.
#[derive(Debug)]
pub struct Kit {
    folder: PathBuf,
    made: TempDir,
}

/// How a bundle differs from the release.
#[derive(Clone, Debug)]
pub struct Variant<'a> {
    pub version: &'a str,
    /// Appended to the kernel's command line.
    pub arguments: &'a [&'a str],
    /// A key of its own instead of the release's.
    pub key: Option<PrivateKey>,
}

impl<'a> Variant<'a> {
    pub fn of(version: &'a str) -> Self {
        Self { version, arguments: &[], key: None }
    }

    pub fn with(version: &'a str, arguments: &'a [&'a str]) -> Self {
        Self { arguments, ..Self::of(version) }
    }
}

impl Kit {
    /// `None`, told, where no image was made.
    pub fn find() -> Option<Self> {
        let Some(folder) = std::env::var_os("WARPPOOL_APPLIANCE") else {
            println!("NOT RUN: the appliance in QEMU: WARPPOOL_APPLIANCE names no folder; scripts/appliance makes one");
            return None;
        };
        Some(Self { folder: folder.into(), made: tempfile::tempdir().expect("a temporary folder") })
    }

    /// The disk image as it is flashed.
    pub fn image(&self) -> PathBuf {
        self.folder.join(format!("warppool-qemu-{FIRST}.img"))
    }

    pub fn key(&self) -> PrivateKey {
        PrivateKey::read(&self.folder.join("release.key")).expect("scripts/appliance made it")
    }

    /// A folder that lives as long as the kit.
    pub fn folder(&self) -> &Path {
        self.made.path()
    }

    /// A signed bundle that differs from the image's release as told. Kernel and base are the image's own, as in a release of
    /// the pool alone.
    pub fn bundle(&self, variant: &Variant<'_>) -> PathBuf {
        let key = variant.key.clone().unwrap_or_else(|| self.key());
        let recipe = Recipe {
            version: Some(variant.version.into()),
            arguments: variant.arguments.iter().map(ToString::to_string).collect(),
            ..Recipe::read(&self.folder.join("image.toml")).expect("scripts/appliance made it")
        };
        // The recipe names no trust: what is made believes the key that signs it.
        let recipe = recipe.complete(&key).expect("the image was made of it");
        let read = |name: &str| fs::read(self.folder.join(name)).expect("scripts/appliance made it");
        let files = BTreeMap::from([
            ("config.txt".to_owned(), Board::Qemu.config().into()),
            ("tryboot.txt".into(), Board::Qemu.config().into()),
            ("cmdline.txt".into(), Board::Qemu.cmdline(&recipe.arguments).expect("sound arguments").into()),
            ("kernel.img".into(), read("kernel.img")),
            ("base.cpio.zst".into(), read("base.cpio.zst")),
            ("pool.cpio.zst".into(), build::pool_part(&recipe, 3).expect("packs")),
        ]);
        let bytes = Layout::default().slot_a.bytes();
        let slot = slot::write(&files, recipe.board, &recipe.release, &key, bytes.end - bytes.start).expect("fits");
        let path = self.made.path().join(format!("warppool-qemu-{}.bundle", variant.version));
        let mut bundle = Vec::new();
        warppool_ota::bundle::write(
            &mut MemDisk::from_bytes(slot),
            &recipe.trust,
            recipe.minimum_eeprom,
            &key,
            &mut bundle,
        )
        .expect("writes");
        fs::write(&path, bundle).expect("there is room");
        path
    }
}
