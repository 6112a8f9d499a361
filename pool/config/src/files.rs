//! Reading configuration files: bounded, and secrets only where nobody else can read them.

use std::io::{self, Read};
use std::path::Path;

use crate::finding::{Finding, Place};

/// No configuration comes near this; a wrong path to a disk image does.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

fn finding(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::new(Place::File { path: path.to_owned(), line: 0, column: 0 }, "", problem, remedy)
}

/// The content of `config.toml`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Finding> {
    read_if_there(path, false).and_then(|content| content.ok_or_else(|| missing(path, "--config FILE")))
}

/// The content of `secrets.toml`: `None` when there is no such file and none is `required`.
pub(crate) fn read_secrets(path: &Path, required: bool) -> Result<Option<Vec<u8>>, Finding> {
    match read_if_there(path, true)? {
        None if required => Err(missing(path, "--secrets FILE")),
        content => Ok(content),
    }
}

fn missing(path: &Path, flag: &str) -> Finding {
    finding(path, "there is no such file", format!("create it, or name another one with {flag}"))
}

fn read_if_there(path: &Path, private: bool) -> Result<Option<Vec<u8>>, Finding> {
    let cannot_read =
        |err: io::Error| finding(path, format!("cannot be read: {err}"), "let the user the pool runs as read it");
    // Asked before opening: opening a pipe would wait for its writer.
    match std::fs::metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(cannot_read(err)),
        Ok(meta) if !meta.is_file() => return Err(finding(path, "is not a file", "name the file itself")),
        Ok(_) => {}
    }
    let file = std::fs::File::open(path).map_err(cannot_read)?;
    if private {
        refuse_readable_by_others(path, &file.metadata().map_err(cannot_read)?)?;
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(cannot_read)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(finding(path, "is larger than 1 MiB", "name the right file: no configuration is so long"));
    }
    Ok(Some(content))
}

#[cfg(unix)]
fn refuse_readable_by_others(path: &Path, meta: &std::fs::Metadata) -> Result<(), Finding> {
    use std::os::unix::fs::MetadataExt;
    let mode = meta.mode() & 0o777;
    // The lowest six bits are those of the group and of all others.
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    let problem = format!("holds secrets, but others may use it (its mode is {mode:04o})");
    Err(finding(path, problem, format!("run: chmod 600 {}", path.display())))
}

#[cfg(not(unix))]
fn refuse_readable_by_others(_: &Path, _: &std::fs::Metadata) -> Result<(), Finding> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_config_is_an_error_a_missing_secrets_file_only_when_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        assert!(read(&path).unwrap_err().remedy.contains("--config"));
        assert_eq!(read_secrets(&path, false), Ok(None));
        assert!(read_secrets(&path, true).unwrap_err().remedy.contains("--secrets"));
    }

    #[test]
    fn a_folder_and_a_huge_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap_err().problem, "is not a file");
        let path = dir.path().join("huge.toml");
        std::fs::File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().problem, "is larger than 1 MiB");
        std::fs::File::create(&path).unwrap().set_len(MAX_BYTES).unwrap();
        assert!(read(&path).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn secrets_that_others_may_read_are_refused_with_the_command_that_helps() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.toml");
        std::fs::write(&path, "rpc_user = 'x'").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_secrets(&path, true)
        };
        for mode in [0o600, 0o400] {
            assert!(with_mode(mode).is_ok(), "{mode:o}");
        }
        for mode in [0o644, 0o640, 0o660, 0o604, 0o620] {
            let finding = with_mode(mode).unwrap_err();
            assert_eq!(finding.remedy, format!("run: chmod 600 {}", path.display()));
            assert!(finding.problem.contains(&format!("{mode:04o}")));
        }
    }
}
