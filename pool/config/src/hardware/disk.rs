//! What kind of disk a folder lies on: an SD card wears out by writes, a solid-state disk hardly.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read;

/// A kind of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Storage {
    SdCard,
    /// Soldered flash behind the same interface as an SD card.
    Emmc,
    Nvme,
    /// A disk that does not rotate.
    Ssd,
    /// A disk that rotates.
    Hdd,
    /// A network file system, memory, or a system that does not tell.
    Unknown,
}

/// What `folder` lies on.
pub(super) fn of(root: &Path, folder: &Path) -> Storage {
    let Some(mount) = mount_of(root, &real(root, folder)) else { return Storage::Unknown };
    // The kernel's link from the device number to its place among the devices names the disk even where the mount says only
    // `/dev/root`; the name in the mount serves where /sys is hidden.
    let link = std::fs::read_link(root.join("sys/dev/block").join(&mount.device));
    let place = link.unwrap_or_else(|_| PathBuf::from(&mount.source));
    by_place(root, &place).unwrap_or(Storage::Unknown)
}

/// `folder` with the symbolic links in the part of it that exists followed.
fn real(root: &Path, folder: &Path) -> PathBuf {
    let Ok(real_root) = root.canonicalize() else { return folder.to_owned() };
    if !folder.has_root() {
        return folder.to_owned();
    }
    for there in folder.ancestors() {
        let Ok(real) = root.join(there.strip_prefix("/").unwrap_or(there)).canonicalize() else { continue };
        let (Ok(real), Ok(rest)) = (real.strip_prefix(&real_root), folder.strip_prefix(there)) else { break };
        return Path::new("/").join(real).join(rest);
    }
    folder.to_owned()
}

fn by_place(root: &Path, place: &Path) -> Option<Storage> {
    let parts: Vec<&str> = place.iter().filter_map(|part| part.to_str()).collect();
    if let Some(card) = parts.iter().find(|part| part.starts_with("mmcblk")) {
        let disk = card.split_once('p').map_or(*card, |(disk, _)| disk);
        let kind = read(root, &format!("sys/block/{disk}/device/type"));
        return Some(if kind.is_some_and(|kind| kind.trim() == "MMC") { Storage::Emmc } else { Storage::SdCard });
    }
    let name = *parts.last()?;
    if name.starts_with("nvme") {
        return Some(Storage::Nvme);
    }
    // Encrypted and logical volumes lie on other disks: the first one tells.
    if name.starts_with("dm-") {
        let below = std::fs::read_dir(root.join(format!("sys/block/{name}/slaves"))).ok()?;
        let mut below: Vec<_> = below.flatten().map(|entry| entry.file_name()).collect();
        below.sort();
        let below = below.into_iter().next().filter(|below| !below.to_string_lossy().starts_with("dm-"))?;
        return by_place(root, Path::new(&below));
    }
    let disk = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let rotates = read(root, &format!("sys/block/{disk}/queue/rotational"))?;
    Some(if rotates.trim() == "0" { Storage::Ssd } else { Storage::Hdd })
}

struct Mount {
    /// `major:minor`.
    device: String,
    source: String,
}

/// The mount that holds `folder`: the longest mount point that is a beginning of it, the last one where several are equal.
fn mount_of(root: &Path, folder: &Path) -> Option<Mount> {
    let mut best: Option<(usize, Mount)> = None;
    for line in read(root, "proc/self/mountinfo")?.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let (Some(device), Some(point)) = (left.get(2), left.get(4)) else { continue };
        let Some(source) = right.split(' ').nth(1) else { continue };
        let point = point.replace("\\040", " ");
        let depth = Path::new(&point).iter().count();
        if folder.starts_with(&point) && best.as_ref().is_none_or(|(best, _)| depth >= *best) {
            best = Some((depth, Mount { device: (*device).to_owned(), source: source.to_owned() }));
        }
    }
    best.map(|(_, mount)| mount)
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const MOUNTS: &str = "\
22 1 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw
23 22 259:1 / /var/lib rw - ext4 /dev/nvme0n1p1 rw
24 22 8:17 / /mnt/usb\\040disk rw - ext4 /dev/sdb1 rw
25 22 0:40 / /nas rw - nfs4 nas:/pool rw
26 22 253:0 / /crypt rw - ext4 /dev/mapper/data rw
27 22 179:9 / /emmc rw - ext4 /dev/mmcblk1p1 rw
28 22 8:1 / /spin rw - ext4 /dev/sda1 rw
29 22 179:2 / /tmp rw - tmpfs tmpfs rw
";

    #[test]
    fn the_disk_is_the_one_of_the_deepest_mount() {
        #[track_caller]
        fn case(root: &Path, folder: &str, expected: Storage) {
            assert_eq!(of(root, Path::new(folder)), expected, "{folder}");
        }
        let root = tree(&[
            ("proc/self/mountinfo", MOUNTS),
            ("sys/block/mmcblk1/device/type", "MMC\n"),
            ("sys/block/sda/queue/rotational", "1\n"),
            ("sys/block/sdb/queue/rotational", "0\n"),
        ]);
        case(root.path(), "/home/pool/data", Storage::SdCard);
        case(root.path(), "/var/lib/warppool", Storage::Nvme);
        case(root.path(), "/var/library", Storage::SdCard);
        case(root.path(), "/mnt/usb disk/pool", Storage::Ssd);
        case(root.path(), "/spin", Storage::Hdd);
        case(root.path(), "/nas/pool", Storage::Unknown);
        case(root.path(), "/emmc", Storage::Emmc);
        case(root.path(), "/tmp/x", Storage::Unknown);
        case(root.path(), "/crypt", Storage::Unknown);
        case(root.path(), "relative", Storage::Unknown);
    }

    #[cfg(unix)]
    #[test]
    fn a_data_folder_behind_a_link_is_where_the_link_leads() {
        let root = tree(&[("proc/self/mountinfo", MOUNTS), ("var/lib/pool/x", "")]);
        std::fs::create_dir(root.path().join("home")).unwrap();
        std::os::unix::fs::symlink("../var/lib/pool", root.path().join("home/data")).unwrap();
        assert_eq!(of(root.path(), Path::new("/home/data/not/yet")), Storage::Nvme);
        assert_eq!(of(root.path(), Path::new("/home/other")), Storage::SdCard);
    }

    #[cfg(unix)]
    #[test]
    fn the_kernel_s_own_link_names_the_disk_behind_dev_root_and_an_encrypted_volume() {
        let mounts = "1 0 179:2 / / rw - ext4 /dev/root rw\n2 1 253:0 / /crypt rw - ext4 /dev/mapper/x rw\n";
        let root = tree(&[("proc/self/mountinfo", mounts), ("sys/block/dm-0/slaves/nvme0n1p3/size", "1")]);
        let links = root.path().join("sys/dev/block");
        std::fs::create_dir_all(&links).unwrap();
        let card = "../../devices/platform/soc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/mmcblk0p2";
        std::os::unix::fs::symlink(card, links.join("179:2")).unwrap();
        std::os::unix::fs::symlink("../../devices/virtual/block/dm-0", links.join("253:0")).unwrap();
        assert_eq!(of(root.path(), Path::new("/data")), Storage::SdCard);
        assert_eq!(of(root.path(), Path::new("/crypt")), Storage::Nvme);
    }
}
