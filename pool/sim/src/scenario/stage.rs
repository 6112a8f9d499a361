//! What an act is played on: a folder of its own, the pools it starts, and the record of all that was looked at.

use std::fmt::Display;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::Options;
use super::child::Pool;
use super::log::Log;
use super::setup::Setup;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// Lines of a pool's log shown after a failure.
const TAIL: usize = 15;

pub(super) struct Stage {
    program: PathBuf,
    dir: TempDir,
    lines: Vec<String>,
    failed: bool,
    errors_expected: bool,
    logs: Vec<Log>,
}

impl Stage {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("warppool-sim-").tempdir().context("no folder for the pool's data")?;
        let program = std::path::absolute(&options.program)?;
        Ok(Self { program, dir, lines: Vec::new(), failed: false, errors_expected: false, logs: Vec::new() })
    }

    /// Records what was looked at, and whether it was as it should be.
    pub(super) fn check(&mut self, passed: bool, what: impl Display) {
        self.failed |= !passed;
        self.lines.push(format!("{} {what}", if passed { "ok:" } else { "FAILED:" }));
    }

    /// Records what is not judged.
    pub(super) fn note(&mut self, what: impl Display) {
        self.lines.push(format!("note: {what}"));
    }

    /// Records how long something took that had to happen, or that it did not.
    pub(super) fn happened(&mut self, outcome: Result<Duration>, what: impl Display) {
        match outcome {
            Ok(after) => self.check(true, format!("{what} (after {:.2} s)", after.as_secs_f64())),
            Err(why) => self.check(false, format!("{what}: {why:#}")),
        }
    }

    /// What is done to the pool here gives it reason to complain in its log.
    pub(super) fn expect_errors(&mut self) {
        self.errors_expected = true;
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a pool and waits until its page and its port for miners are there.
    pub(super) async fn pool(&mut self, setup: Setup) -> Result<Pool> {
        let log = Log::new();
        self.logs.push(log.clone());
        let number = self.logs.len();
        Pool::start(&self.program, self.dir.path(), number, setup, log).await
    }

    /// Stops a pool as its operator does, and sees that it goes in peace.
    pub(super) async fn stop(&mut self, pool: Pool) {
        match pool.stop().await {
            Ok(took) => self.check(true, format!("the pool stops when told, after {:.2} s", took.as_secs_f64())),
            Err(why) => self.check(false, format!("the pool stops when told: {why:#}")),
        }
    }

    /// The end: no pool may have panicked. Gives whether all passed, and the record.
    pub(super) fn strike(mut self) -> (bool, Vec<String>) {
        let fatal: Vec<String> = self.logs.iter().flat_map(Log::fatal).collect();
        match fatal.first() {
            None => self.check(true, "no panic in the pool's log"),
            Some(first) => self.check(false, format!("{} panics in the pool's log: {first}", fatal.len())),
        }
        let errors: Vec<String> = self.logs.iter().flat_map(Log::errors).collect();
        if let (Some(first), false) = (errors.first(), self.errors_expected) {
            self.check(false, format!("{} errors in the pool's log: {first}", errors.len()));
        }
        if let Some(raw) = self.logs.iter().find_map(Log::raw) {
            self.check(false, format!("a raw control character in the pool's log: {raw}"));
        }
        if self.failed {
            for log in &self.logs {
                self.lines.extend(log.tail(TAIL).into_iter().map(|line| format!("log:  {line}")));
            }
        }
        (!self.failed, self.lines)
    }
}

/// Waits for a condition; gives how long it took, or what did not happen.
pub(super) async fn until<F, Fut>(within: Duration, what: &str, mut condition: F) -> Result<Duration>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let started = Instant::now();
    loop {
        if condition().await {
            return Ok(started.elapsed());
        }
        if started.elapsed() > within {
            bail!("{what} did not happen within {within:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
