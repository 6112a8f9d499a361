//! What is remembered of updates on the data partition. Everything in it can be lost: then defaults hold, and it is told.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::feed::Channel;
use crate::gate::Baseline;
use crate::layout::Slot;
use crate::schedule::Automatic;
use crate::version::Version;

/// Where it is kept on the device.
pub const DIRECTORY: &str = "/data/ota";
const NAME: &str = "state";
/// Longer ones are not read, bytes.
const LONGEST: u64 = 256 * 1024;
/// Trials that end without a verdict, be it a crash or a power cut, before a version is given up.
const MOST_FAILURES: u32 = 2;
/// Trials that never came up, be it for a power cut or a kernel that dies, before a version is given up.
const MOST_LOST: u32 = 3;
/// Versions remembered in each list.
const MOST_VERSIONS: usize = 32;

/// Remembered across restarts and updates. Releases read what others wrote: unknown fields are passed over, missing ones are the
/// default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What `autoboot.txt` should say if it cannot be read. Written before a commit.
    pub autoboot: Option<Slot>,
    pub trial: Option<TrialRecord>,
    /// Boots in a row that did not become healthy, where the firmware does not count them.
    pub attempts: u32,
    /// Versions that kept dying and gave way to the other slot once.
    pub gave_way: Vec<Version>,
    pub failures: Vec<Failure>,
    /// Installations that nobody asked for and that failed, in a row.
    pub stumbles: u32,
    /// Of the last of them, Unix seconds.
    pub last_stumble: Option<u64>,
    /// The highest serials of the feeds seen.
    pub serials: Serials,
    pub settings: Settings,
    /// Unix seconds.
    pub last_check: Option<u64>,
    pub last_error: Option<String>,
    /// Unix seconds.
    pub last_scrub: Option<u64>,
}

/// A version that was armed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialRecord {
    pub slot: Slot,
    pub version: Version,
    /// It came up at least once; otherwise the one-shot flag was lost, as in a power cut.
    pub started: bool,
    /// How things were before.
    pub baseline: Baseline,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub version: Version,
    pub times: u32,
    /// Trials that never came up.
    #[serde(default)]
    pub lost: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Serials {
    pub stable: u64,
    pub beta: u64,
}

/// How updates are looked for and installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub automatic: Automatic,
    pub channel: Channel,
    pub every_hours: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { automatic: Automatic::Off, channel: Channel::Stable, every_hours: 24 }
    }
}

/// What was found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub state: State,
    /// What is wrong with the file; the default is used then.
    pub problem: Option<String>,
}

impl State {
    /// Reads it. A file that is not there is no problem; one that cannot be read is told.
    pub fn load(directory: &Path) -> Loaded {
        match Self::read(&directory.join(NAME)) {
            Ok(state) => Loaded { state, problem: None },
            Err(problem) => Loaded { state: Self::default(), problem: Some(problem) },
        }
    }

    fn read(path: &Path) -> Result<Self, String> {
        let told = |what: &dyn std::fmt::Display| {
            format!("what was remembered of updates cannot be used and begins anew ({}: {what})", path.display())
        };
        match fs::metadata(path) {
            Ok(found) if found.len() > LONGEST => return Err(told(&"it is too long")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            _ => {}
        }
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        let (sum, body) = text.split_once('\n').ok_or_else(|| told(&"it is empty"))?;
        if sum != check_line(body) {
            return Err(told(&"its checksum does not fit"));
        }
        toml::from_str(body).map_err(|error| told(&error))
    }

    /// Writes it durably: after a power cut there is the old one or the new one.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        let body = toml::to_string(self).map_err(io::Error::other)?;
        let text = format!("{}\n{body}", check_line(&body));
        replace(&directory.join(NAME), text.as_bytes())
    }

    pub fn serial(&self, channel: Channel) -> u64 {
        match channel {
            Channel::Stable => self.serials.stable,
            Channel::Beta => self.serials.beta,
        }
    }

    pub fn saw_serial(&mut self, channel: Channel, serial: u64) {
        let known = match channel {
            Channel::Stable => &mut self.serials.stable,
            Channel::Beta => &mut self.serials.beta,
        };
        *known = serial.max(*known);
    }

    /// A trial ended without a verdict. `certain`: the gate itself found the version bad, so that it is not tried again.
    pub fn failed(&mut self, version: &Version, certain: bool) {
        self.count_failure(version, if certain { MOST_FAILURES } else { 1 }, 0);
    }

    /// A trial never came up.
    pub fn lost(&mut self, version: &Version) {
        self.count_failure(version, 0, 1);
    }

    fn count_failure(&mut self, version: &Version, times: u32, lost: u32) {
        match self.failures.iter_mut().find(|failure| failure.version == *version) {
            Some(failure) => {
                failure.times = failure.times.saturating_add(times);
                failure.lost = failure.lost.saturating_add(lost);
            }
            None => self.failures.push(Failure { version: version.clone(), times, lost }),
        }
        let excess = self.failures.len().saturating_sub(MOST_VERSIONS);
        self.failures.drain(..excess);
    }

    /// An installation that nobody asked for failed; the next one waits.
    pub fn stumbled(&mut self, now: u64) {
        self.stumbles = self.stumbles.saturating_add(1);
        self.last_stumble = Some(now);
    }

    /// An installation went well.
    pub fn found_its_feet(&mut self) {
        (self.stumbles, self.last_stumble) = (0, None);
    }

    /// Whether a trial of this version has ended badly.
    pub fn has_failed(&self, version: &Version) -> bool {
        self.failures.iter().any(|failure| failure.times > 0 && failure.version == *version)
    }

    /// Versions that are not installed again without being asked for.
    pub fn given_up(&self) -> Vec<Version> {
        let too_many = |failure: &&Failure| failure.times >= MOST_FAILURES || failure.lost >= MOST_LOST;
        let enough = self.failures.iter().filter(too_many);
        enough.map(|failure| failure.version.clone()).collect()
    }

    /// This version has had its turn in giving way; boots of slot `to` are counted anew.
    pub fn give_way(&mut self, to: Slot, version: &Version) {
        self.autoboot = Some(to);
        self.attempts = 0;
        if !self.gave_way.contains(version) {
            self.gave_way.push(version.clone());
        }
        let excess = self.gave_way.len().saturating_sub(MOST_VERSIONS);
        self.gave_way.drain(..excess);
    }
}

fn check_line(body: &str) -> String {
    format!("# {}", Digest::of(body.as_bytes()))
}

/// Puts a file in the place of another, durably, so that there is always one of them whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes a rename or a new file in a folder durable, where folders can be opened.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> State {
        let mut state = State {
            autoboot: Some(Slot::B),
            trial: Some(TrialRecord {
                slot: Slot::B,
                version: Version::new(1, 2, 3),
                started: true,
                baseline: Baseline { network: true, node: false, memory_ledger: true },
            }),
            attempts: 2,
            gave_way: vec![Version::new(1, 0, 0)],
            settings: Settings {
                automatic: Automatic::Window { from: 2, until: 5 },
                channel: Channel::Beta,
                every_hours: 6,
            },
            last_check: Some(9),
            last_error: Some("a \"line\"\nand another".into()),
            last_scrub: Some(8),
            ..State::default()
        };
        state.failed(&Version::new(1, 1, 0), true);
        state.lost(&Version::new(1, 3, 0));
        state.stumbled(7);
        state.saw_serial(Channel::Stable, 5);
        state
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::load(dir.path()), Loaded { state: State::default(), problem: None });
        for state in [full(), State::default()] {
            state.save(dir.path()).unwrap();
            assert_eq!(State::load(dir.path()), Loaded { state, problem: None });
        }
    }

    #[test]
    fn a_damaged_file_is_told_and_the_default_holds() {
        let dir = tempfile::tempdir().unwrap();
        full().save(dir.path()).unwrap();
        let path = dir.path().join(NAME);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[100] ^= 1;
        for bytes in [&flipped[..], &good[..good.len() - 1], b"", b"\xff\xfe", &vec![b' '; 300_000]] {
            fs::write(&path, bytes).unwrap();
            let loaded = State::load(dir.path());
            assert_eq!(loaded.state, State::default());
            assert!(loaded.problem.is_some());
        }
    }

    #[test]
    fn what_another_release_wrote_is_read_as_far_as_it_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let body = "attempts = 3\nof_a_later_release = true\n";
        fs::write(dir.path().join(NAME), format!("{}\n{body}", check_line(body))).unwrap();
        let Loaded { state, problem } = State::load(dir.path());
        assert_eq!((state, problem), (State { attempts: 3, ..State::default() }, None));
    }

    #[test]
    fn a_version_is_given_up_at_once_by_the_gate_and_at_its_second_crash() {
        let mut state = State::default();
        let [bad, unlucky] = [Version::new(1, 0, 0), Version::new(1, 1, 0)];
        state.failed(&bad, true);
        state.failed(&unlucky, false);
        assert_eq!(state.given_up(), std::slice::from_ref(&bad));
        state.failed(&unlucky, false);
        assert_eq!(state.given_up(), [bad, unlucky]);
        for n in 0..100 {
            state.failed(&Version::new(2, n, 0), true);
            state.give_way(Slot::A, &Version::new(2, n, 0));
            state.give_way(Slot::A, &Version::new(2, n, 0));
        }
        assert_eq!((state.failures.len(), state.gave_way.len()), (MOST_VERSIONS, MOST_VERSIONS));
    }

    #[test]
    fn a_version_that_never_comes_up_is_given_up_the_third_time() {
        let mut state = State::default();
        let version = Version::new(1, 0, 0);
        for given_up in [vec![], vec![], vec![version.clone()]] {
            state.lost(&version);
            assert_eq!(state.given_up(), given_up);
        }
    }

    #[test]
    fn a_trial_that_an_older_release_armed_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let body = "[trial]\nslot = 'B'\nversion = '1.0.0'\nstarted = true\nbaseline = { network = true, node = true }\n\
                    [[failures]]\nversion = '1.1.0'\ntimes = 2\n";
        fs::write(dir.path().join(NAME), format!("{}\n{body}", check_line(body))).unwrap();
        let Loaded { state, problem } = State::load(dir.path());
        assert_eq!(problem, None);
        let baseline = Baseline { network: true, node: true, memory_ledger: false };
        assert_eq!(state.trial.map(|trial| trial.baseline), Some(baseline));
        assert_eq!(state.failures[0].times, 2);
    }

    #[test]
    fn a_serial_never_goes_down() {
        let mut state = State::default();
        state.saw_serial(Channel::Beta, 7);
        state.saw_serial(Channel::Beta, 5);
        assert_eq!((state.serial(Channel::Beta), state.serial(Channel::Stable)), (7, 0));
    }
}
