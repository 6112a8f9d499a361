//! May this bundle be installed here? Asked before anything is written.

use serde::{Deserialize, Serialize};

use crate::bundle::BundleHeader;
use crate::layout::Slot;
use crate::trust::Trust;
use crate::version::Version;

/// What a bundle is measured by, besides the trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The version that runs; `None` where nothing of ours runs, as when a card is prepared on a PC.
    pub running: Option<Version>,
    pub running_slot: Option<Slot>,
    pub target: Slot,
    /// The owner has confirmed, at the device, that an older version may be installed.
    pub allow_downgrade: bool,
    /// The boot loader's build time in Unix seconds, where it says.
    pub eeprom: Option<u64>,
}

/// Why a bundle is not installed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("the bundle is for {is}, and this is {should}: choose the bundle for {should}")]
    Product { is: String, should: String },
    #[error("the bundle is for the hardware {is}, and this is {should}: choose the bundle for {should}")]
    Hardware { is: String, should: String },
    #[error(
        "version {version} is older than {running}, which runs: allow the downgrade and confirm it with the device's button"
    )]
    Older { version: Version, running: Version },
    #[error("version {version} is older than {minimum}, the oldest that may be installed: choose a newer one")]
    BelowMinimum { version: Version, minimum: Version },
    #[error(
        "the bundle needs a slot of {needs} bytes, and this card's slots have {has}: back up, and flash the newest image"
    )]
    TooLarge { needs: u64, has: u64 },
    #[error("it needs a boot loader built on {needs} or later (Unix seconds){}: update it with `rpi-eeprom-update` first", .has.map(|has| format!(", and this one is of {has}")).unwrap_or_default())]
    BootLoader { needs: u64, has: Option<u64> },
    #[error("slot {0} is the one that runs: an update goes into the other one")]
    Running(Slot),
}

/// Refuses what may not be installed. The signature has been checked when the header was read.
pub fn admit(header: &BundleHeader, trust: &Trust, slot_size: u64, admission: &Admission) -> Result<(), Refusal> {
    if header.product != trust.product {
        return Err(Refusal::Product { is: header.product.clone(), should: trust.product.clone() });
    }
    if header.hardware != trust.hardware {
        return Err(Refusal::Hardware { is: header.hardware.clone(), should: trust.hardware.clone() });
    }
    if admission.running_slot == Some(admission.target) {
        return Err(Refusal::Running(admission.target));
    }
    admit_version(&header.version, trust, admission.running.as_ref(), admission.allow_downgrade)?;
    if header.slot_size > slot_size {
        return Err(Refusal::TooLarge { needs: header.slot_size, has: slot_size });
    }
    // A boot loader that does not say how old it is, is older than those that do.
    if header.minimum_eeprom > 0 && admission.eeprom.is_none_or(|built| built < header.minimum_eeprom) {
        return Err(Refusal::BootLoader { needs: header.minimum_eeprom, has: admission.eeprom });
    }
    Ok(())
}

/// Refuses a version that is older than may be. Asked of the bundle by who installs it, and of the slot by who is to start it.
pub fn admit_version(
    version: &Version,
    trust: &Trust,
    running: Option<&Version>,
    allow_downgrade: bool,
) -> Result<(), Refusal> {
    if *version < trust.minimum_version {
        return Err(Refusal::BelowMinimum { version: version.clone(), minimum: trust.minimum_version.clone() });
    }
    match running {
        Some(running) if version < running && !allow_downgrade => {
            Err(Refusal::Older { version: version.clone(), running: running.clone() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::trust;

    #[test]
    fn an_older_version_needs_permission_and_one_below_the_minimum_is_never_taken() {
        let mut trust = trust();
        trust.minimum_version = Version::new(1, 1, 0);
        let running = Version::new(1, 2, 0);
        let older = |version| Err(Refusal::Older { version, running: running.clone() });
        let below = |version| Err(Refusal::BelowMinimum { version, minimum: Version::new(1, 1, 0) });
        for (minor, allowed, expected) in [
            (3, false, Ok(())),
            (2, false, Ok(())),
            (1, false, older(Version::new(1, 1, 0))),
            (1, true, Ok(())),
            (0, false, below(Version::new(1, 0, 0))),
            (0, true, below(Version::new(1, 0, 0))),
        ] {
            let version = Version::new(1, minor, 0);
            assert_eq!(admit_version(&version, &trust, Some(&running), allowed), expected, "{minor} {allowed}");
        }
        assert_eq!(admit_version(&Version::new(1, 1, 0), &trust, None, false), Ok(()), "nothing of ours runs");
    }
}
