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
use crate::{durable, mounts, pool, reset, roles, settings, users};

const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Zeros over the whole partition, on a slow card.
const FINISH_PATIENCE: Duration = Duration::from_mins(3);
const CHECK_PATIENCE: Duration = Duration::from_secs(20);
const MAX_CONFIG: usize = 256 * 1024;

/// What a hand-over came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// What the owner has to correct.
    pub faults: Vec<String>,
    /// What is left to do to the partition.
    pub finish: Option<Finish>,
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
                let was_reset = factory_reset && self.reset(settings, idle);
                let mut taken = self.faulty(settings, faults);
                if was_reset {
                    taken.faults.insert(0, "the device was reset".into());
                }
                taken
            }
            Outcome::Asked { settings: handed, factory_reset } => {
                let was_reset = factory_reset && self.reset(settings, idle);
                match handed {
                    Some(handed) => self.apply(settings, *handed, idle),
                    None if was_reset => self.finish_with(settings, Some(Standing::Reset), false),
                    None => Taken::default(),
                }
            }
        }
    }

    /// A reset by file. Its request is taken away first: a card that cannot be written must not reset the device at every start.
    fn reset(&self, settings: &mut SystemSettings, idle: &mut dyn FnMut()) -> bool {
        let order = Finish { erase_reset: true, ..Finish::default() };
        match self.finish(&order, idle) {
            Ok(done) if done.reset_erased => {}
            Ok(_) => {
                say!("handover: no reset, because its request cannot be removed from the partition");
                return false;
            }
            Err(why) => {
                say!("handover: no reset, because its request cannot be removed from the partition: {why}");
                return false;
            }
        }
        match reset::request(&self.data).and_then(|()| reset::carry_out(&self.data)) {
            Ok(kept) => {
                say!("reset: done by hand-over; unsettled blocks kept: {kept}");
                if let Err(why) = crate::data::folders(&self.data) {
                    say!("reset: {why}");
                }
                *settings = SystemSettings::default();
                true
            }
            Err(why) => {
                say!("reset: failed: {why}");
                false
            }
        }
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
        // The pool's files first: the system's settings hold the mark that all was taken over.
        let stored = self.store_pool_files(files.as_ref()).and_then(|()| settings::store(&self.data, &after));
        if let Err(why) = stored {
            let fault = format!("the hand-over cannot be stored: {why}; it is tried again at the next start");
            say!("handover: {fault}");
            return Taken { faults: vec![fault], finish: None };
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
        Taken { faults: Vec::new(), finish: Some(Finish { report, erase_settings, ..Finish::default() }) }
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
