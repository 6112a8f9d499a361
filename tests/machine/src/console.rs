//! The serial console: every line with the time it came, and waiting for one.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::machine::End;

/// Output may still be on its way when the end is known.
const GRACE: Duration = Duration::from_millis(300);

/// One line of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which boot it belongs to; the first is 1.
    pub boot: u32,
    /// Since QEMU was started for that boot.
    pub at: Duration,
    pub text: String,
}

/// What the console has shown, over all boots. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Console(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    boot: u32,
    /// How the current boot ended, and when that was known.
    end: Option<(End, Instant)>,
    watchdog: bool,
}

impl Console {
    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.with(|state| state.lines.clone())
    }

    /// The first line of the current boot that contains `text`.
    pub fn find(&self, text: &str) -> Option<Line> {
        self.with(|state| find(state, text))
    }

    /// How many lines, over all boots, contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.with(|state| state.lines.iter().filter(|line| line.text.contains(text)).count())
    }

    /// The newest lines, each with its boot and time.
    pub fn tail(&self, count: usize) -> String {
        self.with(|state| tail(state, count))
    }

    /// Waits for a line of the current boot that contains `text`; one that came before counts.
    pub fn wait_for(&self, text: &str, within: Duration) -> Result<Line, Error> {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(line) = find(&state, text) {
                return Ok(line);
            }
            let what = || format!("a line with {text:?}");
            let now = Instant::now();
            let until = match state.end {
                Some((end, since)) if now >= since + GRACE => {
                    return Err(Error::Ended { what: what(), end: end.to_string(), tail: tail(&state, 40) });
                }
                Some((_, since)) => deadline.min(since + GRACE),
                None => deadline,
            };
            if now >= deadline {
                return Err(Error::Late { what: what(), within, tail: tail(&state, 40) });
            }
            state = self.sleep(state, until - now);
        }
    }

    /// Waits for the end of the current boot.
    pub(crate) fn wait_end(&self, within: Duration) -> Result<End, Error> {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.end {
                Some((end, _)) => return Ok(end),
                None if now >= deadline => {
                    let what = "the end of this boot".into();
                    return Err(Error::Late { what, within, tail: tail(&state, 40) });
                }
                None => state = self.sleep(state, deadline - now),
            }
        }
    }

    pub(crate) fn begin(&self) {
        self.change(|state| {
            state.boot += 1;
            state.end = None;
            state.watchdog = false;
        });
    }

    /// The first end counts: what comes after a reset (QEMU going away) is no end of its own.
    pub(crate) fn end(&self, end: End) {
        self.change(|state| {
            let end = if state.watchdog && end == End::Reset { End::Watchdog } else { end };
            state.end.get_or_insert((end, Instant::now()));
        });
    }

    pub(crate) fn watchdog_bit(&self) {
        self.change(|state| state.watchdog = true);
    }

    /// Takes lines from `output` until it closes.
    pub(crate) fn follow(&self, mut output: impl Read + Send + 'static, echo: bool) {
        let (console, start) = (self.clone(), Instant::now());
        let boot = self.with(|state| state.boot);
        std::thread::spawn(move || {
            let mut pending = Vec::new();
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                if echo {
                    let mut terminal = std::io::stdout().lock();
                    // The terminal may be gone; the log is kept all the same.
                    let _ = terminal.write_all(&bytes[..length]).and_then(|()| terminal.flush());
                }
                pending.extend_from_slice(&bytes[..length]);
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    console.push(boot, start.elapsed(), &line);
                }
            }
            if !pending.is_empty() {
                console.push(boot, start.elapsed(), &pending);
            }
        });
    }

    fn push(&self, boot: u32, at: Duration, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']).to_owned();
        self.change(|state| state.lines.push(Line { boot, at, text }));
    }

    fn change(&self, with: impl FnOnce(&mut State)) {
        with(&mut self.lock());
        self.0.changed.notify_all();
    }

    fn with<T>(&self, with: impl FnOnce(&State) -> T) -> T {
        with(&self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(&self, state: std::sync::MutexGuard<'a, State>, for_: Duration) -> std::sync::MutexGuard<'a, State> {
        self.0.changed.wait_timeout(state, for_).unwrap_or_else(PoisonError::into_inner).0
    }
}

fn find(state: &State, text: &str) -> Option<Line> {
    state.lines.iter().find(|line| line.boot == state.boot && line.text.contains(text)).cloned()
}

fn tail(state: &State, count: usize) -> String {
    let skipped = state.lines.len().saturating_sub(count);
    let show = |line: &Line| format!("{}/{:7.3} {}", line.boot, line.at.as_secs_f64(), line.text);
    state.lines.iter().skip(skipped).map(show).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const SOON: Duration = Duration::from_secs(5);

    fn console(output: &'static str) -> Console {
        let console = Console::default();
        console.begin();
        console.follow(Cursor::new(output), false);
        console
    }

    #[test]
    fn a_line_is_found_whole_and_without_its_ending() {
        let console = console("first\r\nsecond: ready\r\nlast");
        assert_eq!(console.wait_for("ready", SOON).unwrap().text, "second: ready");
        assert_eq!(console.wait_for("last", SOON).unwrap().boot, 1);
        assert_eq!(console.count("s"), 3);
    }

    #[test]
    fn lines_of_an_earlier_boot_do_not_count() {
        let console = console("ready\n");
        console.wait_for("ready", SOON).unwrap();
        console.begin();
        let why = console.wait_for("ready", Duration::from_millis(20)).unwrap_err().to_string();
        assert!(why.starts_with("not within 20ms: a line with \"ready\"") && why.ends_with("ready"), "{why}");
    }

    #[test]
    fn waiting_ends_with_the_machine() {
        let console = console("panic\n");
        console.end(End::Reset);
        let why = console.wait_for("ready", SOON).unwrap_err().to_string();
        assert!(why.starts_with("the machine ended (reset) before a line with \"ready\""), "{why}");
    }

    #[test]
    fn a_reset_by_the_watchdog_is_told_from_one_by_the_guest() {
        for (bit, expected) in [(false, End::Reset), (true, End::Watchdog)] {
            let console = console("");
            if bit {
                console.watchdog_bit();
            }
            console.end(End::Reset);
            console.end(End::Lost);
            assert_eq!(console.wait_end(SOON).unwrap(), expected);
        }
    }
}
