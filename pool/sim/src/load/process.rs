//! What a process has used: CPU time of all its threads and resident memory, from /proc, and our own limit of open
//! files. Where there is no /proc, asking is an error that says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time, of the process and all its threads, those that ended included.
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
}

/// Both figures at this moment. CPU time comes in clock ticks (10 ms): measure for seconds.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    ensure!(
        cfg!(target_os = "linux"),
        "the CPU time and memory of another process can be read on Linux only; leave --pid out"
    );
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}"))
            .with_context(|| format!("process {pid} cannot be measured; is that the pool's process id?"))
    };
    let ticks = cpu_ticks(&read("stat")?).with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
    let resident_kib = resident_kib(&read("status")?).with_context(|| format!("/proc/{pid}/status has no VmRSS"))?;
    Ok(Usage { cpu: Duration::from_secs_f64(ticks as f64 / ticks_per_second()), resident_bytes: resident_kib * 1024 })
}

/// utime + stime, fields 14 and 15; the second field is a name in parentheses that may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(unix)]
fn ticks_per_second() -> f64 {
    use nix::unistd::{SysconfVar, sysconf};
    sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100.0, |ticks| ticks as f64)
}

#[cfg(not(unix))]
fn ticks_per_second() -> f64 {
    100.0
}

/// Lets this process have so many files open, or says what stands against it.
#[cfg(unix)]
pub(crate) fn allow_open_files(wanted: u64) -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files cannot be read")?;
    if soft >= wanted {
        return Ok(());
    }
    let advice =
        || format!("{wanted} open files are needed and {hard} allowed; run `ulimit -Hn {wanted}` as root first");
    // A privileged process may raise the hard limit as well.
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).with_context(advice)
}

#[cfg(not(unix))]
pub(crate) fn allow_open_files(_: u64) -> Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20 0 8 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(154));
        for broken in ["", "42", "42 (x) S 1", "42 (x) S 1 2 3 4 5 6 7 8 9 10 x 34"] {
            assert_eq!(cpu_ticks(broken), None, "{broken}");
        }
    }

    #[test]
    fn our_own_usage_grows_with_work_and_a_missing_process_is_named() {
        let before = usage(std::process::id()).unwrap();
        let begun = std::time::Instant::now();
        let mut sum = 0u64;
        while usage(std::process::id()).unwrap().cpu <= before.cpu {
            sum = (0..100_000).fold(sum, |sum, one| std::hint::black_box(sum.wrapping_add(one)));
            assert!(begun.elapsed() < Duration::from_secs(10), "no CPU time was counted ({sum})");
        }
        assert!(before.resident_bytes > 1 << 20);
        // Process ids end far below this one.
        assert!(usage(u32::MAX).unwrap_err().to_string().contains("4294967295"));
    }

    #[test]
    fn the_limit_of_open_files_is_raised_when_it_must_be() {
        use nix::sys::resource::{Resource, getrlimit};
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        allow_open_files(soft.min(64)).unwrap();
        if soft < hard {
            allow_open_files(soft + 1).unwrap();
            assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, soft + 1);
        }
    }
}
