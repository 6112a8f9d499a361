//! What is done with files: keys, bundles, feeds, and disks that nothing runs from.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use warppool_ota::install::{Stage, Watch};
use warppool_ota::offline::Offline;
use warppool_ota::source::{FileSource, HttpOptions, HttpSource, Source};
use warppool_ota::{FileDisk, PrivateKey, Trust, cli};

use super::progress::Shown;

pub fn keygen(file: &Path) -> anyhow::Result<ExitCode> {
    println!("{}", cli::keygen(file)?);
    Ok(ExitCode::SUCCESS)
}

pub fn sign(file: &Path, key: &Path, trust: &Path, output: &Path, minimum_eeprom: u64) -> anyhow::Result<ExitCode> {
    let key = PrivateKey::read(key)?;
    if file.extension().is_some_and(|extension| extension == "toml") {
        cli::sign_feed(file, &key, output)?;
    } else {
        cli::sign_bundle(file, &cli::read_trust(trust)?, minimum_eeprom, &key, output)?;
    }
    inspect(output, None)
}

pub fn inspect(file: &Path, trust: Option<&Path>) -> anyhow::Result<ExitCode> {
    let trust = trust.map(cli::read_trust).transpose()?;
    let inspection = cli::inspect(file, trust.as_ref())?;
    println!("{inspection}");
    Ok(match inspection.signature {
        cli::Signature::Bad(_) => ExitCode::FAILURE,
        cli::Signature::Good | cli::Signature::NotChecked => ExitCode::SUCCESS,
    })
}

pub fn verify(file: &Path, trust: &Path) -> anyhow::Result<ExitCode> {
    let verification = cli::verify(file, &cli::read_trust(trust)?)?;
    println!("{verification}");
    Ok(if verification.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn open(disk: &Path, trust: &Path) -> anyhow::Result<(Offline<FileDisk>, Trust)> {
    let opened = FileDisk::open(disk).with_context(|| disk.display().to_string())?;
    Ok((Offline::open(opened)?, cli::read_trust(trust)?))
}

pub fn status(disk: &Path, trust: &Path) -> anyhow::Result<ExitCode> {
    let (offline, trust) = open(disk, trust)?;
    println!("{}", offline.status(&trust)?);
    Ok(ExitCode::SUCCESS)
}

pub fn install(disk: &Path, trust: &Path, from: &str, allow_downgrade: bool) -> anyhow::Result<ExitCode> {
    let (mut offline, trust) = open(disk, trust)?;
    let mut source: Box<dyn Source> = if from.starts_with("http://") || from.starts_with("https://") {
        Box::new(HttpSource::new(from, HttpOptions { allow_http: true, ..HttpOptions::default() })?)
    } else {
        Box::new(FileSource::new(File::open(from).with_context(|| from.to_owned())?)?)
    };
    let mut shown = Shown::default();
    let watch: &mut Watch<'_> = &mut |progress| {
        shown.show(words(progress.stage), progress.done, progress.total);
        ControlFlow::Continue(())
    };
    let installed = offline.install(source.as_mut(), &trust, allow_downgrade, watch);
    shown.end();
    let (slot, ready) = installed?;
    println!("{} is in slot {slot}; warppool ota commit --disk makes it the one that starts.", ready.manifest.version);
    Ok(ExitCode::SUCCESS)
}

/// Makes the other slot the one that is started.
pub fn switch(disk: &Path, trust: &Path) -> anyhow::Result<ExitCode> {
    let (mut offline, trust) = open(disk, trust)?;
    println!("slot {} starts from now on", offline.rollback(&trust)?);
    Ok(ExitCode::SUCCESS)
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Checking => "looking for what is here already",
        Stage::Clearing => "clearing the slot",
        Stage::Writing => "writing",
        Stage::ReadingBack => "reading back",
        Stage::Finishing => "finishing",
    }
}
