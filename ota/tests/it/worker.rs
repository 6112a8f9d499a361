//! A worker's job as PID 1 gives it: over pipes and inherited file descriptors.

use std::fs::File;
use std::os::fd::{IntoRawFd, RawFd};
use std::path::Path;

use warppool_ota::worker::{BundleFrom, CheckJob, FailureKind, Frames, InstallJob, Job, Message, Outcome, send, serve};
use warppool_ota::{MemDisk, Version};

use crate::slots::{SLOT, admission, bundle, slot, trust};

/// Gives a job to a worker in this process and returns what it says.
fn ask(job: &Job) -> Vec<Message> {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    send(&mut input, job).unwrap();
    serve(&mut input.as_slice(), &mut output).unwrap();
    let mut frames = Frames::default();
    frames.push(&output);
    std::iter::from_fn(|| frames.next().unwrap()).collect()
}

fn done(mut messages: Vec<Message>) -> Result<Outcome, warppool_ota::worker::Failure> {
    match messages.pop() {
        Some(Message::Done(result)) => result,
        other => panic!("{other:?}"),
    }
}

/// A descriptor that the worker takes over.
fn handed(path: &Path, write: bool) -> RawFd {
    File::options().read(true).write(write).open(path).unwrap().into_raw_fd()
}

#[test]
fn jobs_are_done_on_the_descriptors_that_were_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("a"), slot(1).bytes()).unwrap();
    std::fs::write(path("b"), MemDisk::new(SLOT).bytes()).unwrap();
    std::fs::write(path("bundle"), bundle(2)).unwrap();

    let job = Job::Install(Box::new(InstallJob {
        bundle: BundleFrom::File(handed(&path("bundle"), false)),
        target: handed(&path("b"), true),
        running: Some(handed(&path("a"), false)),
        trust: trust(),
        admission: admission(1),
    }));
    let messages = ask(&job);
    assert!(messages.iter().filter(|message| matches!(message, Message::Progress(_))).count() > 5);
    let Ok(Outcome::Ready(ready)) = done(messages) else { panic!() };
    assert_eq!(ready.manifest.version, Version::new(1, 2, 0));

    let verify = Job::Verify { slot: handed(&path("b"), false), trust: trust() };
    let Ok(Outcome::Verdict(verdict)) = done(ask(&verify)) else { panic!() };
    assert!(verdict.is_sound());

    let copy = Job::Copy { from: handed(&path("b"), false), to: handed(&path("a"), true), trust: trust() };
    let Ok(Outcome::Ready(ready)) = done(ask(&copy)) else { panic!() };
    assert_eq!((ready.manifest.version, ready.fetched), (Version::new(1, 2, 0), 0));
}

#[test]
fn what_goes_wrong_is_told_with_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("b"), MemDisk::new(SLOT).bytes()).unwrap();
    std::fs::write(path("bundle"), bundle(0)).unwrap();
    std::fs::write(path("stick"), MemDisk::new(SLOT).bytes()).unwrap();
    let install = |bundle| {
        let target = handed(&path("b"), true);
        Job::Install(Box::new(InstallJob { bundle, target, running: None, trust: trust(), admission: admission(1) }))
    };
    let check = |url: &str| Job::Check(CheckJob { url: url.into(), allow_http: false });
    let url = |url: &str| BundleFrom::Url { url: url.into(), allow_http: false };
    for (job, kind, expected) in [
        (install(BundleFrom::File(handed(&path("bundle"), false))), FailureKind::Invalid, "older than"),
        (install(BundleFrom::Stick(handed(&path("stick"), false))), FailureKind::Missing, "FAT32"),
        (install(BundleFrom::File(9999)), FailureKind::Failed, "was not handed"),
        (install(url("http://example.org")), FailureKind::Invalid, "not an https"),
        (check("ftp://example.org"), FailureKind::Invalid, "not an https"),
        (Job::Verify { slot: 9999, trust: trust() }, FailureKind::Failed, "was not handed"),
    ] {
        let failure = done(ask(&job)).unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(expected), "{failure}");
    }
    assert!(serve(&mut &b"\x03\0\0\0xyz"[..], &mut Vec::new()).is_err(), "nonsense is no job");
}
