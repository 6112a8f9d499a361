//! A child process whose output is kept, that can be signalled, and that never outlives its test.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::until;

/// Lines kept for the report of a failed test.
const KEPT: usize = 400;

/// What a process has said so far; its newest lines.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn follow(&self, output: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let mut lines = log.0.lock().unwrap();
                if lines.len() == KEPT {
                    lines.pop_front();
                }
                lines.push_back(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }

    /// The newest line that contains `text`.
    pub fn find(&self, text: &str) -> Option<String> {
        self.0.lock().unwrap().iter().rev().find(|line| line.contains(text)).cloned()
    }

    pub fn count(&self, text: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// The newest lines.
    pub fn last(&self, count: usize) -> String {
        let lines = self.0.lock().unwrap();
        let skipped = lines.len().saturating_sub(count);
        lines.iter().skip(skipped).map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Waits for a line that contains `text`.
    pub async fn says(&self, text: &str, within: Duration) -> String {
        until(within, format!("a line with {text:?}"), async || self.find(text).ok_or_else(|| self.last(20))).await
    }
}

/// A running (or ended) child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pub log: Log,
    name: &'static str,
}

impl Process {
    pub fn start(name: &'static str, command: &mut Command, log: Log) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|why| panic!("{name} does not start: {why}"));
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        Self { child, log, name }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub async fn end(&mut self, within: Duration) -> ExitStatus {
        let name = self.name;
        until(within, format!("{name} ends"), async || self.ended().ok_or("it runs")).await
    }

    /// As a power cut would: at once, with nothing written.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- the last lines of {}:\n{}\n---", self.name, self.log.last(60));
        }
    }
}
