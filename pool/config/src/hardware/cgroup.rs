//! What a container or service is allowed to use, by control groups of version 2 or 1.

use std::path::Path;

use super::read;

/// What the groups allow; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CgroupLimits {
    /// Rounded up: half a processor still is one thread.
    pub cpus: Option<u32>,
    pub memory: Option<u64>,
}

/// The tightest limits of this process's group and all above it.
pub(super) fn limits(root: &Path) -> CgroupLimits {
    let mut tightest = CgroupLimits::default();
    let membership = read(root, "proc/self/cgroup").unwrap_or_default();
    let group = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let mut folder = String::from("sys/fs/cgroup");
    tightest.tighten(version_2(root, &folder));
    for part in group.split('/').filter(|part| !part.is_empty() && *part != "..") {
        folder.push('/');
        folder.push_str(part);
        tightest.tighten(version_2(root, &folder));
    }
    // In a container version 1 shows the own group at the top of each controller.
    tightest.tighten(version_1(root));
    tightest
}

impl CgroupLimits {
    fn tighten(&mut self, other: Self) {
        fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        }
        self.cpus = least(self.cpus, other.cpus);
        self.memory = least(self.memory, other.memory);
    }
}

fn version_2(root: &Path, folder: &str) -> CgroupLimits {
    let cpus = read(root, &format!("{folder}/cpu.max")).and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        processors(quota.parse().ok()?, period.parse().ok()?)
    });
    let memory = read(root, &format!("{folder}/memory.max")).and_then(|text| text.trim().parse().ok());
    CgroupLimits { cpus, memory }
}

fn version_1(root: &Path) -> CgroupLimits {
    let number = |path: &str| read(root, path)?.trim().parse::<i64>().ok()?.try_into().ok();
    let quota = number("sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    let period = number("sys/fs/cgroup/cpu/cpu.cfs_period_us");
    CgroupLimits {
        cpus: quota.zip(period).and_then(|(quota, period)| processors(quota, period)),
        // "No limit" is a huge number here; the caller takes the least of it and the real memory.
        memory: number("sys/fs/cgroup/memory/memory.limit_in_bytes").filter(|bytes| *bytes < 1 << 50),
    }
}

fn processors(quota_us: u64, period_us: u64) -> Option<u32> {
    if quota_us == 0 || period_us == 0 {
        return None;
    }
    u32::try_from(quota_us.div_ceil(period_us)).ok()
}
