//! Starting programs: in their cell, with their output in the log, and with an end that is told and never waited for blindly.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use warppool_jail::{Cell, Confine as _};

use crate::console;
use crate::reaper::{Exit, Reaper};

/// What a pipe takes without anybody reading: input is written before the child runs.
const MAX_INPUT: usize = 60 * 1024;
/// What is kept of the output of a child that is waited for.
const MAX_OUTPUT: u64 = 512 * 1024;
const STACK: usize = 256 * 1024;
/// How often a wait looks up.
const TURN: Duration = Duration::from_millis(500);
/// How long output may keep coming after the child's end, from children of its own.
const LINGER: Duration = Duration::from_secs(2);

/// A program with all it is given.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name in the log.
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// `None` is a tool that runs as root with an environment of ours.
    pub cell: Option<Cell>,
    /// What it finds on its standard input; nothing without.
    pub input: Vec<u8>,
    /// Its standard output is not for the log but for us.
    pub reports: bool,
}

impl Launch {
    pub fn new<A: Into<OsString>>(
        name: &str,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            cell: None,
            input: Vec::new(),
            reports: false,
        }
    }

    #[must_use]
    pub fn cell(mut self, cell: Cell) -> Self {
        self.cell = Some(cell);
        self
    }

    #[must_use]
    pub fn reports(mut self) -> Self {
        self.reports = true;
        self
    }

    #[must_use]
    pub fn input(mut self, input: Vec<u8>) -> Self {
        self.input = input;
        self
    }
}

/// A child that runs. Its log is being collected.
#[derive(Debug)]
pub struct Started {
    pub pid: Pid,
    /// The end of its log's pipe that is read here.
    pub log: RawFd,
    pub reports: Option<PipeReader>,
}

/// Starts a program; `told` runs when it has ended, in the reaper's thread, and must be quick.
pub fn start(reaper: &Reaper, launch: &Launch, told: impl FnOnce(Pid, Exit) + Send + 'static) -> io::Result<Started> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments).current_dir("/").env_clear();
    let (log, log_end) = io::pipe()?;
    let mut reports = None;
    if launch.reports {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer);
        reports = Some(reader);
    } else {
        command.stdout(log_end.try_clone()?);
    }
    command.stderr(log_end).stdin(input(&launch.input)?);
    match &launch.cell {
        Some(cell) => command.confine(cell),
        // A tool leads a group of its own too, so that it is killed with all it started.
        None => command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").process_group(0),
    };
    console::log().begin(&launch.name);
    let child = reaper.spawn(&mut command, told)?;
    // The ends that are the child's must be closed here, or its output never ends.
    drop(command);
    let fd = log.as_raw_fd();
    collect(&launch.name, log)?;
    Ok(Started { pid: Pid::from_raw(child.id() as i32), log: fd, reports })
}

/// Collects a child's log in a thread of its own until it ends.
pub fn collect(name: &str, log: impl Read + Send + 'static) -> io::Result<()> {
    let from = name.to_owned();
    thread::Builder::new().name("log".into()).stack_size(STACK).spawn(move || console::collect(&from, log))?;
    Ok(())
}

fn input(bytes: &[u8]) -> io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    if bytes.len() > MAX_INPUT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more input than a pipe takes at once"));
    }
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(bytes)?;
    Ok(reader.into())
}

/// Sends a signal to a child and to all in its group, also when the child itself is gone.
pub fn signal_group(pid: Pid, signal: Signal) {
    let _ = kill(Pid::from_raw(-pid.as_raw()), signal);
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{name} cannot be started: {why}")]
    Start { name: String, why: io::Error },
    #[error("{name} had {} s and was not done; it was stopped", .after.as_secs())]
    Late { name: String, after: Duration },
}

/// How a child that was waited for ended, and what it said on its standard output when that was for us.
#[derive(Debug)]
pub struct Finished {
    pub exit: Exit,
    pub output: Vec<u8>,
}

/// Runs a program to its end, or kills it after `patience`. `idle` is called at least twice a second meanwhile.
pub fn run(reaper: &Reaper, launch: &Launch, patience: Duration, mut idle: impl FnMut()) -> Result<Finished, RunError> {
    let failed = |why| RunError::Start { name: launch.name.clone(), why };
    let (tell, ended) = mpsc::sync_channel(1);
    let mut started = start(reaper, launch, move |_, exit| {
        let _ = tell.send(exit);
    })
    .map_err(failed)?;
    let (give, output) = mpsc::sync_channel(1);
    match started.reports.take() {
        Some(reports) => {
            thread::Builder::new()
                .name("output".into())
                .stack_size(STACK)
                .spawn(move || {
                    let mut bytes = Vec::new();
                    let _ = reports.take(MAX_OUTPUT).read_to_end(&mut bytes);
                    let _ = give.send(bytes);
                })
                .map_err(failed)?;
        }
        None => drop(give),
    }
    let until = Instant::now() + patience;
    let exit = loop {
        idle();
        match ended.recv_timeout(TURN.min(until.saturating_duration_since(Instant::now()))) {
            Ok(exit) => break exit,
            Err(_) if Instant::now() >= until => {
                signal_group(started.pid, Signal::SIGKILL);
                return Err(RunError::Late { name: launch.name.clone(), after: patience });
            }
            Err(_) => {}
        }
    };
    idle();
    Ok(Finished { exit, output: output.recv_timeout(LINGER).unwrap_or_default() })
}
