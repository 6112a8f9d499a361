//! What a boot has to put right: a pure decision from what the firmware, partition 1, the slots and the memory say.
//!
//! The system runs from RAM, so that a slot under it can be repaired. What is asked for here is done by the caller, in this order.

mod decide;
mod give_way;

use serde::{Deserialize, Serialize};

pub use decide::decide;
pub use give_way::{Ground, give_way};

use crate::autoboot::Autoboot;
use crate::layout::Slot;
use crate::slot::{Damage, Look, Verdict};
use crate::state::{State, TrialRecord};
use crate::version::Version;

/// Boots in a row without health after which a committed slot gives way.
pub const MOST_DEATHS: u32 = 3;

/// How a slot is, as far as has been looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// The firmware passes it over: nothing was installed, or an installation did not end.
    Empty,
    /// It says it is this version; its files have not been read.
    Unread(Version),
    /// Every file is as its manifest says.
    Sound(Version),
    /// The firmware would start it, but something is wrong. The version, where the manifest can be read.
    Damaged(Option<Version>),
    /// Its manifest is signed by a key that this version does not know or has revoked. It is never gone back to, and left to the
    /// firmware as the last resort that it is.
    Distrusted,
}

impl Health {
    /// After a first look.
    pub fn of_look(look: &Look) -> Self {
        match (&look.manifest, look.bootable) {
            (_, false) => Self::Empty,
            (None, true) if matches!(look.problem, Some(Damage::Distrusted(_))) => Self::Distrusted,
            (Some(manifest), true) => Self::Unread(manifest.version.clone()),
            (None, true) => Self::Damaged(None),
        }
    }

    /// After a thorough look.
    pub fn of_verdict(look: &Look, verdict: &Verdict) -> Self {
        let version = verdict.manifest.as_ref().map(|manifest| manifest.version.clone());
        match version {
            _ if !look.bootable => Self::Empty,
            Some(version) if verdict.damage.is_empty() => Self::Sound(version),
            None if matches!(verdict.damage.as_slice(), [Damage::Distrusted(_)]) => Self::Distrusted,
            version => Self::Damaged(version),
        }
    }

    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Empty | Self::Distrusted => None,
            Self::Unread(version) | Self::Sound(version) => Some(version),
            Self::Damaged(version) => version.as_ref(),
        }
    }

    fn is_sound(&self) -> bool {
        matches!(self, Self::Sound(_))
    }

    fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

/// What is known at boot.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The partition that the firmware says it booted; `None` or 0 where it does not say.
    pub partition: Option<u32>,
    /// The firmware says that this is a trial.
    pub tryboot: bool,
    /// Boots of the committed slot in a row that did not become healthy, this one not among them.
    pub deaths: u32,
    /// What partition 1 says; `None` where it cannot be read or makes no sense.
    pub p1: Option<Autoboot>,
    /// This boot has itself committed the slot that partition 1 names now, so that the firmware has not tried it yet.
    pub moved: bool,
    /// What is remembered is there at the next boot.
    pub remembers: bool,
    pub slot_a: Health,
    pub slot_b: Health,
    /// The version that runs.
    pub running: Version,
    /// The oldest version that may be gone back to.
    pub minimum: Version,
    pub state: &'a State,
}

/// How this boot is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Normal,
    /// The gate decides whether this slot is committed.
    Trial(Slot),
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Keep in the state that partition 1 names this slot.
    Remember(Slot),
    /// Partition 1 cannot be read: write it anew for this slot.
    RepairP1(Slot),
    /// The armed version did not come to a verdict; it is back on the old slot. Count it, and forget the trial.
    TrialFailed(TrialRecord),
    /// It was armed and never came up: the power was cut in between, or it dies before it can say so. Count it apart, and forget the
    /// trial; it can be armed again.
    TrialLost(TrialRecord),
    /// It has been committed: forget the trial.
    TrialKept(TrialRecord),
    /// The committed version keeps dying: do what [`give_way`] does, and restart.
    GiveWay { to: Slot, version: Version },
    /// The committed slot is damaged, or the firmware passed it over: commit this one, which is sound.
    MoveTo(Slot),
    /// Read this slot's files, and decide again with what is found.
    Verify(Slot),
    /// A damaged slot: keep the firmware from ever starting it.
    MakeUnbootable(Slot),
    /// Make this slot a copy of the other one, which is sound and of the same version.
    Copy { from: Slot, to: Slot },
    /// For the journal, the log and the page: what is wrong and what to do.
    Tell(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub mode: Mode,
    /// The slot that runs, where the firmware or the versions tell.
    pub running: Option<Slot>,
    pub steps: Vec<Step>,
}

/// Why a trial may not be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoCommit {
    #[error("this boot is no trial")]
    NotATrial,
    #[error("partition 1 cannot be read, so the slot to commit is not known for certain")]
    NoAutoboot,
    #[error("the firmware does not say which partition it booted: update the boot loader with `rpi-eeprom-update`")]
    UnknownPartition,
    #[error("the firmware booted partition {0}, which is not the one on trial")]
    OtherPartition(u32),
}

/// The slot that runs, where a trial can be told from other boots: a version that could never be kept is not installed.
pub fn may_try(partition: Option<u32>) -> Result<Slot, NoCommit> {
    match partition {
        None | Some(0) => Err(NoCommit::UnknownPartition),
        Some(partition) => Slot::from_partition(partition).ok_or(NoCommit::OtherPartition(partition)),
    }
}

/// The slot to commit: only in a trial, and only the very partition that `autoboot.txt` names for it. A project that detected the
/// slot in another way made its devices unbootable.
pub fn may_commit(tryboot: bool, partition: Option<u32>, p1: Option<Autoboot>) -> Result<Slot, NoCommit> {
    if !tryboot {
        return Err(NoCommit::NotATrial);
    }
    let autoboot = p1.ok_or(NoCommit::NoAutoboot)?;
    match partition {
        None | Some(0) => Err(NoCommit::UnknownPartition),
        Some(partition) if partition == autoboot.trial().partition() => Ok(autoboot.trial()),
        Some(partition) => Err(NoCommit::OtherPartition(partition)),
    }
}
