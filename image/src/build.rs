//! Everything of a release, in one folder: both initramfs parts, slot, bundle, disk image with its block map, checksums.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use warppool_ota::release::PATH as RELEASE;
use warppool_ota::trust::PATH as TRUST;
use warppool_ota::{Digest, Layout, MemDisk, PrivateKey};

use crate::error::ImageError;
use crate::recipe::Complete;
use crate::slot::Files;
use crate::tree::{Content, Tree};
use crate::{bmap, disk, initramfs, kernel, owners, slot};

/// The disk image holds files that are compressed already; a higher level takes longer and finds nothing.
const IMAGE_LEVEL: i32 = 9;

/// One file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// Makes everything into `folder`; `packed` says whether the disk image is compressed as well. Files of an earlier run with the
/// same names are replaced.
pub fn all(recipe: &Complete, key: &PrivateKey, folder: &Path, packed: bool) -> Result<Vec<Outcome>, ImageError> {
    fs::create_dir_all(folder).map_err(ImageError::io(folder))?;
    let files = files(recipe)?;
    let size = Layout::default().slot_a.bytes();
    let slot = slot::write(&files, recipe.board, &recipe.release, key, size.end - size.start)?;
    let mut bundle = Vec::new();
    let mut disk = MemDisk::from_bytes(slot);
    warppool_ota::bundle::write(&mut disk, &recipe.trust, recipe.minimum_eeprom, key, &mut bundle)?;

    let stem = format!("warppool-{}-{}", recipe.board.name(), recipe.release.version);
    let path = |extension: &str| folder.join(format!("{stem}.{extension}"));
    let mut made = Vec::new();
    for part in ["kernel.img", "base.cpio.zst", "pool.cpio.zst"] {
        made.push(store(&folder.join(part), &files[part])?);
    }
    made.push(store(&path("bundle"), &bundle)?);
    let image = path("img");
    let regions = disk::write(&image, disk.bytes(), recipe.release.built)?;
    let mut file = File::open(&image).map_err(ImageError::io(&image))?;
    let map = bmap::write(&mut file, &regions).map_err(ImageError::io(&image))?;
    made.push(store(&path("img.bmap"), map.as_bytes())?);
    made.push(hashed(&image)?);
    if packed {
        let packed = path("img.zst");
        compress(&image, &packed).map_err(ImageError::io(&packed))?;
        made.push(hashed(&packed)?);
    }

    let mut sums = String::new();
    for Outcome { path, sha256, .. } in &made {
        let _ = writeln!(sums, "{sha256}  {}", path.file_name().unwrap_or_default().display());
    }
    store(&path("sha256"), sums.as_bytes())?;
    Ok(made)
}

/// The files of the slot, but its manifest.
pub fn files(recipe: &Complete) -> Result<Files, ImageError> {
    let mut files = Files::new();
    files.insert("config.txt".into(), recipe.board.config().into());
    // A trial whose autoboot.txt is lost meanwhile: the firmware asks for this name then.
    files.insert("tryboot.txt".into(), recipe.board.config().into());
    files.insert("cmdline.txt".into(), recipe.board.cmdline(&recipe.arguments)?.into());
    files.insert("kernel.img".into(), kernel::read(&recipe.kernel)?);
    let base = base(&recipe.roots, &recipe.tables)?;
    files.insert("base.cpio.zst".into(), initramfs::pack("base.cpio.zst", &base, initramfs::LEVEL)?);
    files.insert("pool.cpio.zst".into(), pool_part(recipe, initramfs::LEVEL)?);
    for path in &recipe.device_trees {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| ImageError::BadName(path.clone()))?;
        files.insert(name.into(), fs::read(path).map_err(ImageError::io(path))?);
    }
    if let Some(folder) = &recipe.overlays {
        for entry in fs::read_dir(folder).map_err(ImageError::io(folder))? {
            let path = entry.map_err(ImageError::io(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "dtbo" || extension == "dtb") {
                let name =
                    path.file_name().and_then(|name| name.to_str()).ok_or_else(|| ImageError::BadName(path.clone()))?;
                files.insert(format!("overlays/{name}"), fs::read(&path).map_err(ImageError::io(&path))?);
            }
        }
    }
    Ok(files)
}

/// The part that changes seldom: everything but the pool. It depends on no version and no date.
pub fn base(roots: &[PathBuf], tables: &[PathBuf]) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    for root in roots {
        tree.overlay(root)?;
    }
    tree.apply(&owners::parse(owners::BASE)?)?;
    for table in tables {
        tree.apply(&owners::parse(&fs::read_to_string(table).map_err(ImageError::io(table))?)?)?;
    }
    Ok(tree)
}

/// The part that every release changes: the one binary, and whom and what the image is. `level` is zstd's.
pub fn pool_part(recipe: &Complete, level: i32) -> Result<Vec<u8>, ImageError> {
    let mut tree = Tree::default();
    tree.file("usr/bin/warppool", 0o755, Content::At(recipe.binary.clone()))?;
    tree.link("init", "usr/bin/warppool")?;
    for (path, text) in [(TRUST, recipe.trust.to_toml()), (RELEASE, recipe.release.to_toml())] {
        tree.file(path.trim_start_matches('/'), 0o644, Content::Here(text.into_bytes()))?;
    }
    initramfs::pack("pool.cpio.zst", &tree, level)
}

fn store(path: &Path, bytes: &[u8]) -> Result<Outcome, ImageError> {
    fs::write(path, bytes).map_err(ImageError::io(path))?;
    Ok(Outcome { path: path.into(), size: bytes.len() as u64, sha256: Digest::of(bytes) })
}

fn hashed(path: &Path) -> Result<Outcome, ImageError> {
    use sha2::Digest as _;
    let mut file = File::open(path).map_err(ImageError::io(path))?;
    let mut hash = sha2::Sha256::new();
    let size = io::copy(&mut file, &mut bmap::HashWriter(&mut hash)).map_err(ImageError::io(path))?;
    Ok(Outcome { path: path.into(), size, sha256: Digest(hash.finalize().into()) })
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::open(from)?;
    let size = file.metadata()?.len();
    let mut encoder = zstd::Encoder::new(File::create(to)?, IMAGE_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(size))?;
    io::copy(&mut file, &mut encoder)?;
    encoder.finish()?.flush()
}
