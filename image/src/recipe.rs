//! What an image is made of: `image.toml`, and flags of the same names that come before it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use warppool_ota::trust::{Trust, TrustedKey};
use warppool_ota::{PrivateKey, Release, Version};

use crate::board::Board;
use crate::error::ImageError;

const PRODUCT: &str = "warppool";

/// Everything is optional here, because a flag may say what the file does not. Lists of file and flags are joined.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// What it is made for
    #[arg(long)]
    pub board: Option<Board>,
    /// The release's version, as 1.2.3 or 1.2.3-beta.1
    #[arg(long)]
    pub version: Option<String>,
    /// Unix seconds that stand for every time in the image
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    pub built: Option<u64>,
    /// The arm64 kernel, Image or Image.gz
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// A device tree of the kernel; may be given several times
    #[arg(long = "device-tree", value_name = "FILE")]
    #[serde(default)]
    pub device_trees: Vec<PathBuf>,
    /// A folder of device tree overlays (*.dtbo), for those that config.txt asks for
    #[arg(long, value_name = "FOLDER")]
    pub overlays: Option<PathBuf>,
    /// A folder laid over the root, the later over the earlier; may be given several times
    #[arg(long = "root", value_name = "FOLDER")]
    #[serde(default)]
    pub roots: Vec<PathBuf>,
    /// A table of owners, modes and devices besides the one that every image has; may be given several times
    #[arg(long = "table", value_name = "FILE")]
    #[serde(default)]
    pub tables: Vec<PathBuf>,
    /// The static warppool binary
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// One more argument of the kernel's command line; may be given several times
    #[arg(long = "argument", value_name = "NAME=VALUE")]
    #[serde(default)]
    pub arguments: Vec<String>,
    /// trust.toml with the keys the image believes; without it, it believes the key that signs it and no other
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// The oldest boot loader that can start the release: its build time in Unix seconds
    #[arg(long, value_name = "SECONDS")]
    pub minimum_eeprom: Option<u64>,
}

/// A recipe that lacks nothing.
#[derive(Clone, Debug)]
pub struct Complete {
    pub board: Board,
    pub release: Release,
    pub trust: Trust,
    pub kernel: PathBuf,
    pub device_trees: Vec<PathBuf>,
    pub overlays: Option<PathBuf>,
    pub roots: Vec<PathBuf>,
    pub tables: Vec<PathBuf>,
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    pub minimum_eeprom: u64,
}

impl Recipe {
    /// Reads an `image.toml`; paths in it are from its own folder.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let text = fs::read_to_string(path).map_err(ImageError::io(path))?;
        let mut recipe: Self = toml::from_str(&text)
            .map_err(|error| ImageError::Config { path: path.into(), error: error.to_string() })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let single = [&mut recipe.kernel, &mut recipe.overlays, &mut recipe.binary, &mut recipe.trust];
        let lists = [&mut recipe.device_trees, &mut recipe.roots, &mut recipe.tables];
        for path in single.into_iter().flatten().chain(lists.into_iter().flatten()) {
            *path = folder.join(&*path);
        }
        Ok(recipe)
    }

    /// Takes from `file` what is not said here.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        fn joined<T>(first: Vec<T>, then: Vec<T>) -> Vec<T> {
            first.into_iter().chain(then).collect()
        }
        Self {
            board: self.board.or(file.board),
            version: self.version.or(file.version),
            built: self.built.or(file.built),
            kernel: self.kernel.or(file.kernel),
            device_trees: joined(file.device_trees, self.device_trees),
            overlays: self.overlays.or(file.overlays),
            roots: joined(file.roots, self.roots),
            tables: joined(file.tables, self.tables),
            binary: self.binary.or(file.binary),
            arguments: joined(file.arguments, self.arguments),
            trust: self.trust.or(file.trust),
            minimum_eeprom: self.minimum_eeprom.or(file.minimum_eeprom),
        }
    }

    /// Checks that nothing is missing, and that the image would believe what `key` signs.
    pub fn complete(self, key: &PrivateKey) -> Result<Complete, ImageError> {
        let missing = |name: &'static str| ImageError::NotSaid(name);
        let board = self.board.ok_or(missing("board"))?;
        let version = self.version.ok_or(missing("version"))?;
        let version: Version = version.parse().map_err(|error| ImageError::Version(format!("{error}")))?;
        let release = Release {
            product: PRODUCT.into(),
            hardware: board.name().into(),
            version,
            built: self.built.ok_or(missing("built (or SOURCE_DATE_EPOCH)"))?,
        };
        let trust = trust(self.trust.as_deref(), &release, key)?;
        Ok(Complete {
            board,
            release,
            trust,
            kernel: self.kernel.ok_or(missing("kernel"))?,
            device_trees: self.device_trees,
            overlays: self.overlays,
            roots: self.roots,
            tables: self.tables,
            binary: self.binary.ok_or(missing("binary"))?,
            arguments: self.arguments,
            minimum_eeprom: self.minimum_eeprom.unwrap_or(0),
        })
    }
}

/// The image's trust.toml. One file serves all boards of a product, so `hardware` is filled in.
fn trust(path: Option<&Path>, release: &Release, key: &PrivateKey) -> Result<Trust, ImageError> {
    let Some(path) = path else {
        return Ok(Trust {
            product: release.product.clone(),
            hardware: release.hardware.clone(),
            minimum_version: Version::new(0, 0, 0),
            feed: String::new(),
            revoked: vec![],
            keys: vec![TrustedKey { name: "development".into(), public: key.public() }],
        });
    };
    let bad = |error: String| ImageError::Config { path: path.into(), error };
    let text = fs::read_to_string(path).map_err(ImageError::io(path))?;
    let mut trust = Trust::parse(&text).map_err(|error| bad(error.to_string()))?;
    if trust.product != release.product {
        return Err(bad(format!("it is for the product {:?}, not {:?}", trust.product, release.product)));
    }
    trust.hardware.clone_from(&release.hardware);
    trust.key(key.public().id()).map_err(|_| {
        bad(format!(
            "it does not believe the key {} that signs the image: the image would not believe itself",
            key.public().id()
        ))
    })?;
    if release.version < trust.minimum_version {
        return Err(bad(format!(
            "its minimum_version {} is above the release {}",
            trust.minimum_version, release.version
        )));
    }
    Ok(trust)
}
