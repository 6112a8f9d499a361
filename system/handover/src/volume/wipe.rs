//! Zeros where nothing is stored. An editor saves by writing a new file and deleting the old one, whose secrets stay in
//! clusters that nobody owns; so do those of the file we delete.

use std::io::SeekFrom;

use super::survey::Survey;
use super::{Disk, VolumeError};

/// Overwrites every free cluster that is not zero; how many bytes that were. Free clusters that are zero already,
/// nearly all, cost flash no write.
pub(super) fn wipe_free(disk: &mut impl Disk) -> Result<u64, VolumeError> {
    let survey = Survey::of(disk)?;
    let mut wiped = 0;
    let zeros = vec![0; survey.cluster_bytes()];
    let mut content = zeros.clone();
    for at in survey.free() {
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(&mut content)?;
        if content != zeros {
            disk.seek(SeekFrom::Start(at))?;
            disk.write_all(&zeros)?;
            wiped += zeros.len() as u64;
        }
    }
    disk.sync()?;
    Ok(wiped)
}
