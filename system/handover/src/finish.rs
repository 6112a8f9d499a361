//! The second call, after PID 1 has stored what was asked for: a report for the owner, and no secrets left. Every step
//! may be the last before a power cut; the call is then made again.

use serde::{Deserialize, Serialize};

use crate::read::{RESET_NAMES, SETTINGS_NAMES};
use crate::volume::{Disk, Volume, VolumeError};
use crate::{CLAIM_FILE, RESULT_FILE, Report, Standing, TAKEN_FILE};

/// What is to be done to the partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    pub report: Option<Report>,
    /// The settings are stored elsewhere, or will never be: erase the file.
    pub erase_settings: bool,
    /// Take the request for a reset away. Done before the reset itself: a card that cannot be written to must not reset
    /// the device at every start.
    pub erase_reset: bool,
    pub claim: Claim,
}

/// The file with the code that claims a device nobody owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    #[default]
    Keep,
    Show(String),
    /// Somebody owns it now.
    Remove,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    pub settings_erased: bool,
    pub reset_erased: bool,
    /// Remains of deleted files that were overwritten, bytes.
    pub wiped_bytes: u64,
}

/// Does it. The report comes first and the erasure last, so that what was not told is not lost.
pub fn finish(disk: &mut impl Disk, order: &Finish) -> Result<Finished, VolumeError> {
    let mut volume = Volume::open(disk)?;
    let mut done = Finished::default();
    if order.erase_reset {
        done.reset_erased = remove_all(&mut volume, &RESET_NAMES)?;
    }
    if let Some(report) = &order.report {
        if let Standing::Taken(settings) = &report.standing {
            let taken = settings.redacted().replace('\n', "\r\n");
            volume.write(TAKEN_FILE, taken.as_bytes())?;
        }
        volume.write(RESULT_FILE, report.text().as_bytes())?;
    }
    match &order.claim {
        Claim::Keep => {}
        Claim::Show(code) => volume.write(CLAIM_FILE, format!("{code}\r\n").as_bytes())?,
        Claim::Remove => {
            remove_all(&mut volume, &[&CLAIM_FILE.to_lowercase()])?;
        }
    }
    if order.erase_settings {
        for name in SETTINGS_NAMES {
            if let Some(file) = volume.find(&[name])? {
                volume.blank(&file)?;
            }
        }
        // The blank file stays until the last trace of earlier ones is gone: it is what tells the next start, after a
        // power cut, that this is not finished.
        done.wiped_bytes = volume.wipe_free()?;
        done.settings_erased = remove_all(&mut volume, &SETTINGS_NAMES)?;
    }
    Ok(done)
}

/// Removes whatever has one of these names; whether there was something.
fn remove_all<D: Disk>(volume: &mut Volume<'_, D>, names: &[&str]) -> Result<bool, VolumeError> {
    let mut any = false;
    for name in names {
        if let Some(file) = volume.find(&[name])? {
            volume.remove(&file.name)?;
            any = true;
        }
    }
    Ok(any)
}
