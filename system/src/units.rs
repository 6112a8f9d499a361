//! Programs beside the pool that an image brings: `/etc/warppool/services/*.toml`, one file each.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use warppool_jail::Cell;

use crate::child::Launch;
use crate::supervise::Restart;
use crate::users::User;

pub const FOLDER: &str = "/etc/warppool/services";
/// Files that are looked at, and the size of one.
const MAX_FILES: usize = 32;
const MAX_BYTES: u64 = 16 * 1024;

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
}

impl Unit {
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
    fn no_folder_is_no_programs() {
        assert_eq!(read(Path::new("/does/not/exist")), (Vec::new(), Vec::new()));
    }
}
