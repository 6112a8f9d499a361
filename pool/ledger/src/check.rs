//! Whether a ledger can be trusted: every page followed, every value's checksum and form checked.
//!
//! At start a child process does this, because LMDB ends a process by a signal when its file is damaged in a way that
//! nothing foresaw; a dead child is an answer too.

use std::ffi::OsString;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::chunk::Chunk;
use crate::key::{self, Key};
use crate::pages;
pub use crate::pages::Damage;
use crate::record::{AuditRow, BestShare, BlockRow, Checkpoint, Format, NotifySample, TierRecord, WorkerRecord};
use crate::store::lmdb::{DATA, LmdbStore};
use crate::store::{Store, everything};
use crate::value::{self, Undecodable};

/// Who checks a ledger before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checker {
    /// A child process: this program with these arguments and the ledger's directory after them. It must exit with 0 when
    /// [`walk`] is content; anything else, a signal, or running out of time means damage.
    Command(PathBuf, Vec<OsString>),
    /// This process itself. Damage that plain reads cannot see may end it.
    InProcess,
    /// Nobody: only what opening notices.
    None,
}

/// What a whole ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Records of a later release, which this one leaves alone.
    pub unknown: u64,
}

/// Reads every page and decodes every value of the ledger in a directory that no running pool writes to.
pub fn walk(dir: &Path) -> Result<Report, Damage> {
    let path = dir.join(DATA);
    let mut report = Report::default();
    if pages::READABLE {
        pages::walk(&path, &mut |key, bytes| report.record(key, bytes))?;
    }
    // The same again as LMDB sees it.
    let length = std::fs::metadata(&path).map_err(|error| Damage(format!("it cannot be read: {error}")))?.len();
    let store = LmdbStore::open(dir, length.next_multiple_of(1 << 20)).map_err(|error| Damage(error.to_string()))?;
    let mut seen = Report::default();
    let mut told = Ok(());
    let read = store.read(&mut |reader| {
        reader.scan(everything(), false, &mut |key, bytes| {
            told = seen.record(key, bytes);
            if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    });
    Box::new(store).close();
    read.map_err(|error| Damage(error.to_string()))?;
    told?;
    if pages::READABLE && seen != report {
        return Err(Damage("LMDB does not find the records that its pages hold".into()));
    }
    Ok(seen)
}

impl Report {
    fn record(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), Damage> {
        self.records += 1;
        self.bytes += (key.len() + bytes.len()) as u64;
        let judged = match value::body(key, bytes) {
            Ok(body) => decode_body(key, body),
            Err(undecodable) => Err(undecodable),
        };
        match judged {
            Ok(true) => Ok(()),
            Ok(false) | Err(Undecodable::UnknownSchema(_)) => {
                self.unknown += 1;
                Ok(())
            }
            Err(undecodable) => Err(Damage(format!("the record {}: {undecodable}", hex(key)))),
        }
    }
}

/// Decodes the postcard bytes of any record as its key says; `false` for a key of a later release. Also what the fuzzer feeds.
pub fn decode_body(key: &[u8], body: &[u8]) -> Result<bool, Undecodable> {
    match Key::parse(key) {
        None => return Ok(false),
        Some(Key::Meta(name)) => match name.as_slice() {
            key::meta::FORMAT => drop(value::from_body::<Format>(body)?),
            key::meta::CHECKPOINT => drop(value::from_body::<Checkpoint>(body)?),
            key::meta::NEXT_WORKER => drop(value::from_body::<u32>(body)?),
            key::meta::BESTS => drop(value::from_body::<Vec<BestShare>>(body)?),
            _ => return Ok(false),
        },
        Some(Key::Worker(_)) => drop(value::from_body::<WorkerRecord>(body)?),
        Some(Key::Raw { bucket, .. }) => drop(Chunk::from_record(bucket, value::from_body(body)?)?),
        Some(Key::Tier(..)) => drop(value::from_body::<TierRecord>(body)?),
        Some(Key::Block { .. }) => drop(value::from_body::<BlockRow>(body)?),
        Some(Key::Setting(_)) => drop(value::from_body::<String>(body)?),
        Some(Key::Audit { .. }) => drop(value::from_body::<AuditRow>(body)?),
        Some(Key::Notify { .. }) => drop(value::from_body::<NotifySample>(body)?),
    }
    Ok(true)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().take(48).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Asks the checker about the ledger in a directory.
pub(crate) fn ask(checker: &Checker, dir: &Path, patience: Duration) -> Result<(), Damage> {
    match checker {
        Checker::None => Ok(()),
        Checker::InProcess => walk(dir).map(drop),
        Checker::Command(program, arguments) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            match command.spawn() {
                Ok(child) => judge(child, patience),
                Err(error) => {
                    tracing::warn!(program = %program.display(), %error, "the ledger's checker does not start; checking here");
                    walk(dir).map(drop)
                }
            }
        }
    }
}

/// Waits for the child's verdict.
fn judge(mut child: Child, patience: Duration) -> Result<(), Damage> {
    let said = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.by_ref().take(4096).read_to_end(&mut said);
            // The rest is read and dropped, so that the child never waits for a reader.
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&said).trim().to_owned()
        })
    });
    let status = wait(&mut child, patience);
    let said = said.and_then(|reader| reader.join().ok()).unwrap_or_default();
    match status {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(Damage(format!("the check ended with {status}: {said}"))),
        Ok(None) => Err(Damage(format!("the check did not end within {} s", patience.as_secs()))),
        Err(error) => Err(Damage(format!("the check could not be waited for: {error}"))),
    }
}

/// `None` when patience ran out; the child is gone then too.
fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// How long a check may take: a minute, and a second for every 4 MiB, which the slowest of cards can read.
pub(crate) fn patience(bytes: u64) -> Duration {
    Duration::from_secs(60 + bytes / (4 << 20))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> Result<(), Damage> {
        let arguments = ["-c", script].map(OsString::from).to_vec();
        ask(&Checker::Command("/bin/sh".into(), arguments), Path::new("/nowhere"), patience)
    }

    #[test]
    fn a_child_that_fails_dies_by_signal_or_takes_for_ever_means_damage() {
        let long = Duration::from_secs(20);
        assert_eq!(shell("exit 0", long), Ok(()));
        assert!(shell("echo page 7 is odd >&2; exit 3", long).unwrap_err().0.contains("page 7 is odd"));
        assert!(shell("kill -BUS $$", long).unwrap_err().0.contains("signal"));
        assert!(shell("exec sleep 30", Duration::from_millis(20)).unwrap_err().0.contains("did not end"));
    }

    #[test]
    fn a_child_that_floods_its_output_does_not_stall() {
        assert!(shell("head -c 300000 /dev/zero >&2; exit 1", Duration::from_secs(20)).is_err());
    }
}
