//! The clock: never earlier than it was, right as soon as the network says so, and remembered over a power cut.
//!
//! An unprivileged child asks the time servers; only here is the clock set.

use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use warppool_handover::TimeZone;
use warppool_jail::Cell;
use warppool_network::clock::{Config, Correction, Event as Told, correction, floor, parse_saved, saved_text};
use warppool_protocol::read_frame;

use crate::child::{Launch, run};
use crate::console::say;
use crate::errands::Errands;
use crate::event::{Event, Events};
use crate::reaper::Reaper;
use crate::{durable, sys, users};

pub const NAME: &str = "clock";
/// Between two times that are saved: what a power cut costs is at most this, and the card is written 24 times a day.
const SAVE: Duration = Duration::from_hours(1);

/// Unix seconds.
pub fn now() -> u64 {
    since_epoch().as_secs()
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn file(data: &Path) -> PathBuf {
    data.join("system/clock")
}

/// At a boot: a clock without a battery begins where it was last seen.
pub fn start(data: &Path, built: u64) {
    let saved = durable::read(&file(data), 64).ok().and_then(|bytes| parse_saved(&String::from_utf8_lossy(&bytes)));
    let floor = floor(built, saved);
    if now() < floor {
        set(Duration::from_secs(floor));
        say!("clock: begins at {floor} until the network says better");
    }
}

fn set(to: Duration) {
    if let Err(why) = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(to)) {
        say!("clock: cannot be set: {why}");
    }
}

/// The hour of local time, 0 to 23.
///
/// `BusyBox` says it: it knows the image's time zones, and is one call where a window for updates is set.
pub fn local_hour(reaper: &Reaper, zone: Option<&TimeZone>, idle: impl FnMut()) -> Option<u8> {
    let cell = Cell::new(users::CLOCK.uid, users::CLOCK.gid).environment("TZ", zone.map_or("UTC", TimeZone::as_str));
    let launch = Launch::new("date", "/bin/busybox", ["date", "+%H"]).cell(cell).reports();
    let done = run(reaper, &launch, Duration::from_secs(3), idle).ok()?;
    String::from_utf8_lossy(&done.output).trim().parse().ok().filter(|hour| *hour < 24)
}

#[derive(Debug)]
pub struct Clock {
    /// Set from the network since the boot.
    pub trusted: bool,
    saved: Duration,
}

impl Clock {
    pub fn new(trusted: bool) -> Self {
        Self { trusted, saved: sys::uptime() }
    }

    /// Takes in what the child found out. True when the clock has become trusted by it.
    pub fn take(&mut self, told: &Told, data: &Path, errands: &Errands) -> bool {
        match told {
            Told::Offset { microseconds, agreeing, answers } => {
                match correction(*microseconds, self.trusted) {
                    Correction::Step(by) => {
                        let micros = i128::try_from(since_epoch().as_micros()).unwrap_or(0) + i128::from(by);
                        set(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
                        // Tells the kernel that the time is good; there is nothing left to shift.
                        drop(sys::slew_clock(0));
                    }
                    Correction::Slew(by) => {
                        if let Err(why) = sys::slew_clock(by) {
                            say!("clock: cannot be shifted: {why}");
                        }
                    }
                }
                let first = !self.trusted;
                self.trusted = true;
                if first {
                    say!("clock: set by {} ms; {agreeing} of {answers} servers agree", microseconds / 1000);
                    self.save(data, errands);
                }
                first
            }
            Told::Failed { why, retry_seconds } => {
                // The child says it again and again where there is no network.
                if self.trusted || *retry_seconds >= 60 {
                    say!("clock: {why}; asking again in {retry_seconds} s");
                }
                false
            }
        }
    }

    /// Saves the time now and then; to be called often.
    pub fn tick(&mut self, data: &Path, errands: &Errands) {
        if sys::uptime().saturating_sub(self.saved) >= SAVE {
            self.save(data, errands);
        }
    }

    pub fn save(&mut self, data: &Path, errands: &Errands) {
        self.saved = sys::uptime();
        let path = file(data);
        errands.send("the time", move || {
            if let Err(why) = durable::write(&path, saved_text(now()).as_bytes(), 0o644) {
                say!("clock: the time cannot be saved: {why}");
            }
        });
    }
}

/// What the child is to do; it goes to its standard input.
pub fn input(config: &Config) -> Vec<u8> {
    postcard::to_stdvec(config).unwrap_or_default()
}

/// Passes on what the child reports.
pub fn listen(mut pipe: PipeReader, events: &Events) {
    while let Ok(Some(told)) = read_frame::<Told>(&mut pipe) {
        if events.send(Event::Clock(told)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_saved_and_found_again() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join("system")).unwrap();
        let errands = Errands::start().unwrap();
        let before = now();
        Clock::new(false).save(data.path(), &errands);
        assert!(errands.finish(Duration::from_secs(5), || ()));
        let text = std::fs::read_to_string(file(data.path())).unwrap();
        let saved = parse_saved(&text).unwrap();
        assert!((before..=now()).contains(&saved));
    }
}
