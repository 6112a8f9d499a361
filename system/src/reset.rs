//! Factory reset: everything goes but found blocks that are not settled. Begun by a durable mark and carried out at the next
//! boot, before anything reads the data, so that a power cut at any moment only has it done again.

use std::fs;
use std::io;
use std::path::Path;

use crate::durable;

const MARK: &str = ".factory-reset";
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

/// Removes everything but unsettled blocks, then the mark. The answer is how many blocks stay.
pub fn carry_out(data: &Path) -> io::Result<usize> {
    let kept = empty(data, &SPOOL)?;
    durable::sync_folder(data)?;
    durable::remove(&data.join(MARK))?;
    Ok(kept)
}

/// Empties a folder on the way to the spool, which begins with `way`.
fn empty(folder: &Path, way: &[&str]) -> io::Result<usize> {
    let mut kept = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type()?;
        match way {
            [next, rest @ ..] if kind.is_dir() && name == *next => kept += empty(&path, rest)?,
            [] if kind.is_file() && path.extension().is_some_and(|it| it == BLOCK) => kept += 1,
            // The mark of an unfinished reset is the last to go. The file system's own folder is not ours.
            _ if name == MARK || name == "lost+found" => {}
            _ if kind.is_dir() => fs::remove_dir_all(&path)?,
            _ => fs::remove_file(&path)?,
        }
    }
    Ok(kept)
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
    fn a_device_that_was_never_set_up_can_be_reset() {
        let data = tempfile::tempdir().unwrap();
        request(data.path()).unwrap();
        assert_eq!(carry_out(data.path()).unwrap(), 0);
    }
}
