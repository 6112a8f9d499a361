//! The time from the network: several SNTP servers are asked and have to agree. The work of an unprivileged child,
//! which tells PID 1 how far the clock is off; PID 1 alone sets it, and keeps the last known time for a device without
//! a clock of its own.

mod agree;
mod ask;
mod floor;
mod server;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use agree::{Agreement, Disagreement, Sample, agree};
pub use floor::{Correction, MAX_SLEW, correction, floor, parse_saved, saved_text};
pub use server::{NtpServer, ServerError, servers};

/// How the clock is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub servers: Vec<NtpServer>,
    /// When this version was built, Unix seconds: nobody who says it is earlier is believed.
    pub not_before: u64,
    pub timing: Timing,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// How long a server may take, its name's look-up included.
    pub patience: Duration,
    /// Between attempts that failed: first so long, then twice as long each time, up to `last_retry`.
    pub first_retry: Duration,
    pub last_retry: Duration,
    /// Between attempts that succeeded.
    pub interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(4),
            first_retry: Duration::from_secs(2),
            last_retry: Duration::from_secs(512),
            // A Pi's crystal drifts some 70 ms in this time.
            interval: Duration::from_secs(2048),
        }
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Add this to the clock.
    Offset {
        microseconds: i64,
        /// The answers that agreed, of those that came.
        agreeing: u8,
        answers: u8,
    },
    /// Nobody can be believed for now; it is tried again.
    Failed { why: String, retry_seconds: u64 },
}

/// Asks again and again and tells, until `stop` is sent to or its sender is gone.
pub fn serve(config: &Config, stop: &Receiver<()>, mut tell: impl FnMut(Event)) {
    let mut retry = config.timing.first_retry;
    loop {
        let pause = match round(config) {
            Ok(agreement) => {
                tell(Event::Offset {
                    microseconds: (agreement.offset * 1e6).round() as i64,
                    agreeing: agreement.agreeing as u8,
                    answers: agreement.answers as u8,
                });
                retry = config.timing.first_retry;
                config.timing.interval
            }
            Err(why) => {
                let pause = retry;
                retry = (retry * 2).min(config.timing.last_retry);
                tell(Event::Failed { why, retry_seconds: pause.as_secs() });
                pause
            }
        };
        match stop.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One question to every server.
fn round(config: &Config) -> Result<Agreement, String> {
    let answers = ask::ask_all(&config.servers, config.timing.patience);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut believable = Vec::new();
    let mut said = Vec::new();
    for (server, answer) in answers {
        match answer {
            Ok(sample) if !agree::believable(&sample, now, config.not_before) => {
                said.push(format!("{server} says a time that cannot be"));
            }
            Ok(sample) => believable.push(sample),
            Err(why) => said.push(format!("{server}: {why}")),
        }
    }
    agree(&believable).map_err(|why| {
        said.insert(0, why.to_string());
        said.join("; ")
    })
}

#[cfg(test)]
mod tests;
