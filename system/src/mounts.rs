//! The file systems of a running machine. The root is the initramfs itself: all of it lies in memory, nothing depends on a disk.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::console::say;

/// Where runtime state lies.
pub const RUN: &str = "/run/warppool";
/// Where the data partition, or what stands in for it, lies.
pub const DATA: &str = "/data";

struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: &'static str,
}

/// In this order: /dev before what lies in it.
fn table() -> [Mount; 8] {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    [
        Mount { source: "proc", target: "/proc", kind: "proc", flags: quiet, options: "" },
        Mount { source: "sysfs", target: "/sys", kind: "sysfs", flags: quiet, options: "" },
        Mount {
            source: "devtmpfs",
            target: "/dev",
            kind: "devtmpfs",
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            options: "mode=0755",
        },
        Mount {
            source: "devpts",
            target: "/dev/pts",
            kind: "devpts",
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            options: "mode=0620,ptmxmode=0666",
        },
        Mount { source: "run", target: "/run", kind: "tmpfs", flags: quiet, options: "mode=0755,size=16m" },
        Mount { source: "tmp", target: "/tmp", kind: "tmpfs", flags: quiet, options: "mode=1777,size=32m" },
        Mount { source: "shm", target: "/dev/shm", kind: "tmpfs", flags: quiet, options: "mode=1777,size=8m" },
        Mount { source: "pstore", target: "/sys/fs/pstore", kind: "pstore", flags: quiet, options: "" },
    ]
}

/// Mounts all that a program may expect. What is mounted already stays; what this kernel does not have is left out, and told once
/// there is somewhere to tell it.
pub fn basics() -> Vec<String> {
    let mut missing = Vec::new();
    for Mount { source, target, kind, flags, options } in table() {
        if !Path::new(target).is_dir() {
            let _ = fs::create_dir_all(target);
        }
        match mount(Some(source), target, Some(kind), flags, Some(options)) {
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(_) if kind == "pstore" => {}
            Err(why) => missing.push(format!("{target} cannot be mounted: {why}")),
        }
    }
    if let Err(why) = folder(RUN, 0o755) {
        missing.push(format!("{RUN} cannot be made: {why}"));
    }
    missing
}

/// Makes a folder with these permission bits, also where it is there already.
pub fn folder(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let path = path.as_ref();
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes a folder that belongs to somebody.
pub fn folder_of(path: impl AsRef<Path>, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    let path = path.as_ref();
    folder(path, mode)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
}

/// From here on nothing of the root can be changed, by anybody.
pub fn seal_root() {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOATIME;
    if let Err(why) = mount(None::<&str>, "/", None::<&str>, flags, None::<&str>) {
        say!("mounts: the root stays writable: {why}");
    }
}

/// Unmounts for good; a file system that somebody still uses is made read-only, which also writes all of it out.
pub fn put_away(target: &str) {
    if umount2(target, MntFlags::empty()).is_ok() {
        return;
    }
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    if let Err(why) = mount(None::<&str>, target, None::<&str>, flags, None::<&str>) {
        say!("shutdown: {target} cannot be put away: {why}");
    }
}

/// The device mounted at a place, by the kernel's list.
pub fn device_at(mounts: &str, target: &str) -> Option<(String, bool)> {
    mounts.lines().rev().find_map(|line| {
        let mut words = line.split(' ');
        let (device, at, _, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
        (at == target).then(|| (device.to_owned(), options.split(',').any(|option| option == "rw")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_place_counts() {
        let mounts = "rootfs / rootfs ro 0 0\n/dev/sda6 /data ext4 rw,noatime 0 0\ntmpfs /data tmpfs ro 0 0\n";
        assert_eq!(device_at(mounts, "/data"), Some(("tmpfs".into(), false)));
        assert_eq!(device_at(mounts, "/"), Some(("rootfs".into(), false)));
        assert_eq!(device_at(mounts, "/none"), None);
    }
}
