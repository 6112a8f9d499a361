//! Takes over what the owner wrote on the hand-over partition: read in a child, stored here, erased there, in this order, so that a
//! power cut at any moment loses nothing and leaves no half-applied settings.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use warppool_handover::{Fault, Finish, Finished, HandOver, Outcome, Report, Standing, SystemSettings, apply};
use warppool_jail::Cell;

use crate::child::{Launch, run};
use crate::console::{log, say};
use crate::reaper::Reaper;
use crate::{aside, data, durable, mounts, pool, reset, roles, settings, users};

const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Zeros over the whole partition, on a slow card.
const FINISH_PATIENCE: Duration = Duration::from_mins(3);
const CHECK_PATIENCE: Duration = Duration::from_secs(20);
/// Three small files, durably.
const STORE_PATIENCE: Duration = Duration::from_mins(1);
const MAX_CONFIG: usize = 256 * 1024;

/// What a hand-over came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// What the owner has to correct.
    pub faults: Vec<String>,
    /// What is left to do to the partition.
    pub finish: Option<Finish>,
    /// The data partition was made anew; it, and what else was handed over, is taken up after a restart.
    pub restart: bool,
}

/// What became of a reset that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reset {
    Not,
    Done,
    /// It is not finished: what is stored now would go with the rest at the next start, and be erased from the partition too.
    Failed(String),
    /// The damaged partition was made anew, and what lies at [`mounts::DATA`] is still its stand-in in memory.
    Anew,
}

/// The partition, and what is needed to work on it.
#[derive(Clone, Debug)]
pub struct Desk {
    pub reaper: Reaper,
    pub program: PathBuf,
    pub partition: PathBuf,
    pub version: String,
    /// Where the data lies.
    pub data: PathBuf,
    /// The data partition's device, where that is damaged and something else lies there.
    pub damaged: Option<PathBuf>,
}

impl Desk {
    /// Reads the partition and applies what it holds. `settings` is changed only when all of it is sound and stored.
    pub fn take(&self, settings: &mut SystemSettings, idle: &mut dyn FnMut()) -> Taken {
        let outcome: Outcome = match self.child(roles::READ, false, &(), READ_PATIENCE, idle) {
            Ok(outcome) => outcome,
            Err(why) => {
                say!("handover: cannot be read: {why}");
                return Taken::default();
            }
        };
        match outcome {
            Outcome::Nothing => Taken::default(),
            Outcome::Remains => self.finish_with(settings, None, true),
            Outcome::Unreadable(why) => {
                say!("handover: {why}");
                Taken::default()
            }
            Outcome::Faulty { faults, factory_reset } => {
                let reset = if factory_reset { self.reset(settings, idle) } else { Reset::Not };
                if reset == Reset::Anew {
                    return Taken { restart: true, ..Taken::default() };
                }
                let mut taken = self.faulty(settings, faults);
                match reset {
                    Reset::Done => taken.faults.insert(0, "the device was reset".into()),
                    Reset::Failed(why) => taken.faults.insert(0, why),
                    Reset::Not | Reset::Anew => {}
                }
                taken
            }
            Outcome::Asked { settings: handed, factory_reset } => {
                let reset = if factory_reset { self.reset(settings, idle) } else { Reset::Not };
                match (reset, handed) {
                    (Reset::Not | Reset::Done, Some(handed)) => self.apply(settings, *handed, idle),
                    (Reset::Not, None) => Taken::default(),
                    (Reset::Failed(why), _) => Taken { faults: vec![why], ..Taken::default() },
                    (Reset::Done, None) => self.finish_with(settings, Some(Standing::Reset), false),
                    // Nothing that is stored now would outlive the restart.
                    (Reset::Anew, Some(_)) => Taken { restart: true, ..Taken::default() },
                    (Reset::Anew, None) => {
                        let taken = self.finish_with(settings, Some(Standing::Reset), false);
                        if let Some(Err(why)) = taken.finish.as_ref().map(|order| self.finish(order, idle)) {
                            say!("handover: the report cannot be written: {why}");
                        }
                        Taken { restart: true, ..Taken::default() }
                    }
                }
            }
        }
    }

    /// A reset by file. Its request is taken away first: a card that cannot be written must not reset the device at every start.
    fn reset(&self, settings: &mut SystemSettings, idle: &mut dyn FnMut()) -> Reset {
        let order = Finish { erase_reset: true, ..Finish::default() };
        match self.finish(&order, idle) {
            Ok(done) if done.reset_erased => {}
            Ok(_) => {
                say!("handover: no reset, because its request cannot be removed from the partition");
                return Reset::Not;
            }
            Err(why) => {
                say!("handover: no reset, because its request cannot be removed from the partition: {why}");
                return Reset::Not;
            }
        }
        let (reset, done) = match &self.damaged {
            Some(device) => {
                say!("reset: the data partition is made anew");
                (Reset::Anew, data::make_anew(&self.reaper, device, idle))
            }
            None => (Reset::Done, self.empty(idle)),
        };
        match done {
            Ok(kept) => {
                say!("reset: done by hand-over; unsettled blocks kept: {kept}");
                *settings = SystemSettings::default();
                reset
            }
            Err(why) => {
                say!("reset: failed: {why}");
                Reset::Failed(format!("the factory reset is not finished: {why}"))
            }
        }
    }

    fn empty(&self, idle: &mut dyn FnMut()) -> Result<usize, String> {
        let data = self.data.clone();
        let work = move || {
            reset::request(&data).map_err(|why| why.to_string())?;
            let kept = reset::carry_out(&data).map_err(|why| why.to_string())?;
            if let Err(why) = data::folders(&data) {
                say!("reset: {why}");
            }
            Ok(kept)
        };
        aside::wait("reset", reset::PATIENCE, idle, work).unwrap_or_else(|| Err("the disk does not answer".into()))
    }

    fn apply(&self, settings: &mut SystemSettings, handed: HandOver, idle: &mut dyn FnMut()) -> Taken {
        if apply::already_applied(settings, &handed) {
            say!("handover: was taken over before; erasing it");
            return self.finish_with(settings, Some(Standing::Taken(Box::new(handed))), true);
        }
        let files = match self.pool_files(&handed, idle) {
            Ok(files) => files,
            Err(problem) => {
                let remedy = "correct it and start the device again".to_owned();
                return self.faulty(settings, vec![Fault { line: None, key: String::new(), problem, remedy }]);
            }
        };
        let after = apply::to_system(settings, &handed);
        let (desk, kept) = (self.clone(), after.clone());
        let store = move || {
            // The pool's files first: the system's settings hold the mark that all was taken over.
            desk.store_pool_files(files.as_ref())?;
            settings::store(&desk.data, &kept)
        };
        let stored = aside::wait("handover", STORE_PATIENCE, idle, store);
        if let Err(why) = stored.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into())) {
            let fault = format!("the hand-over cannot be stored: {why}; it is tried again at the next start");
            say!("handover: {fault}");
            return Taken { faults: vec![fault], ..Taken::default() };
        }
        *settings = after;
        say!("handover: taken over");
        self.finish_with(settings, Some(Standing::Taken(Box::new(handed))), true)
    }

    fn faulty(&self, settings: &SystemSettings, faults: Vec<Fault>) -> Taken {
        let told: Vec<String> = faults.iter().map(|fault| format!("hand-over: {fault}")).collect();
        for line in &told {
            say!("handover: nothing taken over: {line}");
        }
        Taken { faults: told, ..self.finish_with(settings, Some(Standing::Faulty(faults)), false) }
    }

    fn finish_with(&self, settings: &SystemSettings, standing: Option<Standing>, erase_settings: bool) -> Taken {
        let report = standing.map(|standing| Report {
            version: self.version.clone(),
            name: format!("{}.local", settings.device.hostname),
            addresses: Vec::new(),
            standing,
        });
        let finish = Some(Finish { report, erase_settings, ..Finish::default() });
        Taken { finish, ..Taken::default() }
    }

    /// The pool's files with what was handed over, if anything of it is the pool's; composed and checked in children.
    fn pool_files(&self, handed: &HandOver, idle: &mut dyn FnMut()) -> Result<Option<(String, String)>, String> {
        if handed.nodes.is_empty() && handed.payout_address.is_none() && handed.chain.is_none() {
            return Ok(None);
        }
        let folder = self.data.join("pool");
        pool::ensure_config(&folder);
        let read = |name: &str| {
            let bytes = durable::read(&folder.join(name), MAX_CONFIG).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let order = (handed, read("config.toml"), read("secrets.toml"));
        let composed: Result<(String, String), String> = self.child(roles::POOL, false, &order, READ_PATIENCE, idle)?;
        let (config, secrets) = composed?;
        self.check(&config, &secrets, idle)?;
        Ok(Some((config, secrets)))
    }

    /// Asks the pool's own check, in a child as the pool's user, on copies in memory.
    fn check(&self, config: &str, secrets: &str, idle: &mut dyn FnMut()) -> Result<(), String> {
        let folder = Path::new(mounts::RUN).join("handover-check");
        let write = || {
            mounts::folder_of(&folder, 0o700, users::POOL.uid, users::POOL.gid)?;
            pool::put(&folder.join("secrets.toml"), secrets.as_bytes(), 0o600)?;
            pool::put(&folder.join("config.toml"), config.as_bytes(), 0o600)
        };
        write().map_err(|why: std::io::Error| why.to_string())?;
        let arguments = ["check-config".into(), folder.join("config.toml").into_os_string()];
        let launch = Launch::new::<std::ffi::OsString>("check-config", &self.program, arguments)
            .cell(Cell::new(users::POOL.uid, users::POOL.gid));
        let done = run(&self.reaper, &launch, CHECK_PATIENCE, idle);
        let _ = fs::remove_dir_all(&folder);
        match done {
            Ok(done) if done.exit.is_success() => Ok(()),
            Ok(_) => {
                let said = log().last_of("check-config", 8).join("; ");
                Err(format!("the pool does not accept it: {said}"))
            }
            Err(why) => Err(why.to_string()),
        }
    }

    fn store_pool_files(&self, files: Option<&(String, String)>) -> std::io::Result<()> {
        let Some((config, secrets)) = files else { return Ok(()) };
        let folder = self.data.join("pool");
        // A password alone does nothing; a configuration without its password would be refused by the node.
        pool::put(&folder.join("secrets.toml"), secrets.as_bytes(), 0o600)?;
        pool::put(&folder.join("config.toml"), config.as_bytes(), 0o600)
    }

    /// Writes the report and erases what is to be erased.
    pub fn finish(&self, order: &Finish, idle: &mut dyn FnMut()) -> Result<Finished, String> {
        let done: Result<Finished, String> = self.child(roles::FINISH, true, order, FINISH_PATIENCE, idle)?;
        done
    }

    fn child<T: DeserializeOwned>(
        &self,
        what: &str,
        write: bool,
        order: &impl Serialize,
        patience: Duration,
        idle: &mut dyn FnMut(),
    ) -> Result<T, String> {
        let partition = OpenOptions::new().read(true).write(write).open(&self.partition);
        let mut launch = roles::launch(&self.program, "handover", users::HANDOVER).reports();
        launch.arguments.push(what.into());
        launch.input = postcard::to_stdvec(order).map_err(|why| why.to_string())?;
        if what != roles::POOL {
            let partition = partition.map_err(|why| format!("{}: {why}", self.partition.display()))?;
            let cell = launch.cell.take().unwrap_or_else(|| Cell::new(users::HANDOVER.uid, users::HANDOVER.gid));
            launch.cell = Some(cell.file(roles::PARTITION, partition).map_err(|why| why.to_string())?);
        }
        let done = run(&self.reaper, &launch, patience, idle).map_err(|why| why.to_string())?;
        if !done.exit.is_success() {
            return Err(format!("its child {}: {}", done.exit, log().last_of("handover", 2).join("; ")));
        }
        postcard::from_bytes(&done.output).map_err(|why| format!("its child said something else: {why}"))
    }
}
