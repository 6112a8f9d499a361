//! Disk images: copies that stay sparse, and sizes QEMU's devices accept.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, at};

/// Copies an image; holes stay holes, and where the file system can, blocks are shared.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let output = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto", "--"])
        .args([from, to])
        .output()
        .map_err(at("copying", from))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(at("copying", from)(std::io::Error::other(why)))
}

/// Makes the image at least `least` bytes long, and its length a power of two when the device wants that, by a hole at its
/// end: the empty rest of a card.
pub(crate) fn grow(path: &Path, least: u64, power_of_two: bool) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).open(path).map_err(at("opening", path))?;
    let length = file.metadata().map_err(at("reading", path))?.len();
    let wanted = length.max(least).next_multiple_of(512);
    let wanted = if power_of_two { wanted.next_power_of_two() } else { wanted };
    if wanted == length { Ok(()) } else { file.set_len(wanted).map_err(at("growing", path)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_is_equal_and_sparse_and_grows_to_what_a_card_may_have() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, [7; 1000]).unwrap();
        grow(&from, 5 << 20, false).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&from).unwrap());
        for (least, power_of_two, length) in [(0, false, 5 << 20), (0, true, 8 << 20), (9 << 20, false, 9 << 20)] {
            grow(&to, least, power_of_two).unwrap();
            assert_eq!(to.metadata().unwrap().size(), length);
        }
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
        assert!(copy(&folder.path().join("none"), &to).is_err());
    }
}
