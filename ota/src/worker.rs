//! What PID 1's unprivileged children do: fetch and write, copy, verify, ask the feed.
//!
//! A child gets one job on its standard input, holds the few file descriptors that the job names, and answers on its standard output.
//! PID 1 believes nothing of it: what it wrote is verified again by another child that can only read.

mod frame;

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

pub use frame::{FrameError, Frames};

use crate::disk::{Disk, FileDisk, inherited};
use crate::envelope::Kind;
use crate::install::{self, Admission, InstallError, Progress, Ready, Watch};
use crate::slot::{self, Verdict};
use crate::source::{FileSource, HttpOptions, HttpSource, Source, SourceError, get};
use crate::stick;
use crate::trust::Trust;

/// One job. Numbers are file descriptors that the child was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    Install(Box<InstallJob>),
    /// Makes the slot `to` a copy of the slot `from`.
    Copy {
        from: RawFd,
        to: RawFd,
        trust: Trust,
    },
    /// Reads a slot's files and compares them with its manifest.
    Verify {
        slot: RawFd,
        trust: Trust,
    },
    Check(CheckJob),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallJob {
    pub bundle: BundleFrom,
    /// The slot to write: for reading and writing.
    pub target: RawFd,
    /// The slot that runs: for reading.
    pub running: Option<RawFd>,
    pub trust: Trust,
    pub admission: Admission,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BundleFrom {
    File(RawFd),
    /// A USB stick, or a partition of one: its newest bundle.
    Stick(RawFd),
    Url {
        url: String,
        allow_http: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckJob {
    /// The feed's address for a channel, see [`Feed::url`](crate::feed::Feed::url).
    pub url: String,
    pub allow_http: bool,
}

/// What a child says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    Progress(Progress),
    /// The last one.
    Done(Result<Outcome, Failure>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of an installation or a copy.
    Ready(Box<Ready>),
    Verdict(Box<Verdict>),
    /// The feed as it came, signed: who asked opens it.
    Feed(Vec<u8>),
}

/// What went wrong, for people, and what kind of thing it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The bundle, the feed or the slot is not what it must be.
    Invalid,
    /// Nothing of the kind is there.
    Missing,
    /// A disk, the network or this program failed.
    Failed,
}

impl Failure {
    fn new(kind: FailureKind, error: &dyn std::fmt::Display) -> Self {
        Self { kind, message: error.to_string() }
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        use crate::bundle::OpenError;
        let kind = match &error {
            InstallError::Open(OpenError::Source(source)) | InstallError::Source(source) => kind_of(source),
            InstallError::Open(_)
            | InstallError::Refused(_)
            | InstallError::DamagedBundle(_)
            | InstallError::NotSound(_)
            | InstallError::OtherVersion { .. } => FailureKind::Invalid,
            _ => FailureKind::Failed,
        };
        Self::new(kind, &error)
    }
}

fn kind_of(error: &SourceError) -> FailureKind {
    match error {
        SourceError::TooShort(_)
        | SourceError::NotHttps(_)
        | SourceError::Nonsense { .. }
        | SourceError::TooLong { .. } => FailureKind::Invalid,
        SourceError::Refused { status: 404 | 410, .. } => FailureKind::Missing,
        _ => FailureKind::Failed,
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::new(kind_of(&error), &error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(FailureKind::Failed, &error)
    }
}

/// Sends a job, or anything else, as one frame.
pub fn send(output: &mut dyn Write, message: &impl Serialize) -> io::Result<()> {
    frame::write(output, message)
}

/// The child: takes one job, does it, and says how it went. An error means that nobody listens.
pub fn serve(input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let job: Job = frame::read(input)?;
    let done = perform(&job, output);
    send(output, &Message::Done(done))
}

fn perform(job: &Job, output: &mut dyn Write) -> Result<Outcome, Failure> {
    // Nobody to tell is nobody to work for.
    let mut watch = |progress| match send(output, &Message::Progress(progress)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    match job {
        Job::Install(job) => perform_install(job, &mut watch),
        Job::Copy { from, to, trust } => {
            let ready = install::copy(&mut disk(*from)?, &mut disk(*to)?, trust, &mut watch)?;
            Ok(Outcome::Ready(Box::new(ready)))
        }
        Job::Verify { slot, trust } => Ok(Outcome::Verdict(Box::new(slot::verify(&mut disk(*slot)?, trust)))),
        Job::Check(job) => check(job),
    }
}

fn perform_install(job: &InstallJob, watch: &mut Watch<'_>) -> Result<Outcome, Failure> {
    let mut put = |source: &mut dyn Source| -> Result<Outcome, Failure> {
        let mut running = job.running.map(disk).transpose()?;
        let running = running.as_mut().map(|running| running as &mut dyn Disk);
        let ready = install::install(source, running, &mut disk(job.target)?, &job.trust, &job.admission, watch)?;
        Ok(Outcome::Ready(Box::new(ready)))
    };
    match &job.bundle {
        BundleFrom::File(number) => put(&mut FileSource::new(inherited(*number)?)?),
        BundleFrom::Url { url, allow_http } => {
            put(&mut HttpSource::new(url, HttpOptions { allow_http: *allow_http, ..HttpOptions::default() })?)
        }
        BundleFrom::Stick(number) => {
            let mut stick = disk(*number)?;
            let (mut volume, entry) =
                stick::newest(&mut stick, &job.trust).map_err(|error| Failure::new(FailureKind::Missing, &error))?;
            let file = volume.open_file(&entry).map_err(|error| Failure::new(FailureKind::Failed, &error))?;
            put(&mut FileSource::new(file)?)
        }
    }
}

fn check(job: &CheckJob) -> Result<Outcome, Failure> {
    let options = HttpOptions { allow_http: job.allow_http, ..HttpOptions::default() };
    let limit = Kind::Feed.longest() + crate::envelope::HEAD as u64;
    Ok(Outcome::Feed(get(&job.url, limit, options)?))
}

fn disk(number: RawFd) -> io::Result<FileDisk> {
    FileDisk::from_file(inherited(number)?)
}
