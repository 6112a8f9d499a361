//! Drivers that are no part of the kernel: the board's list in `/etc/warppool/modules`, one name a line.

use std::path::Path;
use std::time::Duration;

use crate::child::{Launch, run};
use crate::console::say;
use crate::durable;
use crate::reaper::Reaper;

pub const LIST: &str = "/etc/warppool/modules";
const MODPROBE: &str = "/sbin/modprobe";
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_LIST: usize = 16 * 1024;

/// The names in a list; `#` begins a comment.
pub fn names(list: &str) -> Vec<String> {
    list.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_alphanumeric()))
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)))
        .map(str::to_owned)
        .collect()
}

/// Loads them all with one call; a driver that is not there or has no hardware is told by modprobe in the log, and no fault.
pub fn load(reaper: &Reaper, list: &Path, idle: impl FnMut()) {
    let Ok(text) = durable::read(list, MAX_LIST) else { return };
    let names = names(&String::from_utf8_lossy(&text));
    if names.is_empty() {
        return;
    }
    let count = names.len();
    let arguments = ["-a".to_owned(), "-q".to_owned()].into_iter().chain(names);
    match run(reaper, &Launch::new("modprobe", MODPROBE, arguments), PATIENCE, idle) {
        Ok(done) if done.exit.is_success() => {}
        Ok(done) => say!("modules: modprobe of {count} drivers {}; some hardware may be missing", done.exit),
        Err(why) => say!("modules: {why}; some hardware may be missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_names_comments_and_nothing_else() {
        let list = "# disks\nnvme\n\n ext4 # data\n-r everything\n../x\nvirtio_net\n--version\n";
        assert_eq!(names(list), ["nvme", "ext4", "virtio_net"]);
    }
}
