//! The file systems of a running machine. The root is the initramfs itself: all of it lies in memory, nothing depends on a disk.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::console::say;

/// Where runtime state lies.
pub const RUN: &str = "/run/warppool";
/// Where the pool keeps what passes with the boot.
pub const POOL_RUN: &str = "/run/warppool/pool";
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
fn table() -> [Mount; 9] {
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
        // The pool's own: full, it must not cost us our own state.
        Mount {
            source: "pool",
            target: POOL_RUN,
            kind: "tmpfs",
            flags: quiet,
            options: "mode=0700,size=8m,nr_inodes=1k",
        },
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
    // The kernel makes devices, but not the names by which programs find what they have open.
    for (name, to) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        let _ = symlink(format!("/proc/self/{to}"), format!("/dev/{name}"));
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
    fn each_file_system_is_mounted_after_the_one_it_lies_in_and_all_in_memory_are_bounded() {
        let table = table();
        for (at, mount) in table.iter().enumerate() {
            let within = |other: &Mount| Path::new(mount.target).starts_with(other.target);
            assert!(!table[at + 1..].iter().any(within), "{}", mount.target);
            assert!(mount.kind != "tmpfs" || mount.options.contains("size="), "{}", mount.target);
        }
        let of_the_pool = table.iter().find(|mount| mount.target == POOL_RUN).expect("the pool has its own");
        assert!(Path::new(of_the_pool.target).starts_with(RUN));
    }

    #[test]
    fn the_last_mount_at_a_place_counts() {
        let mounts = "rootfs / rootfs ro 0 0\n/dev/sda6 /data ext4 rw,noatime 0 0\ntmpfs /data tmpfs ro 0 0\n";
        assert_eq!(device_at(mounts, "/data"), Some(("tmpfs".into(), false)));
        assert_eq!(device_at(mounts, "/"), Some(("rootfs".into(), false)));
        assert_eq!(device_at(mounts, "/none"), None);
    }
}
