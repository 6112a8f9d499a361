//! Factory reset: everything goes but found blocks that are not settled. Begun by a durable mark and carried out at the next
//! boot, before anything reads the data, so that a power cut at any moment only has it done again. What can be removed is; what
//! cannot, on a damaged disk, is tried at three boots and then told.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::durable;

/// Holds a digit for each boot that has tried.
const MARK: &str = ".factory-reset";
const MOST_TRIES: usize = 3;
/// How long one may take: a node's files are some hundred gigabytes.
pub const PATIENCE: Duration = Duration::from_mins(30);
/// Where the pool keeps found blocks whose fate is open; its archive of settled ones lies in a folder below.
const SPOOL: [&str; 2] = ["pool", "spool"];
const BLOCK: &str = "block";

/// From here on it will happen.
pub fn request(data: &Path) -> io::Result<()> {
    durable::write(&data.join(MARK), b"", 0o600)
}

pub fn is_requested(data: &Path) -> bool {
    data.join(MARK).exists()
}

#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// Nothing was removed: a disk that does not even take the mark would be emptied at every start.
    #[error("the disk cannot be written: {0}; replace the disk")]
    Mark(#[source] io::Error),
    #[error("{left} files or folders cannot be removed ({first}); it goes on at the next start")]
    Unfinished { left: usize, first: String },
    #[error(
        "{MOST_TRIES} starts could not remove everything, and it is not tried again: what is left of the old settings may still be \
         on the disk; flash the image anew, or replace the disk"
    )]
    GivenUp,
}

/// Removes everything but unsettled blocks, then the mark. The answer is how many blocks stay.
pub fn carry_out(data: &Path) -> Result<usize, ResetError> {
    let mark = data.join(MARK);
    let tries = fs::metadata(&mark).map_or(0, |mark| mark.len()) as usize;
    if tries >= MOST_TRIES {
        durable::remove(&mark).map_err(ResetError::Mark)?;
        return Err(ResetError::GivenUp);
    }
    durable::write(&mark, "1".repeat(tries + 1).as_bytes(), 0o600).map_err(ResetError::Mark)?;
    let mut emptied = Emptied::default();
    emptied.empty(data, &SPOOL);
    let synced = durable::sync_folder(data);
    if let Some(first) = emptied.first {
        return Err(ResetError::Unfinished { left: emptied.left, first });
    }
    synced.and_then(|()| durable::remove(&mark)).map_err(ResetError::Mark)?;
    Ok(emptied.kept)
}

/// What has become of the files. One that cannot be removed keeps no other.
#[derive(Debug, Default)]
struct Emptied {
    kept: usize,
    left: usize,
    first: Option<String>,
}

impl Emptied {
    /// Empties a folder on the way to the spool, which begins with `way`.
    fn empty(&mut self, folder: &Path, way: &[&str]) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(why) => return self.failed(folder, &why),
        };
        for entry in entries {
            let (path, name, kind) = match entry.and_then(|it| Ok((it.path(), it.file_name(), it.file_type()?))) {
                Ok(known) => known,
                Err(why) => {
                    self.failed(folder, &why);
                    continue;
                }
            };
            match way {
                [next, rest @ ..] if kind.is_dir() && name == *next => self.empty(&path, rest),
                [] if kind.is_file() && path.extension().is_some_and(|it| it == BLOCK) => self.kept += 1,
                // The mark of an unfinished reset is the last to go. The file system's own folder is not ours.
                _ if name == MARK || name == "lost+found" => {}
                _ if kind.is_dir() => self.remove_folder(&path),
                _ => self.done(&path, fs::remove_file(&path)),
            }
        }
    }

    fn remove_folder(&mut self, path: &Path) {
        // Whole where that goes, else all in it that goes.
        if fs::remove_dir_all(path).is_err() {
            self.empty(path, &["/"]);
            self.done(path, fs::remove_dir(path));
        }
    }

    fn done(&mut self, path: &Path, result: io::Result<()>) {
        match result {
            Err(why) if why.kind() != io::ErrorKind::NotFound => self.failed(path, &why),
            _ => {}
        }
    }

    fn failed(&mut self, path: &Path, why: &io::Error) {
        self.left += 1;
        self.first.get_or_insert_with(|| format!("{}: {why}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_FILE: &str = "pool/spool/000840000-00ab.block";

    /// All files there are, by path.
    fn files(data: &Path) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let mut found = Vec::new();
        walk(data, data, &mut found);
        found.sort();
        found
    }

    fn filled() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for file in [
            BLOCK_FILE,
            "pool/spool/000840001-00cd.block.new",
            "pool/spool/archive/000830000-00ef.block",
            "pool/config.toml",
            "pool/ledger/data.mdb",
            "system/system.toml",
            "system/spool/x.block",
            "ota/state",
            "spool/y.block",
        ] {
            let path = data.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        std::os::unix::fs::symlink("/etc", data.path().join("pool/link")).unwrap();
        data
    }

    #[test]
    fn everything_goes_but_an_unsettled_block() {
        let data = filled();
        assert!(!is_requested(data.path()));
        request(data.path()).unwrap();
        assert!(is_requested(data.path()));
        assert_eq!(carry_out(data.path()).unwrap(), 1);
        assert_eq!(files(data.path()), [BLOCK_FILE]);
        assert!(!is_requested(data.path()));
        assert!(Path::new("/etc/passwd").exists(), "a link is removed, not followed");
    }

    #[test]
    fn a_reset_that_was_cut_short_is_carried_out_again() {
        let data = filled();
        request(data.path()).unwrap();
        fs::remove_dir_all(data.path().join("system")).unwrap();
        fs::remove_file(data.path().join("pool/config.toml")).unwrap();
        assert!(is_requested(data.path()), "the mark goes last");
        assert_eq!(carry_out(data.path()).unwrap(), 1);
        assert_eq!(carry_out(data.path()).unwrap(), 1);
        assert_eq!(files(data.path()), [BLOCK_FILE]);
    }

    #[test]
    fn what_cannot_be_removed_keeps_nothing_else_and_is_not_tried_for_ever() {
        let data = filled();
        let stuck = data.path().join("pool/ledger");
        // A mount stands for what a damaged file system will not let go of.
        let flags = nix::mount::MsFlags::empty();
        if nix::mount::mount(Some("stuck"), &stuck, Some("tmpfs"), flags, None::<&str>).is_err() {
            println!("NOT RUN: nothing can be mounted here");
            return;
        }
        request(data.path()).unwrap();
        for _ in 0..MOST_TRIES {
            assert!(matches!(carry_out(data.path()), Err(ResetError::Unfinished { .. })));
            assert_eq!(files(data.path()), [MARK, BLOCK_FILE]);
            assert!(is_requested(data.path()));
        }
        fs::write(data.path().join("pool/config.toml"), "made since").unwrap();
        assert!(matches!(carry_out(data.path()), Err(ResetError::GivenUp)));
        assert!(!is_requested(data.path()));
        assert!(data.path().join("pool/config.toml").exists(), "nothing is wiped any more");
        nix::mount::umount(&stuck).unwrap();
    }

    #[test]
    fn a_device_that_was_never_set_up_can_be_reset() {
        let data = tempfile::tempdir().unwrap();
        request(data.path()).unwrap();
        assert_eq!(carry_out(data.path()).unwrap(), 0);
    }
}
