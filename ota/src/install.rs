//! Putting a version into the other slot, such that at any instant the slot is either whole or cannot be booted.
//!
//! clear (boot sector first) → write what is verified → flush → read back past the cache → late chunks, the boot sector last of
//! all → judge the slot by its own manifest. A power cut anywhere before the last sector leaves a slot the firmware passes over.

mod admission;
mod fill;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

pub use admission::{Admission, Refusal, admit, admit_version};

use crate::bundle::{Bundle, BundleHeader, OpenError, describe};
use crate::disk::Disk;
use crate::fat::FatError;
use crate::index::{Index, Origin};
use crate::manifest::SlotManifest;
use crate::slot::{self, Damage};
use crate::source::{Source, SourceError};
use crate::trust::Trust;
use fill::Fill;

/// What is being done. Bytes `done` of `total`; `reused` of them were on the device already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
    pub reused: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// What is on the device already is looked for.
    Checking,
    Clearing,
    Writing,
    ReadingBack,
    /// The late chunks are written, and the slot is judged.
    Finishing,
}

/// Told of progress; breaking off cancels.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// The target holds a whole, verified version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub manifest: SlotManifest,
    /// Bytes that were fetched, and that were on the device already.
    pub fetched: u64,
    pub reused: u64,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the bundle cannot be fetched: {0}")]
    Source(#[from] SourceError),
    #[error("the bundle is damaged at byte {0}: get it again")]
    DamagedBundle(u64),
    #[error("the slot cannot be written: {0}")]
    Io(#[from] std::io::Error),
    #[error("what was written to the slot reads back as something else: the card is worn out; use another one")]
    NotWritten,
    #[error("the slot is not sound although all was written: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NotSound(Vec<Damage>),
    #[error("the slot holds version {is}, but the bundle said {should}: get another release")]
    OtherVersion { is: String, should: String },
    #[error("the running slot cannot be copied: {0}")]
    Original(#[from] FatError),
    #[error("the running slot changed while it was copied: try again")]
    OriginalChanged,
    #[error("cancelled")]
    Cancelled,
}

/// Installs a bundle into `target`. `running` gives what both versions have in common and is only read.
///
/// Refusals come before anything is written. After any later error the target cannot be booted, and calling again goes on from there.
pub fn install(
    source: &mut dyn Source,
    running: Option<&mut dyn Disk>,
    target: &mut dyn Disk,
    trust: &Trust,
    admission: &Admission,
    watch: &mut Watch<'_>,
) -> Result<Ready, InstallError> {
    let bundle = Bundle::open(source, trust)?;
    admit(&bundle.header, trust, target.len(), admission)?;
    step(watch, Stage::Checking, 0, 0)?;
    let mut index = Index::default();
    let running: Option<&mut dyn Disk> = match running {
        Some(running) => {
            index.add(Origin::Running, running);
            Some(running)
        }
        None => None,
    };
    index.add(Origin::Target, target);
    finish(
        Fill { header: &bundle.header, source: Some((source, bundle.chunks_at)), running, target, watch },
        &index,
        trust,
    )
}

/// Makes `target` a copy of the running slot, as a damaged slot of the same version is repaired. The running slot must be sound.
pub fn copy(
    running: &mut dyn Disk,
    target: &mut dyn Disk,
    trust: &Trust,
    watch: &mut Watch<'_>,
) -> Result<Ready, InstallError> {
    let verdict = slot::verify(running, trust);
    let manifest = match verdict.manifest {
        Some(manifest) if verdict.damage.is_empty() => manifest,
        _ => return Err(InstallError::NotSound(verdict.damage)),
    };
    let (chunks, zeros, slot_size) = describe(running)?;
    if slot_size > target.len() {
        return Err(Refusal::TooLarge { needs: slot_size, has: target.len() }.into());
    }
    let SlotManifest { product, hardware, version, built, .. } = manifest;
    let header = BundleHeader { product, hardware, version, built, minimum_eeprom: 0, slot_size, chunks, zeros };
    header.check().map_err(OpenError::Header)?;
    step(watch, Stage::Checking, 0, 0)?;
    let mut index = Index::default();
    index.add_chunks(Origin::Running, &header.chunks);
    finish(Fill { header: &header, source: None, running: Some(running), target, watch }, &index, trust)
}

/// Makes a slot one that the firmware passes over: its boot sector first, by itself, then everything else that leads to its files.
pub fn make_unbootable(target: &mut dyn Disk) -> std::io::Result<()> {
    fill::clear(target, &[])
}

fn finish(mut fill: Fill<'_>, index: &Index, trust: &Trust) -> Result<Ready, InstallError> {
    let (fetched, reused) = fill.run(index)?;
    let verdict = slot::verify(fill.target, trust);
    let judged = match verdict.manifest {
        Some(manifest) if !verdict.damage.is_empty() => Err((manifest.version.to_string(), verdict.damage)),
        Some(manifest) => Ok(manifest),
        None => Err((String::new(), verdict.damage)),
    };
    match judged {
        Ok(manifest) if manifest.version == fill.header.version => Ok(Ready { manifest, fetched, reused }),
        Ok(manifest) => {
            make_unbootable(fill.target)?;
            let (is, should) = (manifest.version.to_string(), fill.header.version.to_string());
            Err(InstallError::OtherVersion { is, should })
        }
        Err((_, damage)) => {
            make_unbootable(fill.target)?;
            Err(InstallError::NotSound(damage))
        }
    }
}

fn step(watch: &mut Watch<'_>, stage: Stage, done: u64, total: u64) -> Result<(), InstallError> {
    match watch(Progress { stage, done, total, reused: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(InstallError::Cancelled),
    }
}
