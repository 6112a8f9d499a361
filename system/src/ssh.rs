//! A way in by SSH: only where the image brings dropbear and the owner has handed over a key. No passwords, ever.

use std::io;
use std::path::Path;
use std::time::Duration;

use warppool_handover::SshKey;

use crate::child::Launch;
use crate::durable;
use crate::supervise::{Policy, Restart};

pub const NAME: &str = "ssh";
pub const POLICY: Policy =
    Policy { restart: Restart::Always, heartbeat: None, safe_mode: None, grace: Duration::from_secs(5) };
const DROPBEAR: &str = "/usr/sbin/dropbear";

pub fn is_possible(keys: &[SshKey]) -> bool {
    !keys.is_empty() && Path::new(DROPBEAR).exists()
}

/// Puts the keys where dropbear looks for them.
pub fn put_keys(data: &Path, keys: &[SshKey]) -> io::Result<()> {
    let lines: String = keys.iter().flat_map(|key| [key.as_str(), "\n"]).collect();
    durable::write(&data.join("ssh/authorized_keys"), lines.as_bytes(), 0o600)
}

/// In the foreground, log to standard error, no passwords, no forwarding, a host key made at the first connection.
pub fn launch(data: &Path) -> Launch {
    let folder = data.join("ssh");
    let host_key = folder.join("host_key");
    let arguments = ["-F", "-E", "-s", "-j", "-k", "-R", "-r"].into_iter().map(std::ffi::OsString::from).chain([
        host_key.into_os_string(),
        "-D".into(),
        folder.into_os_string(),
    ]);
    Launch::new(NAME, DROPBEAR, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_there_is_no_way_in() {
        assert!(!is_possible(&[]));
    }
}
