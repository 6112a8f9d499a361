//! The pool as PID 1 sees it: how it is started, as usual and in safe mode, and which of its configurations is known to work.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use warppool_handover::TimeZone;
use warppool_jail::Cell;
use warppool_protocol::{PoolReport, SOCKET};

use crate::child::Launch;
use crate::console::say;
use crate::durable;
use crate::mounts::{DATA, POOL_RUN};
use crate::sockets::Sockets;
use crate::supervise::{Manner, Policy, Restart};
use crate::{aside, users, watchdog};

pub const NAME: &str = "pool";
pub const POLICY: Policy = Policy {
    restart: Restart::Always,
    heartbeat: Some(Duration::from_secs(30)),
    safe_mode: Some((5, Duration::from_mins(5))),
    grace: Duration::from_secs(20),
};
/// So long without a fault, and its configuration is one that works.
pub const PROVEN: Duration = Duration::from_mins(1);

const CONFIG: &str = "config.toml";
const SECRETS: &str = "secrets.toml";
/// The configuration that worked last, with the secrets that belong to it. In the pool's own folder: its jail knows no other.
const GOOD: [(&str, &str); 2] = [(CONFIG, "config.good.toml"), (SECRETS, "secrets.good.toml")];
/// One that asks for nothing, for where none has ever worked.
const PLAIN: &str = "config.plain.toml";
/// What an image has its pool begin with, beside its folder and ports; a node on the same device, for instance.
const OF_IMAGE: &str = "/etc/warppool/pool.toml";
const MAX_CONFIG: usize = 256 * 1024;
/// How long a small file may take to be durable.
const WRITE: Duration = Duration::from_mins(1);
/// Miners, nodes, files.
const OPEN_FILES: u64 = 65_536;

/// Raises what a process may open to what the pool may need; children inherit it. The answer is how far that went.
pub fn raise_limits() -> u64 {
    let raised = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    if let Err(why) = raised {
        say!("pool: may open {hard} files and connections, not {OPEN_FILES}: {why}");
    }
    hard.min(OPEN_FILES)
}

/// The pool's data folder.
pub fn folder() -> PathBuf {
    Path::new(DATA).join("pool")
}

/// What a device that was never set up runs with: enough for the page and the miners' port.
fn first_config(data_dir: &Path, of_image: &str) -> String {
    format!(
        "# Made by WarpPool at its first start. Every key: warppool default-config\n\n\
         [server]\ndata_dir = \"{}\"\nhttp_listen = \"127.0.0.1:80\"\n\n[stratum]\nlisten = \":3333\"\n{of_image}",
        data_dir.display()
    )
}

/// Sees to it that there is a configuration.
pub fn ensure_config(folder: &Path) {
    let path = folder.join(CONFIG);
    if path.exists() {
        return;
    }
    let of_image = read(Path::new(OF_IMAGE)).unwrap_or_default();
    match put(&path, first_config(folder, &String::from_utf8_lossy(&of_image)).as_bytes(), 0o600) {
        Ok(()) => say!("pool: made a first configuration"),
        Err(why) => say!("pool: no configuration can be made: {why}"),
    }
}

/// Puts a file that belongs to the pool in place.
pub fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let owner = nix::unistd::geteuid().is_root().then_some(users::POOL);
    durable::write_for(owner, path, bytes, mode)
}

/// Keeps the configuration that runs as one that works; nothing is written when it is known as that, and nothing when it is
/// another than the pool began with: that one has never been started with.
pub fn keep_good(folder: &Path, began_with: Changed) -> io::Result<bool> {
    let both = GOOD.map(|(name, good)| (good, read(&folder.join(name))));
    if changed_at(folder) != began_with {
        return Ok(false);
    }
    let mut changed = false;
    for (good, now) in both {
        if now == read(&folder.join(good)) {
            continue;
        }
        match now {
            Some(bytes) => put(&folder.join(good), &bytes, 0o600)?,
            None => durable::remove(&folder.join(good))?,
        }
        changed = true;
    }
    Ok(changed)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    durable::read(path, MAX_CONFIG).ok()
}

/// The configuration and the secrets for safe mode: the last that worked, and where that keeps dying too, or none has ever
/// worked, ones that ask for nothing.
fn safe_config(folder: &Path, plain: bool) -> io::Result<(PathBuf, Option<PathBuf>)> {
    let [config, secrets] = GOOD.map(|(_, good)| folder.join(good));
    if config.is_file() && !plain {
        return Ok((config, secrets.is_file().then_some(secrets)));
    }
    let path = folder.join(PLAIN);
    put(&path, first_config(folder, "").as_bytes(), 0o600)?;
    Ok((path, None))
}

/// When configuration and secrets were last changed.
pub type Changed = [Option<SystemTime>; 2];

/// When the owner last changed the configuration: a reason to leave safe mode.
pub fn changed_at(folder: &Path) -> Changed {
    [CONFIG, SECRETS].map(|name| std::fs::symlink_metadata(folder.join(name)).and_then(|about| about.modified()).ok())
}

/// How the pool is started.
pub fn launch(
    program: &Path,
    sockets: &Sockets,
    open_files: u64,
    zone: Option<&TimeZone>,
    manner: Manner,
) -> io::Result<Launch> {
    let folder = folder();
    let (config, secrets) = match manner {
        Manner::Usual => (folder.join(CONFIG), None),
        Manner::Safe | Manner::Plain => {
            let folder = folder.clone();
            let find = move || safe_config(&folder, manner == Manner::Plain);
            aside::wait("pool", WRITE, &mut watchdog::ping_from_main_thread, find)
                .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?
        }
    };
    let mut arguments = vec!["role".into(), "pool".into(), "--config".into(), config.into_os_string()];
    if let Some(secrets) = secrets {
        arguments.extend(["--secrets".into(), secrets.into_os_string()]);
    }
    if manner != Manner::Usual {
        arguments.push("--memory-ledger".into());
    }
    // What passes with the boot; its jail names this folder and takes it as it finds it.
    crate::mounts::folder_of(POOL_RUN, 0o700, users::POOL.uid, users::POOL.gid)?;
    let mut cell = Cell::new(users::POOL.uid, users::POOL.gid)
        .open_files(open_files)
        .environment("WARPPOOL_SYSTEM_SOCKET", SOCKET)
        .environment("HOME", &folder)
        .environment("TZ", zone.map_or("UTC", TimeZone::as_str));
    for (name, socket) in sockets {
        cell = cell.socket(name, socket)?;
    }
    Ok(Launch::new(NAME, program, arguments).cell(cell))
}

/// What it says of itself is what a healthy pool says, whatever its node does.
pub fn is_healthy(report: &PoolReport) -> bool {
    report.listening && report.api
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_first_configuration_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        ensure_config(folder.path());
        let path = folder.path().join(CONFIG);
        let text = fs::read_to_string(&path).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["server"]["data_dir"].as_str(), Some(folder.path().to_str().unwrap()));
        fs::write(&path, "# mine").unwrap();
        ensure_config(folder.path());
        assert_eq!(fs::read_to_string(&path).unwrap(), "# mine");
    }

    #[test]
    fn the_image_with_a_node_has_its_pool_begin_with_that_node() {
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/node/etc");
        let of_image = fs::read_to_string(overlay.join("warppool/pool.toml")).unwrap();
        let table: toml::Table = toml::from_str(&first_config(Path::new("/data/pool"), &of_image)).unwrap();
        let said = |key: &str| table["node"][key].as_str().unwrap().to_owned();
        let node = fs::read_to_string(overlay.join("bitcoin/bitcoin.conf")).unwrap();
        assert!(node.contains(&format!("zmqpubhashblock={}\n", said("zmq_hashblock_addr"))));
        let cookie = said("rpc_cookie_path");
        let cookie = cookie.strip_prefix("/data/bitcoin/").expect("in the node's folder");
        assert!(node.contains(&format!("rpccookiefile={cookie}\n")) && node.contains("rpccookieperms=group\n"));
    }

    #[test]
    fn what_worked_is_kept_with_its_secrets_and_written_only_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let safe = || {
            let (config, secrets) = safe_config(folder.path(), false).unwrap();
            (fs::read_to_string(config).unwrap(), secrets.map(|path| fs::read_to_string(path).unwrap()))
        };
        assert_eq!(safe(), (first_config(folder.path(), ""), None), "none has ever worked");
        write(CONFIG, "a = 1");
        write(SECRETS, "s = 1");
        let keep = || keep_good(folder.path(), changed_at(folder.path())).unwrap();
        assert!(keep());
        assert!(!keep());
        write(CONFIG, "a = broken");
        write(SECRETS, "s = broken");
        assert_eq!(safe(), ("a = 1".into(), Some("s = 1".into())));
        fs::remove_file(folder.path().join(SECRETS)).unwrap();
        assert!(keep());
        assert_eq!(safe(), ("a = broken".into(), None));
        let (config, secrets) = safe_config(folder.path(), true).unwrap();
        assert_eq!((fs::read_to_string(config).unwrap(), secrets), (first_config(folder.path(), ""), None));
    }

    #[test]
    fn a_configuration_that_was_changed_under_a_healthy_pool_is_not_one_that_worked() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), "a = 1").unwrap();
        let began_with = changed_at(folder.path());
        put(&folder.path().join(CONFIG), b"a = never started with", 0o600).unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options().write(true).open(folder.path().join(CONFIG)).unwrap().set_modified(later).unwrap();
        assert!(!keep_good(folder.path(), began_with).unwrap());
        assert!(!folder.path().join(GOOD[0].1).exists());
    }

    #[test]
    fn a_link_in_the_configuration_s_place_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join(CONFIG)).unwrap();
        keep_good(folder.path(), changed_at(folder.path())).unwrap();
        assert!(!folder.path().join(GOOD[0].1).exists());
    }

    #[test]
    fn a_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let before = changed_at(folder.path());
        fs::write(folder.path().join(SECRETS), "x").unwrap();
        assert_ne!(changed_at(folder.path()), before);
    }
}
