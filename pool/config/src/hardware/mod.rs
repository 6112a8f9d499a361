//! What the machine can carry: processors and memory as far as a container may use them, the model of a Raspberry Pi, and
//! what kind of disk the data lies on.
//!
//! Everything is read below a root folder that is an argument, so that tests bring their own `/proc` and `/sys`. What cannot
//! be read is unknown, never an error.

mod cgroup;
mod disk;

use std::path::Path;

use serde::Serialize;

pub use self::disk::Storage;
use crate::profile::ProfileKind;

/// The machine as the pool sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hardware {
    /// Processors this process may use, at least 1.
    pub cpus: u32,
    /// Bytes of memory this process may use; `None` where the system does not tell.
    pub memory: Option<u64>,
    pub container: bool,
    /// As the device tree names it, e.g. `Raspberry Pi 5 Model B Rev 1.0`.
    pub pi_model: Option<String>,
    /// What the data folder lies on.
    pub storage: Storage,
}

impl Default for Hardware {
    /// One processor and nothing else known.
    fn default() -> Self {
        Self { cpus: 1, memory: None, container: false, pi_model: None, storage: Storage::Unknown }
    }
}

const GIB: u64 = 1 << 30;

impl Hardware {
    /// Looks at the machine whose file system starts at `root` (`/` outside tests). `data_dir` is absolute, seen from `root`;
    /// it need not exist yet.
    pub fn detect(root: &Path, data_dir: &Path) -> Self {
        let cpus = cpus_online(root).unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
        });
        let memory = memory_total(root);
        let limits = cgroup::limits(root);
        Self {
            cpus: limits.cpus.map_or(cpus, |quota| quota.min(cpus)).max(1),
            memory: match (memory, limits.memory) {
                (Some(total), Some(limit)) => Some(total.min(limit)),
                (total, limit) => total.or(limit),
            },
            container: is_container(root),
            pi_model: pi_model(root),
            storage: disk::of(root, data_dir),
        }
    }

    /// The largest profile this machine carries with ease, a Bitcoin Core beside it in mind.
    pub fn recommended_profile(&self) -> ProfileKind {
        let memory = self.memory.unwrap_or(4 * GIB);
        let old_pi = self.pi_model.as_deref().is_some_and(|model| pi_generation(model).is_none_or(|n| n < 4));
        if memory < GIB || old_pi {
            return ProfileKind::Small;
        }
        // A nominal 8 GiB shows as less: firmware and kernel take their part first.
        if memory < 7 * GIB || self.cpus < 4 || self.storage == Storage::SdCard {
            return ProfileKind::Medium;
        }
        if memory < 28 * GIB || self.cpus < 8 || self.pi_model.is_some() {
            return ProfileKind::Large;
        }
        ProfileKind::Enterprise
    }
}

/// 5 for `Raspberry Pi 5 Model B Rev 1.0` and `Raspberry Pi Compute Module 5 …`; `None` for those without a number (Zero, Model B).
fn pi_generation(model: &str) -> Option<u32> {
    let rest = model.strip_prefix("Raspberry Pi ")?;
    let rest = rest.strip_prefix("Compute Module ").unwrap_or(rest);
    // A Pi 400 or 500 is a Pi 4 or 5 in a keyboard.
    rest.bytes().next().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'))
}

fn read(root: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(root.join(path)).ok()
}

/// From a list such as `0-3,5`.
fn cpus_online(root: &Path) -> Option<u32> {
    let list = read(root, "sys/devices/system/cpu/online")?;
    let mut count = 0_u32;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

fn memory_total(root: &Path) -> Option<u64> {
    let text = read(root, "proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn is_container(root: &Path) -> bool {
    const RUNTIMES: [&str; 5] = ["docker", "kubepods", "containerd", "libpod", "/lxc/"];
    root.join(".dockerenv").exists()
        || root.join("run/.containerenv").exists()
        || read(root, "proc/1/cgroup").is_some_and(|text| RUNTIMES.iter().any(|name| text.contains(name)))
}

fn pi_model(root: &Path) -> Option<String> {
    let model = read(root, "proc/device-tree/model")?;
    let model = model.trim_end_matches(['\0', '\n']);
    model.starts_with("Raspberry Pi").then(|| model.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root folder with these files.
    pub(super) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    const MEMINFO_8G: (&str, &str) = ("proc/meminfo", "MemTotal:        8245040 kB\nMemFree: 1 kB\n");
    const FOUR_CPUS: (&str, &str) = ("sys/devices/system/cpu/online", "0-3\n");

    fn detect(files: &[(&str, &str)]) -> Hardware {
        Hardware::detect(tree(files).path(), Path::new("/data"))
    }

    #[test]
    fn a_pi_5_is_recognised_with_its_memory_and_processors() {
        let model = ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
        let hardware = detect(&[MEMINFO_8G, FOUR_CPUS, model]);
        assert_eq!(hardware.pi_model.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert_eq!((hardware.cpus, hardware.memory), (4, Some(8_245_040 * 1024)));
        assert!(!hardware.container);
        assert_eq!(hardware.recommended_profile(), ProfileKind::Large);
    }

    #[test]
    fn another_board_s_device_tree_is_no_pi() {
        assert_eq!(detect(&[("proc/device-tree/model", "linux,dummy-virt\0")]).pi_model, None);
    }

    #[test]
    fn a_container_may_use_what_its_limits_leave() {
        #[track_caller]
        fn case(files: &[(&str, &str)], cpus: u32, memory: u64) {
            let hardware = detect(&[&[MEMINFO_8G, FOUR_CPUS], files].concat());
            assert_eq!((hardware.cpus, hardware.memory), (cpus, Some(memory)), "{files:?}");
        }
        let whole = 8_245_040 * 1024;
        case(
            &[("sys/fs/cgroup/memory.max", "536870912\n"), ("sys/fs/cgroup/cpu.max", "150000 100000\n")],
            2,
            536_870_912,
        );
        case(&[("sys/fs/cgroup/memory.max", "max\n"), ("sys/fs/cgroup/cpu.max", "max 100000\n")], 4, whole);
        case(
            &[
                ("proc/self/cgroup", "0::/user.slice/pool.service\n"),
                ("sys/fs/cgroup/user.slice/memory.max", "1073741824\n"),
                ("sys/fs/cgroup/user.slice/pool.service/memory.max", "2147483648\n"),
            ],
            4,
            1 << 30,
        );
        case(
            &[
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ],
            1,
            1 << 30,
        );
        case(
            &[
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ],
            4,
            whole,
        );
    }

    #[test]
    fn a_container_is_known_by_the_marks_of_its_runtime() {
        assert!(detect(&[(".dockerenv", "")]).container);
        assert!(detect(&[("run/.containerenv", "")]).container);
        assert!(detect(&[("proc/1/cgroup", "1:name=systemd:/kubepods/besteffort/pod1\n")]).container);
        assert!(!detect(&[("proc/1/cgroup", "0::/init.scope\n")]).container);
    }

    #[test]
    fn what_cannot_be_read_or_makes_no_sense_is_unknown() {
        let nothing = detect(&[]);
        assert!(nothing.cpus >= 1);
        assert_eq!((nothing.memory, nothing.pi_model, nothing.storage), (None, None, Storage::Unknown));
        let nonsense = [
            ("proc/meminfo", "MemTotal: many kB"),
            ("sys/devices/system/cpu/online", "3-0"),
            ("sys/fs/cgroup/cpu.max", "100 0"),
            ("sys/fs/cgroup/memory.max", "-5"),
            ("proc/self/mountinfo", "x - \n 1 2 3:4 / /"),
        ];
        let hardware = detect(&nonsense);
        assert!(hardware.cpus >= 1);
        assert_eq!((hardware.memory, hardware.storage), (None, Storage::Unknown));
    }

    #[test]
    fn the_recommended_profile_fits_the_machine() {
        #[track_caller]
        fn case(cpus: u32, gib: u64, pi: Option<&str>, storage: Storage, expected: ProfileKind) {
            let pi_model = pi.map(str::to_owned);
            let hardware = Hardware { cpus, memory: Some(gib * GIB), container: false, pi_model, storage };
            assert_eq!(hardware.recommended_profile(), expected, "{hardware:?}");
        }
        case(1, 0, None, Storage::Unknown, ProfileKind::Small);
        case(4, 1, Some("Raspberry Pi 3 Model B Plus Rev 1.3"), Storage::SdCard, ProfileKind::Small);
        case(4, 1, Some("Raspberry Pi Zero 2 W Rev 1.0"), Storage::SdCard, ProfileKind::Small);
        case(4, 8, Some("Raspberry Pi 4 Model B Rev 1.4"), Storage::SdCard, ProfileKind::Medium);
        case(4, 8, Some("Raspberry Pi 5 Model B Rev 1.0"), Storage::SdCard, ProfileKind::Medium);
        case(4, 8, Some("Raspberry Pi 5 Model B Rev 1.0"), Storage::Nvme, ProfileKind::Large);
        case(4, 16, Some("Raspberry Pi Compute Module 5 Rev 1.0"), Storage::Nvme, ProfileKind::Large);
        case(4, 8, Some("Raspberry Pi 500 Rev 1.0"), Storage::Nvme, ProfileKind::Large);
        case(2, 64, None, Storage::Ssd, ProfileKind::Medium);
        case(16, 16, None, Storage::Nvme, ProfileKind::Large);
        case(16, 32, None, Storage::Nvme, ProfileKind::Enterprise);
    }
}
