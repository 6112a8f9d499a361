//! Opening: a usable ledger comes out in every case, and a message says what was found.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};

use parking_lot::{Mutex, RwLock};
use warppool_events::LedgerState;

use crate::ledger::{Handle, Ledger};
use crate::load::{Loaded, Refusal, load};
use crate::record::Checkpoint;
use crate::recover::start_afresh;
use crate::shared::{Counters, Owed, Shared, Status};
use crate::staged::{self, Adopted};
use crate::store::lmdb::{DATA, LmdbStore};
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};
use crate::writer::Writer;
use crate::{Options, check};

/// What opening gives.
#[derive(Debug)]
pub struct Opened {
    pub ledger: Ledger,
    pub state: LedgerState,
    /// What the operator should know; empty when all is as it was left.
    pub message: String,
}

/// A store with what was read from it.
struct Ready {
    store: Box<dyn Store>,
    loaded: Loaded,
    lock: Option<File>,
    state: LedgerState,
    message: String,
}

/// Why there is no durable ledger, and what to do about it.
struct Unusable(String);

pub(crate) fn open(options: Options) -> Opened {
    let ready = if options.memory_only {
        Err(Unusable("the pool was asked to leave the ledger's file alone".into()))
    } else {
        durable(&options)
    };
    start(options, ready.unwrap_or_else(|Unusable(why)| in_memory(&why)))
}

fn in_memory(why: &str) -> Ready {
    Ready {
        store: Box::new(MemoryStore::default()),
        loaded: Loaded::empty(),
        lock: None,
        state: LedgerState::MemoryOnly,
        message: format!("{why}; all is kept in memory until the next start"),
    }
}

fn durable(options: &Options) -> Result<Ready, Unusable> {
    let dir = options.dir.as_path();
    let unusable = |what: &str, error: &dyn std::fmt::Display| Unusable(format!("{}: {what}: {error}", dir.display()));
    make_dir(dir).map_err(|error| {
        unusable("the ledger's folder cannot be made or written to; see its owner and rights", &error)
    })?;
    let lock = lock(dir)?;
    let mut messages = Vec::new();
    staged::clean(dir);
    match staged::adopt(dir, options.clock.now_ms()) {
        Ok(None) => {}
        Ok(Some(Adopted { aside: None })) => messages.push("the restored ledger is in use".to_owned()),
        Ok(Some(Adopted { aside: Some(aside) })) => {
            messages.push(format!("the restored ledger is in use; the one before it is kept as {}", aside.display()));
        }
        Err(error) => messages.push(format!("a restored ledger cannot be put in place: {error}")),
    }
    let (store, loaded) = match checked(options) {
        Ok(ready) => ready,
        Err(Refusal::Later(what)) => {
            return Err(Unusable(format!("the ledger is not used, and left as it is: {what}; update the pool")));
        }
        Err(Refusal::Store(StoreError::Damaged(what))) => {
            let fresh = start_afresh(options).map_err(|error| {
                Unusable(format!("the ledger is damaged ({what}) and no new one can be made: {error}"))
            })?;
            messages.push(fresh.message(&what));
            let store = fresh.store;
            let loaded = load(&store).map_err(|refusal| unusable("the new ledger cannot be read", &refusal))?;
            (store, loaded)
        }
        Err(refusal @ Refusal::Store(_)) => return Err(unusable("the ledger cannot be opened", &refusal)),
    };
    if loaded.skipped > 0 {
        messages.push(format!("{} records of a later release are passed over", loaded.skipped));
    }
    let message = messages.join("; ");
    Ok(Ready { store: Box::new(store), loaded, lock: Some(lock), state: LedgerState::Durable, message })
}

fn make_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// One pool at a time: what it keeps in memory must fit the file.
fn lock(dir: &Path) -> Result<File, Unusable> {
    let path = dir.join("ledger.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| {
        Unusable(format!("{} cannot be written: {error}; see the folder's owner and rights", path.display()))
    })?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Unusable(format!("another pool uses the ledger in {}", dir.display()))),
        // A file system without locks is no reason to lose the statistics.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Opens the ledger there is, or an empty one, once the checker is content with it.
fn checked(options: &Options) -> Result<(LmdbStore, Loaded), Refusal> {
    let path = options.dir.join(DATA);
    match fs::metadata(&path).map(|metadata| metadata.len()) {
        Ok(0) => fs::remove_file(&path).map_err(|error| StoreError::Io(error.to_string()))?,
        Ok(bytes) => check::ask(&options.checker, &options.dir, check::patience(bytes))
            .map_err(|damage| StoreError::Damaged(damage.to_string()))?,
        // None yet; what else is wrong with it, opening tells.
        Err(_) => {}
    }
    let store = LmdbStore::open(&options.dir, options.map_size)?;
    match load(&store) {
        Ok(loaded) => Ok((store, loaded)),
        Err(refusal) => {
            Box::new(store).close();
            Err(refusal)
        }
    }
}

fn start(options: Options, ready: Ready) -> Opened {
    let Ready { store, loaded, lock, state, message } = ready;
    let is_news = !message.is_empty();
    let shared = Arc::new(Shared {
        options,
        store: RwLock::new(Some(store)),
        intake: Mutex::new(loaded.intake),
        owed: Mutex::new(Owed::default()),
        blocks: Mutex::new(loaded.blocks),
        status: Mutex::new(Status { state, message: message.clone() }),
        is_clock_trusted: AtomicBool::new(false),
        counters: Counters::with_skipped(loaded.skipped),
        lock: Mutex::new(lock),
    });
    if is_news {
        shared.announce(state, &message);
    }
    let (commands, waiting) = mpsc::channel();
    let writer = Writer::new(Arc::clone(&shared), waiting);
    std::thread::Builder::new()
        .name("ledger".into())
        .spawn(move || writer.run())
        .expect("a thread can be started while the pool starts");
    Opened { ledger: Ledger::new(Handle { shared, commands }), state, message }
}

/// A ledger on a store of a test's own.
#[cfg(test)]
pub(crate) fn open_on(options: Options, store: Box<dyn Store>) -> Ledger {
    let Ok(loaded) = load(store.as_ref()) else { panic!("the test's store cannot be read") };
    let ready = Ready { store, loaded, lock: None, state: LedgerState::Durable, message: String::new() };
    start(options, ready).ledger
}

impl Loaded {
    fn empty() -> Self {
        Self {
            intake: crate::intake::Intake::new(1, &Checkpoint::default()),
            blocks: std::collections::HashSet::new(),
            skipped: 0,
        }
    }
}

impl Counters {
    fn with_skipped(skipped: u64) -> Self {
        Self { skipped_records: skipped.into(), ..Self::default() }
    }
}
