//! Work on slots and feed that takes long: done by unprivileged children, watched by a thread, told to the main loop.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use warppool_jail::Cell;
use warppool_ota::disk::FileDisk;
use warppool_ota::feed::{self, Feed};
use warppool_ota::install::{Admission, Progress as OtaProgress, Stage as OtaStage};
use warppool_ota::slot::{self, Look, Verdict};
use warppool_ota::worker::{self, BundleFrom, CheckJob, FailureKind, Frames, InstallJob, Message, Outcome};
use warppool_ota::{Slot, Trust, Version};
use warppool_protocol::{Progress, Stage, Update, UpdateSource};

use super::roles::{self, BUNDLE, RUNNING, TARGET};
use super::{Tools, sources};
use crate::appliance::Facts;
use crate::child::{self, Launch, signal_group};
use crate::console::log;
use crate::disk::BootDisk;
use crate::event::Event;
use crate::server::Asker;
use crate::{sys, users};

/// A job that says nothing for so long is stopped.
pub const STUCK: Duration = Duration::from_mins(10);
/// Reading a whole slot on a slow card.
const VERIFY_PATIENCE: Duration = Duration::from_mins(5);
const MAX_OUTPUT: u64 = 64 << 20;

/// What the main loop hears of jobs.
#[derive(Debug)]
pub enum News {
    Progress(Progress),
    Installed(InstallEnd),
    Checked { channel: feed::Channel, found: Result<Offer, String> },
    Verified(Vec<Found>),
    Copied { to: Slot, done: Result<Version, String> },
    Committed { slot: Slot, done: Result<(), String>, asker: Option<Asker> },
}

#[derive(Debug)]
pub enum InstallEnd {
    Ready {
        target: Slot,
        version: Version,
        fetched: u64,
        reused: u64,
    },
    /// It is older than what runs, which somebody has to confirm at the device.
    Older {
        source: UpdateSource,
        by: u32,
        message: String,
    },
    Refused(String),
    Failed(String),
}

/// A version that is in its slot, whole and signed.
#[derive(Debug)]
pub struct Ready {
    pub target: Slot,
    pub version: Version,
    pub fetched: u64,
    pub reused: u64,
    pub asker: Asker,
    /// Since when the pool has said nothing while this waits, on the uptime clock.
    pub silent_since: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Offer {
    pub serial: u64,
    pub update: Option<Update>,
}

/// What a thorough look at a slot found.
#[derive(Debug)]
pub struct Found {
    pub slot: Slot,
    pub result: Result<(Look, Verdict), String>,
}

/// Work that nobody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    Scrub,
    Copy { from: Slot, to: Slot },
}

/// One that runs.
#[derive(Debug)]
pub struct Job {
    pub asker: Asker,
    /// The owner allows this one to come to an older version than the one that runs.
    pub allow_older: bool,
    /// When it last said something, on the uptime clock.
    pub heard: Duration,
    /// Its child; 0 while there is none.
    child: Arc<AtomicI32>,
}

impl Job {
    pub fn is_stuck(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) >= STUCK
    }

    pub fn kill(&self) {
        let pid = self.child.load(Ordering::Relaxed);
        if pid > 0 {
            signal_group(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Starts a thread for a job; what it comes to is the news it returns.
fn spawn(tools: &Tools, asker: Asker, work: impl FnOnce(&Worker) -> News + Send + 'static) -> Result<Job, String> {
    let child = Arc::new(AtomicI32::new(0));
    let worker = Worker { tools: tools.clone(), child: child.clone() };
    let thread = move || {
        let news = work(&worker);
        drop(worker.tools.events.send(Event::Update(news)));
    };
    thread::Builder::new().name("update".into()).spawn(thread).map_err(|why| why.to_string())?;
    Ok(Job { asker, allow_older: false, heard: sys::uptime(), child })
}

/// A job's thread.
struct Worker {
    tools: Tools,
    child: Arc<AtomicI32>,
}

type Done = Result<Outcome, worker::Failure>;

fn broken(message: &impl ToString) -> worker::Failure {
    worker::Failure { kind: FailureKind::Failed, message: message.to_string() }
}

impl Worker {
    fn disk(&self) -> Result<&BootDisk, String> {
        self.tools.disk.as_ref().ok_or_else(|| "there is no disk".to_owned())
    }

    /// Runs a child to its end and passes its progress on.
    fn run(&self, launch: &Launch) -> Done {
        let (tell, ended) = sync_channel(1);
        let started = child::start(&self.tools.reaper, launch, move |_, exit| {
            let _ = tell.send(exit);
        })
        .map_err(|why| broken(&why))?;
        self.child.store(started.pid.as_raw(), Ordering::Relaxed);
        let mut frames = Frames::<Message>::default();
        let mut done = None;
        let mut buffer = [0; 4096];
        let mut pipe = started.reports.ok_or_else(|| broken(&"its child has no voice"))?.take(MAX_OUTPUT);
        'reading: while let Ok(count) = pipe.read(&mut buffer)
            && count > 0
        {
            frames.push(&buffer[..count]);
            loop {
                match frames.next() {
                    Ok(None) => break,
                    Ok(Some(Message::Progress(progress))) => {
                        let news = News::Progress(shown(progress));
                        drop(self.tools.events.send(Event::Update(news)));
                    }
                    Ok(Some(Message::Done(result))) => {
                        done = Some(result);
                        break 'reading;
                    }
                    Err(why) => {
                        done = Some(Err(broken(&why)));
                        break 'reading;
                    }
                }
            }
        }
        drop(pipe);
        // It has said its last word; a moment to end by itself.
        let exit = ended.recv_timeout(Duration::from_secs(2)).or_else(|_| {
            signal_group(started.pid, Signal::SIGKILL);
            ended.recv_timeout(Duration::from_secs(10))
        });
        self.child.store(0, Ordering::Relaxed);
        done.unwrap_or_else(|| {
            let how = exit.map_or("does not end".to_owned(), |exit| exit.to_string());
            let said = log().last_of(&launch.name, 2).join("; ");
            Err(broken(&format!("its child {how} {said}")))
        })
    }

    fn verify(&self, slot: Slot) -> Result<(Look, Verdict), String> {
        let launch = verifying(&self.tools, slot)?;
        match self.run(&launch).map_err(|why| why.message)? {
            Outcome::Verdict(verdict) => Ok((look(self.disk()?, slot)?, *verdict)),
            _ => Err("its child answers something else".into()),
        }
    }
}

fn shown(progress: OtaProgress) -> Progress {
    let stage = match progress.stage {
        OtaStage::Checking => Stage::Checking,
        OtaStage::Clearing => Stage::Clearing,
        OtaStage::Writing => Stage::Writing,
        OtaStage::ReadingBack | OtaStage::Finishing => Stage::ReadingBack,
    };
    Progress { stage, done: progress.done, total: progress.total, reused: progress.reused }
}

fn look(disk: &BootDisk, slot: Slot) -> Result<Look, String> {
    let mut device = FileDisk::open_read_only(&disk.slot(slot)).map_err(|why| why.to_string())?;
    Ok(slot::look(&mut device, &roles::trust()?))
}

/// A child's cell, with the descriptors it is to find.
fn cell(files: &[(&str, &File)]) -> Result<Cell, String> {
    let mut cell = Cell::new(users::OTA.uid, users::OTA.gid).out_of_memory(500);
    for (name, file) in files {
        cell = cell.file(name, file).map_err(|why| why.to_string())?;
    }
    Ok(cell)
}

fn launch(tools: &Tools, role: &str, job: &worker::Job, files: &[(&str, &File)]) -> Result<Launch, String> {
    let mut launch = crate::roles::launch(&tools.program, role, users::OTA).cell(cell(files)?).reports();
    worker::send(&mut launch.input, job).map_err(|why| why.to_string())?;
    Ok(launch)
}

fn open(path: &Path, write: bool) -> Result<File, String> {
    File::options().read(true).write(write).open(path).map_err(|why| format!("{}: {why}", path.display()))
}

fn verifying(tools: &Tools, slot: Slot) -> Result<Launch, String> {
    let disk = tools.disk.as_ref().ok_or("there is no disk")?;
    let device = open(&disk.slot(slot), false)?;
    let job = worker::Job::Verify { slot: TARGET, trust: roles::trust()? };
    launch(tools, roles::VERIFY, &job, &[(roles::name(TARGET), &device)])
}

/// Reads a slot here and now; for the boot, when nothing else runs.
pub fn verify(tools: &Tools, slot: Slot, idle: &mut dyn FnMut()) -> Result<(Look, Verdict), String> {
    let launch = verifying(tools, slot)?;
    let done = child::run(&tools.reaper, &launch, VERIFY_PATIENCE, idle).map_err(|why| why.to_string())?;
    let mut frames = Frames::<Message>::default();
    frames.push(&done.output);
    let disk = tools.disk.as_ref().ok_or("there is no disk")?;
    loop {
        match frames.next().map_err(|why| why.to_string())? {
            Some(Message::Progress(_)) => {}
            Some(Message::Done(Ok(Outcome::Verdict(verdict)))) => return Ok((look(disk, slot)?, *verdict)),
            Some(Message::Done(Err(why))) => return Err(why.message),
            Some(Message::Done(Ok(_))) | None => return Err(format!("its child {}", done.exit)),
        }
    }
}

/// What an installation may be.
pub fn admission(facts: &Facts, running: Slot, target: Slot, allow_downgrade: bool) -> Admission {
    Admission {
        running: Some(facts.release.version.clone()),
        running_slot: Some(running),
        target,
        allow_downgrade,
        eeprom: facts.bootloader.built,
    }
}

/// Puts a bundle into the other slot and has it verified by another child.
pub fn install(
    tools: &Tools,
    source: UpdateSource,
    by: u32,
    admission: Admission,
    asker: Asker,
) -> Result<Job, String> {
    let disk = tools.disk.clone().ok_or("there is no disk")?;
    let (bundle, file) = match &source {
        UpdateSource::Url(url) => (BundleFrom::Url { url: url.clone(), allow_http: true }, None),
        UpdateSource::File(path) => (BundleFrom::File(BUNDLE), Some(sources::file(path, by)?)),
        UpdateSource::Usb => (BundleFrom::Stick(BUNDLE), Some(sources::stick(&disk)?)),
        UpdateSource::Feed => return Err("the feed was not asked yet".into()),
    };
    let trust = roles::trust()?;
    let allow_older = admission.allow_downgrade;
    let job = spawn(tools, asker, move |worker| {
        let target = admission.target;
        let end = || -> Result<InstallEnd, String> {
            let running = open(&disk.slot(target.other()), false)?;
            let slot = open(&disk.slot(target), true)?;
            let job = InstallJob { bundle, target: TARGET, running: Some(RUNNING), trust, admission };
            let mut files = vec![(roles::name(TARGET), &slot), (roles::name(RUNNING), &running)];
            if let Some(file) = &file {
                files.push((roles::name(BUNDLE), file));
            }
            let launch = launch(&worker.tools, roles::WORKER, &worker::Job::Install(Box::new(job)), &files)?;
            let ready = match worker.run(&launch) {
                Ok(Outcome::Ready(ready)) => ready,
                Ok(_) => return Err("its child answers something else".into()),
                Err(why) if is_older(&why.message) => {
                    return Ok(InstallEnd::Older { source, by, message: why.message });
                }
                Err(why) if why.kind == FailureKind::Failed => return Ok(InstallEnd::Failed(why.message)),
                Err(why) => return Ok(InstallEnd::Refused(why.message)),
            };
            let (_, verdict) = worker.verify(target)?;
            if !verdict.is_sound() {
                let damage: Vec<String> = verdict.damage.iter().map(ToString::to_string).collect();
                return Err(format!("what was written does not verify: {}", damage.join("; ")));
            }
            Ok(InstallEnd::Ready {
                target,
                version: ready.manifest.version.clone(),
                fetched: ready.fetched,
                reused: ready.reused,
            })
        };
        News::Installed(end().unwrap_or_else(InstallEnd::Failed))
    })?;
    Ok(Job { allow_older, ..job })
}

/// The worker's failure has a kind and a text; that a version is older stands in the text alone.
fn is_older(message: &str) -> bool {
    message.contains("is older than") && message.contains("allow the downgrade")
}

/// Reads every file of a slot; when all are sound, it is as ready as one that was just installed.
pub fn prove(tools: &Tools, slot: Slot, allow_older: bool, asker: Asker) -> Result<Job, String> {
    let job = spawn(tools, asker, move |worker| {
        News::Installed(match worker.verify(slot) {
            Ok((look, verdict)) => match verdict.manifest.as_ref().filter(|_| verdict.is_sound() && look.bootable) {
                Some(manifest) => {
                    InstallEnd::Ready { target: slot, version: manifest.version.clone(), fetched: 0, reused: 0 }
                }
                None => InstallEnd::Refused(format!("slot {slot} is not sound; install an update instead")),
            },
            Err(why) => InstallEnd::Failed(why),
        })
    })?;
    Ok(Job { allow_older, ..job })
}

/// Reads every file of these slots.
pub fn scrub(tools: &Tools, slots: Vec<Slot>, asker: Asker) -> Result<Job, String> {
    spawn(tools, asker, move |worker| {
        let found = slots.into_iter().map(|slot| Found { slot, result: worker.verify(slot) });
        News::Verified(found.collect())
    })
}

/// Makes a slot a copy of the other one.
pub fn copy(tools: &Tools, from: Slot, to: Slot) -> Result<Job, String> {
    let disk = tools.disk.clone().ok_or("there is no disk")?;
    let trust = roles::trust()?;
    spawn(tools, Asker::nobody(), move |worker| {
        let done = || -> Result<Version, String> {
            let (source, target) = (open(&disk.slot(from), false)?, open(&disk.slot(to), true)?);
            let job = worker::Job::Copy { from: RUNNING, to: TARGET, trust };
            let files = [(roles::name(TARGET), &target), (roles::name(RUNNING), &source)];
            worker.run(&launch(&worker.tools, roles::WORKER, &job, &files)?).map_err(|why| why.message)?;
            let (_, verdict) = worker.verify(to)?;
            match verdict.manifest.as_ref().filter(|_| verdict.is_sound()) {
                Some(manifest) => Ok(manifest.version.clone()),
                None => Err("the copy does not verify".into()),
            }
        };
        News::Copied { to, done: done() }
    })
}

/// What the feed is asked, and what its answer is judged by.
#[derive(Debug)]
pub struct Question {
    /// Under which the channels' feeds lie.
    pub address: String,
    pub channel: feed::Channel,
    pub trust: Trust,
    /// The highest serial of this channel so far.
    pub seen: u64,
    /// Unix seconds; `None` until the clock is trusted.
    pub now: Option<u64>,
    pub asker: feed::Asker,
}

impl Question {
    /// Reads the feed that a child has fetched, and picks what is for this device. Nothing in it is believed before its signature.
    fn answer(&self, file: &[u8]) -> Result<Offer, String> {
        let feed = Feed::open(file, &self.trust, self.channel, self.seen, self.now).map_err(|why| why.to_string())?;
        let update = feed.offer(&self.trust, &self.asker).map(|release| Update {
            version: release.version.to_string(),
            notes: release.notes.clone(),
            url: release.url.clone(),
            bytes: release.size,
        });
        Ok(Offer { serial: feed.serial, update })
    }
}

/// Asks the feed.
pub fn check(tools: &Tools, question: Question, asker: Asker) -> Result<Job, String> {
    let url = Feed::url(&question.address, question.channel);
    let job = CheckJob { url, allow_http: question.address.starts_with("http://") };
    let launch = launch(tools, roles::CHECK, &worker::Job::Check(job), &[])?;
    spawn(tools, asker, move |worker| {
        let found = match worker.run(&launch) {
            Ok(Outcome::Feed(file)) => question.answer(&file),
            Ok(_) => Err("its child answers something else".into()),
            Err(why) => Err(why.message),
        };
        News::Checked { channel: question.channel, found }
    })
}

#[cfg(test)]
mod tests {
    use warppool_ota::PrivateKey;
    use warppool_ota::install::Refusal;
    use warppool_ota::trust::TrustedKey;

    use super::*;

    #[test]
    fn an_older_version_is_told_from_other_refusals() {
        let version = |text: &str| -> Version { text.parse().unwrap() };
        let older = Refusal::Older { version: version("1.0.0"), running: version("2.0.0") };
        assert!(is_older(&older.to_string()));
        let below = Refusal::BelowMinimum { version: version("1.0.0"), minimum: version("2.0.0") };
        assert!(!is_older(&below.to_string()));
    }

    #[test]
    fn a_child_s_feed_is_believed_by_its_signature_alone() {
        let version = |text: &str| -> Version { text.parse().unwrap() };
        let [key, other] = [(), ()].map(|()| PrivateKey::generate());
        let question = Question {
            address: "https://example.org".into(),
            channel: feed::Channel::Beta,
            trust: Trust {
                product: "warppool".into(),
                hardware: "rpi5".into(),
                minimum_version: version("1.0.0"),
                feed: String::new(),
                revoked: Vec::new(),
                keys: vec![TrustedKey { name: "test".into(), public: key.public() }],
            },
            seen: 7,
            now: Some(1500),
            asker: feed::Asker { running: version("1.0.0"), device: "d".into(), given_up: Vec::new(), by_hand: true },
        };
        let feed = |channel, serial| Feed {
            product: "warppool".into(),
            channel,
            serial,
            issued: 1000,
            expires: 2000,
            releases: vec![feed::FeedRelease {
                version: version("1.1.0"),
                hardware: "rpi5".into(),
                url: "https://example.org/b".into(),
                size: 9,
                notes: String::new(),
                percent: 0,
            }],
        };
        let good = feed(feed::Channel::Beta, 8);
        let offer = question.answer(&good.seal(&key).unwrap()).unwrap();
        assert_eq!((offer.serial, offer.update.map(|update| update.version)), (8, Some("1.1.0".into())));
        for (what, file) in [
            ("another key", good.seal(&other).unwrap()),
            ("another channel", feed(feed::Channel::Stable, 8).seal(&key).unwrap()),
            ("an old one", feed(feed::Channel::Beta, 6).seal(&key).unwrap()),
            ("nonsense", b"a serial of 99".to_vec()),
        ] {
            assert!(question.answer(&file).is_err(), "{what}");
        }
    }
}
