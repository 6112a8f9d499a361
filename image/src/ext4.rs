//! The data partition as it is flashed: small, empty, the same every time, and able to grow while it is mounted.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::error::ImageError;

/// File system label and id; nothing finds the partition by them, so that a second disk with the same ones does no harm.
pub const LABEL: &str = "warppool-data";
const UUID: &str = "57415250-504f-4f4c-8000-000000000006";
const HASH_SEED: &str = "57415250-504f-4f4c-8000-000000000106";

/// What the kernels of every release can mount, named one by one so that no mke2fs.conf has a say. Checksums find damage that
/// a cheap card hides; `64bit` and the reserved descriptors let it grow online to the 2 TiB that an MBR can name.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
large_file,huge_file,dir_nlink,extra_isize,metadata_csum";
/// 2 TiB in blocks of 4 KiB.
const GROWS_TO: &str = "resize=536870912";

/// Makes the file system in a file of its own, of this many bytes; `built` (Unix seconds) stands for every time in it.
pub fn make(path: &Path, size: u64, built: u64) -> Result<(), ImageError> {
    File::create(path).and_then(|file| file.set_len(size)).map_err(ImageError::io(path))?;
    let written = "nodiscard,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0";
    let extended = format!("{written},hash_seed={HASH_SEED},{GROWS_TO}");
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-O", FEATURES, "-E", &extended, "-U", UUID, "-L", LABEL]);
    // 4 KiB blocks and 4096 inodes a group hold for whatever size it grows to; the journal is as it will be on a large disk.
    mke2fs.args(["-b", "4096", "-I", "256", "-i", "16384", "-J", "size=16"]);
    // PID 1 can still write when the pool has filled the disk, and a damaged file system is not written to.
    mke2fs.args(["-m", "2", "-e", "remount-ro"]).arg(path).arg((size / 1024).to_string() + "k");
    // It lies in /sbin, which is not on every user's PATH.
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    mke2fs.env("PATH", paths).env("MKE2FS_CONFIG", "/dev/null").env("LC_ALL", "C");
    mke2fs.env("E2FSPROGS_FAKE_TIME", built.max(1).to_string());
    let failed = |reason: String| ImageError::Tool { program: "mke2fs (package e2fsprogs)", reason };
    let output = mke2fs.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        let _ = fs::remove_file(path);
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
