//! The last words of what died, kept on the data partition: a program's last lines, and what the kernel saved of its own end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::console::say;
use crate::durable;

/// Lines of a program's log that are kept.
pub const TAIL: usize = 64;
/// Crashes that are kept; the oldest go.
const KEPT: usize = 16;
/// Bytes kept of one record of the kernel's.
const MAX_RECORD: usize = 64 * 1024;
/// Records the kernel may have left.
const MAX_RECORDS: usize = 8;
const PSTORE: &str = "/sys/fs/pstore";

fn folder(data: &Path) -> PathBuf {
    data.join("system/crash")
}

/// Writes down how a program died. `at` is Unix seconds; names sort by it.
pub fn keep(data: &Path, at: u64, name: &str, how: &str, tail: &[String]) {
    let text = format!("{name} {how}\n\n{}\n", tail.join("\n"));
    if let Err(why) = put(&folder(data), at, name, text.as_bytes()) {
        say!("crash: what {name} said last cannot be kept: {why}");
    }
}

/// Moves what the kernel saved of its last panic or oops from memory to the disk.
pub fn keep_kernel_records(data: &Path, at: u64) -> usize {
    take_over(Path::new(PSTORE), &folder(data), at)
}

fn take_over(from: &Path, to: &Path, at: u64) -> usize {
    let Ok(entries) = fs::read_dir(from) else { return 0 };
    let mut kept = 0;
    for entry in entries.filter_map(Result::ok).take(MAX_RECORDS) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(mut bytes) = fs::read(entry.path()) else { continue };
        bytes.truncate(MAX_RECORD);
        // What could not be kept stays where it is, for the next boot.
        if put(to, at, &name, &bytes).is_ok() {
            let _ = fs::remove_file(entry.path());
            kept += 1;
        }
    }
    kept
}

fn put(folder: &Path, at: u64, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    let mut number = 0;
    let path = loop {
        let path = folder.join(format!("{at:012}-{number:02}-{plain}.txt"));
        if !path.exists() || number == 99 {
            break path;
        }
        number += 1;
    };
    durable::write(&path, bytes, 0o644)?;
    let mut all: Vec<PathBuf> = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.sort();
    for old in all.iter().take(all.len().saturating_sub(KEPT)) {
        fs::remove_file(old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_crashes_are_kept() {
        let data = tempfile::tempdir().unwrap();
        for at in 0..40 {
            keep(data.path(), at / 2, "pool", "was ended by SIGSEGV", &[format!("line {at}")]);
        }
        let mut names: Vec<_> =
            fs::read_dir(folder(data.path())).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names.len(), KEPT);
        assert_eq!(names[0], "000000000012-00-pool.txt");
        let last = fs::read_to_string(folder(data.path()).join("000000000019-01-pool.txt")).unwrap();
        assert_eq!(last, "pool was ended by SIGSEGV\n\nline 39\n");
    }

    #[test]
    fn the_kernel_s_records_are_moved_not_copied() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("pstore"), root.path().join("crash"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("dmesg-ramoops-0"), vec![b'x'; 2 * MAX_RECORD]).unwrap();
        assert_eq!(take_over(&from, &to, 5), 1);
        assert_eq!(fs::read(to.join("000000000005-00-dmesg-ramoops-0.txt")).unwrap().len(), MAX_RECORD);
        assert_eq!(fs::read_dir(&from).unwrap().count(), 0);
        assert_eq!(take_over(&from, &to, 6), 0);
    }
}
