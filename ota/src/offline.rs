//! The same operations on a card in a reader, or on a disk image: status, install, commit, rollback. No Pi is needed.

use std::fmt;
use std::io;

use crate::autoboot::{self, Autoboot, AutobootError};
use crate::disk::{Disk, Shared, Window};
use crate::install::{self, Admission, InstallError, Ready, Watch};
use crate::layout::{Layout, Slot};
use crate::mbr::{self, MbrError};
use crate::slot::{self, Look, Verdict};
use crate::source::Source;
use crate::trust::Trust;
use crate::version::Version;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    #[error(transparent)]
    Table(#[from] MbrError),
    #[error(transparent)]
    Autoboot(#[from] AutobootError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error("the disk cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("slot {slot} is not sound and is not made the one to start: {}", .damage.join("; "))]
    NotSound { slot: Slot, damage: Vec<String> },
    #[error("slot {slot} holds version {version}, older than {minimum}, the oldest that may be gone back to")]
    TooOld { slot: Slot, version: Version, minimum: Version },
}

/// A whole disk that nothing runs from.
#[derive(Debug)]
pub struct Offline<D> {
    disk: Shared<D>,
    layout: Layout,
}

/// How a disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What partition 1 says; or what is wrong with it.
    pub autoboot: Result<Autoboot, String>,
    pub slot_a: Look,
    pub slot_b: Look,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.autoboot {
            Ok(autoboot) => writeln!(f, "starts slot {}, slot {} on trial", autoboot.committed, autoboot.trial())?,
            Err(error) => writeln!(f, "{error}")?,
        }
        for (slot, look, end) in [(Slot::A, &self.slot_a, "\n"), (Slot::B, &self.slot_b, "")] {
            match (&look.manifest, look.bootable, &look.problem) {
                (Some(manifest), true, _) => write!(f, "slot {slot}: {} {}", manifest.product, manifest.version)?,
                (Some(manifest), false, _) => {
                    write!(f, "slot {slot}: {} {}, cannot be booted", manifest.product, manifest.version)?;
                }
                (None, false, _) => write!(f, "slot {slot}: empty")?,
                (None, true, problem) => {
                    let why = problem.as_ref().map(ToString::to_string).unwrap_or_default();
                    write!(f, "slot {slot}: can be booted but does not count: {why}")?;
                }
            }
            f.write_str(end)?;
        }
        Ok(())
    }
}

impl<D: Disk> Offline<D> {
    pub fn open(mut disk: D) -> Result<Self, OfflineError> {
        let layout = mbr::read(&mut disk)?;
        Ok(Self { disk: Shared::new(disk), layout })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Partition 1.
    fn p1(&self) -> io::Result<Window<Shared<D>>> {
        Window::new(self.disk.clone(), self.layout.boot.bytes())
    }

    fn slot(&self, slot: Slot) -> io::Result<Window<Shared<D>>> {
        Window::new(self.disk.clone(), self.layout.slot(slot).bytes())
    }

    pub fn status(&self, trust: &Trust) -> Result<Status, OfflineError> {
        let autoboot = autoboot::read(&mut self.p1()?).map_err(|error| error.to_string());
        let slot_a = slot::look(&mut self.slot(Slot::A)?, trust);
        let slot_b = slot::look(&mut self.slot(Slot::B)?, trust);
        Ok(Status { autoboot, slot_a, slot_b })
    }

    /// Reads every file of a slot.
    pub fn verify(&self, slot: Slot, trust: &Trust) -> Result<Verdict, OfflineError> {
        Ok(slot::verify(&mut self.slot(slot)?, trust))
    }

    /// Puts a bundle into the slot that is not committed. It is started only when it is armed or committed.
    pub fn install(
        &mut self,
        source: &mut dyn Source,
        trust: &Trust,
        allow_downgrade: bool,
        watch: &mut Watch<'_>,
    ) -> Result<(Slot, Ready), OfflineError> {
        let committed = autoboot::read(&mut self.p1()?)?.committed;
        let running = slot::look(&mut self.slot(committed)?, trust).manifest.map(|manifest| manifest.version);
        let target = committed.other();
        let admission =
            Admission { running, running_slot: Some(committed), target, allow_downgrade, eeprom: Some(u64::MAX) };
        let (mut own, mut other) = (self.slot(committed)?, self.slot(target)?);
        let ready = install::install(source, Some(&mut own), &mut other, trust, &admission, watch)?;
        Ok((target, ready))
    }

    /// Makes a slot the one that is started, when it is sound.
    pub fn commit(&mut self, slot: Slot, trust: &Trust) -> Result<(), OfflineError> {
        let verdict = self.verify(slot, trust)?;
        let manifest = match verdict.manifest {
            Some(manifest) if verdict.damage.is_empty() => manifest,
            _ => {
                let damage = verdict.damage.iter().map(ToString::to_string).collect();
                return Err(OfflineError::NotSound { slot, damage });
            }
        };
        if manifest.version < trust.minimum_version {
            let minimum = trust.minimum_version.clone();
            return Err(OfflineError::TooOld { slot, version: manifest.version, minimum });
        }
        // A partition 1 that cannot be read is written anew by the same word.
        match autoboot::commit(&mut self.p1()?, slot) {
            Ok(()) => Ok(()),
            Err(AutobootError::Partition(_)) => Ok(autoboot::repair(&mut self.p1()?, slot)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits the other slot, when it is sound; returns which that is.
    pub fn rollback(&mut self, trust: &Trust) -> Result<Slot, OfflineError> {
        let other = autoboot::read(&mut self.p1()?)?.trial();
        self.commit(other, trust)?;
        Ok(other)
    }
}
