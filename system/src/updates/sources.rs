//! Bundles that lie on this device or on a USB stick: opened here, read by a child.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc;

use crate::disk::BootDisk;
use crate::mounts::DATA;
use crate::users;

/// A bundle as a file. Who is not root may name files of the pool's data alone: what PID 1 opens, it opens with root's eyes.
pub fn file(path: &Path, by: u32) -> Result<File, String> {
    let shown = path.display();
    let real = fs::canonicalize(path).map_err(|why| format!("{shown}: {why}"))?;
    let allowed: PathBuf = Path::new(DATA).join("pool");
    if by != users::ROOT.uid && !real.starts_with(&allowed) {
        return Err(format!("{shown} does not lie in {}: put it there", allowed.display()));
    }
    open(&real).map_err(|why| format!("{shown}: {why}"))
}

fn open(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    Ok(file)
}

/// The USB stick that is plugged in.
pub fn stick(boot: &BootDisk) -> Result<File, String> {
    let names = fs::read_dir("/sys/block").into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let name = pick(names, &boot.name())?;
    let path = Path::new("/dev").join(name);
    File::open(&path).map_err(|why| format!("{}: {why}", path.display()))
}

/// The one disk that may be a stick: on USB, and not the one that was booted.
fn pick(mut names: Vec<String>, boot: &str) -> Result<String, String> {
    names.retain(|name| name.starts_with("sd") && name != boot);
    names.sort();
    match names.as_slice() {
        [] => Err("there is no USB stick; plug one in that holds a bundle".into()),
        [only] => Ok(only.clone()),
        _ => Err("there is more than one USB stick; leave only the one with the bundle plugged in".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stick_is_the_one_disk_on_usb_that_was_not_booted() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(pick(names(&["nvme0n1", "sda", "loop0"]), "nvme0n1").unwrap(), "sda");
        assert_eq!(pick(names(&["sda", "sdb"]), "sda").unwrap(), "sdb");
        assert!(pick(names(&["sda"]), "sda").unwrap_err().contains("plug one in"));
        assert!(pick(names(&["sda", "sdb"]), "mmcblk0").unwrap_err().contains("more than one"));
    }

    #[test]
    fn the_pool_cannot_have_other_files_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wpb");
        fs::write(&path, "x").unwrap();
        assert!(file(&path, users::ROOT.uid).is_ok());
        assert!(file(&path, users::POOL.uid).unwrap_err().contains("put it there"));
        assert!(file(Path::new("/data/pool/../../etc/passwd"), users::POOL.uid).is_err());
        assert!(file(folder.path(), users::ROOT.uid).unwrap_err().contains("plain file"));
    }
}
