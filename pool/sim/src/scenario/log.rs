//! What the pool's process says on both of its outputs, kept while it runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

/// The last lines are kept; of a flood of them nobody needs all.
const KEPT: usize = 20_000;
/// Only so much of a line is kept.
const LONGEST: usize = 2_000;
/// How a Rust program says that it has failed.
const FATAL: [&str; 4] = ["panicked at", "memory allocation of", "has overflowed its stack", "fatal runtime error"];
/// What no healthy pool has to say.
const UNWELL: [&str; 2] = [" ERROR ", "cannot be written"];

/// Clones are the same log.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Lines so far.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    fatal: Vec<String>,
    errors: Vec<String>,
    raw: Option<String>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), count: watch::Sender::new(0) }))
    }

    /// Reads one of the process's outputs to its end.
    pub(super) fn follow(&self, output: impl AsyncRead + Unpin + Send + 'static) {
        let log = self.clone();
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut bytes = Vec::new();
            while output.read_until(b'\n', &mut bytes).await.is_ok_and(|length| length > 0) {
                log.push(&String::from_utf8_lossy(&bytes));
                bytes.clear();
            }
        });
    }

    pub(super) fn push(&self, line: &str) {
        let line = line.trim_end_matches(['\n', '\r']);
        {
            let mut state = self.0.state.lock();
            if FATAL.iter().any(|word| line.contains(word)) {
                state.fatal.push(line.to_owned());
            }
            if state.errors.len() < KEPT && UNWELL.iter().any(|word| line.contains(word)) {
                state.errors.push(line.to_owned());
            }
            if state.raw.is_none() && line.chars().any(|c| c.is_control() && c != '\t') {
                state.raw = Some(line.escape_debug().to_string());
            }
            if state.lines.len() == KEPT {
                state.lines.pop_front();
            }
            state.lines.push_back(line[..line.floor_char_boundary(LONGEST)].to_owned());
        }
        self.0.count.send_modify(|count| *count += 1);
    }

    /// The latest kept line that holds this text.
    pub(super) fn find(&self, text: &str) -> Option<String> {
        self.0.state.lock().lines.iter().rev().find(|line| line.contains(text)).cloned()
    }

    /// Waits for a line that holds this text; one already there counts.
    pub(super) async fn wait_for(&self, text: &str, within: Duration) -> Result<String> {
        let mut count = self.0.count.subscribe();
        let found = async {
            loop {
                count.borrow_and_update();
                match self.find(text) {
                    Some(line) => return line,
                    // The sender lives as long as this log.
                    None => drop(count.changed().await),
                }
            }
        };
        match timeout(within, found).await {
            Ok(line) => Ok(line),
            Err(_) => bail!("the pool's log does not say {text:?} within {within:?}"),
        }
    }

    /// Panics, aborts, and the like.
    pub(super) fn fatal(&self) -> Vec<String> {
        self.0.state.lock().fatal.clone()
    }

    /// Errors, and what cannot be written.
    pub(super) fn errors(&self) -> Vec<String> {
        self.0.state.lock().errors.clone()
    }

    /// A line with a control character in it, escaped: somebody could write lines of his own into this log.
    pub(super) fn raw(&self) -> Option<String> {
        self.0.state.lock().raw.clone()
    }

    /// The end, with warnings and errors alone unless there are none.
    pub(super) fn tail(&self, most: usize) -> Vec<String> {
        let state = self.0.state.lock();
        let last =
            |lines: Vec<&String>| lines[lines.len().saturating_sub(most)..].iter().map(|l| (*l).clone()).collect();
        let loud: Vec<&String> = state.lines.iter().filter(|l| !l.contains(" INFO ")).collect();
        if loud.is_empty() { last(state.lines.iter().collect()) } else { last(loud) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panics_errors_and_control_characters_are_noticed_and_lines_are_found() {
        let log = Log::new();
        log.follow(&b"2026 INFO miners connect\n2026  WARN \x1b[31mred\n"[..]);
        assert!(log.wait_for("red", Duration::from_secs(5)).await.unwrap().contains("WARN"));
        assert!(log.fatal().is_empty() && log.errors().is_empty());
        assert_eq!(log.raw().unwrap(), r"2026  WARN \u{1b}[31mred");
        log.push("thread 'main' panicked at src/x.rs:1:2:");
        log.push("2026 ERROR the sky");
        assert_eq!((log.fatal().len(), log.errors().len()), (1, 1));
        assert!(log.wait_for("green", Duration::from_millis(10)).await.unwrap_err().to_string().contains("green"));
        assert_eq!(log.tail(2), ["thread 'main' panicked at src/x.rs:1:2:", "2026 ERROR the sky"]);
    }
}
