//! Programs beside the pool that an image brings: `/etc/warppool/services/*.toml`, one file each.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;
use warppool_jail::Cell;

use crate::child::Launch;
use crate::mounts::folder_of;
use crate::supervise::{Policy, Restart};
use crate::users::{self, User};

pub const FOLDER: &str = "/etc/warppool/services";
/// Files that are looked at, and the size of one.
const MAX_FILES: usize = 32;
const MAX_BYTES: u64 = 16 * 1024;
/// Nobody holds up a restart for longer, seconds.
const MAX_STOP: u64 = 300;

/// One program, named as its file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    #[serde(skip)]
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whom it runs as; never root unless it says so.
    pub user: String,
    #[serde(default)]
    pub restart: Restart,
    /// Without this file it is not started.
    pub only_if_exists: Option<PathBuf>,
    #[serde(default)]
    pub after: After,
    /// How long it may take to end by itself.
    #[serde(default = "stop_seconds")]
    stop_seconds: u64,
}

fn stop_seconds() -> u64 {
    10
}

impl Unit {
    pub fn policy(&self) -> Policy {
        let grace = Duration::from_secs(self.stop_seconds.min(MAX_STOP));
        Policy { restart: self.restart, heartbeat: None, safe_mode: None, grace }
    }

    /// Makes its user's home on the data partition, when it will be started at all. Its group may look in, as the pool does for a
    /// node's cookie; the pool's jail takes the folder as it finds it, so that this comes first.
    pub fn make_home(&self, data: &Path) -> io::Result<()> {
        let Some(user) = users::by_name(&self.user).filter(|_| self.is_wanted()) else { return Ok(()) };
        match users::home(&self.user).filter(|home| home.parent() == Some(data)) {
            Some(home) => folder_of(&home, 0o750, user.uid, user.gid),
            None => Ok(()),
        }
    }

    /// What it asks for is there.
    pub fn is_wanted(&self) -> bool {
        self.only_if_exists.as_ref().is_none_or(|path| path.exists())
    }

    /// How it is started, as its user and without any of root's powers.
    pub fn launch(&self, user: User) -> io::Result<Launch> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let cell = Cell::new(user.uid, user.gid).environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(Launch::new(&self.name, program, arguments).cell(cell))
    }
}

/// What must be there first.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    #[default]
    Boot,
    /// The data partition can be written.
    Data,
    /// An interface has an address.
    Network,
}

/// Reads all, by name. What is wrong with a file is in the second list; the others count all the same.
pub fn read(folder: &Path) -> (Vec<Unit>, Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return (Vec::new(), Vec::new()) };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .take(MAX_FILES)
        .collect();
    paths.sort();
    let (mut units, mut wrong) = (Vec::new(), Vec::new());
    for path in paths {
        match read_one(&path) {
            Ok(unit) => units.push(unit),
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
        }
    }
    (units, wrong)
}

fn read_one(path: &Path) -> Result<Unit, String> {
    if fs::metadata(path).map_err(|why| why.to_string())?.len() > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|why| why.to_string())?;
    let mut unit: Unit = toml::from_str(&text).map_err(|why| why.to_string().trim_end().replace('\n', " "))?;
    if !unit.command.first().is_some_and(|program| program.starts_with('/')) {
        return Err("command must begin with a program's whole path".into());
    }
    unit.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_a_program_and_a_wrong_one_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("b.toml", "command = ['/usr/bin/b', '-x']\nuser = 'bitcoin'\nafter = 'data'\nrestart = 'on-failure'");
        write("a.toml", "command = ['/a']\nuser = 'root'\nonly_if_exists = '/data/a'");
        write("c.toml", "command = ['c']\nuser = 'root'");
        write("d.toml", "command = []\nuser = 'root'");
        write("e.toml", "command = ['/e']");
        write("f.toml", "command = ['/f']\nuser = 'root'\nnice = 3");
        write("README", "no service");
        let (units, wrong) = read(folder.path());
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(units[0].after, After::Boot);
        assert_eq!((units[1].after, units[1].restart), (After::Data, Restart::OnFailure));
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].contains("whole path"), "{wrong:?}");
    }

    #[test]
    fn the_node_of_the_image_has_time_to_write_out_and_others_a_little() {
        let (units, wrong) =
            read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/node/etc/warppool/services"));
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!((units[0].name.as_str(), units[0].policy().grace), ("bitcoind", Duration::from_mins(2)));
        let folder = tempfile::tempdir().unwrap();
        for (name, stop, grace) in [("a", "", 10), ("b", "stop_seconds = 9999", 300)] {
            let path = folder.path().join(format!("{name}.toml"));
            fs::write(&path, format!("command = ['/a']\nuser = 'root'\n{stop}")).unwrap();
            assert_eq!(read_one(&path).unwrap().policy().grace, Duration::from_secs(grace));
        }
    }

    #[test]
    fn no_folder_is_no_programs() {
        assert_eq!(read(Path::new("/does/not/exist")), (Vec::new(), Vec::new()));
    }
}
