//! What to do about a ledger file that is damaged, deleted or replaced: the pool goes on in every case.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use warppool_events::LedgerState;

use crate::key::{Key, meta};
use crate::load::first_records;
use crate::record::Checkpoint;
use crate::shared::Shared;
use crate::staged::{self, Staging};
use crate::store::lmdb::{DATA, LmdbStore, from_io};
use crate::store::memory::MemoryStore;
use crate::store::{self, Batch, Filler, Store, StoreError};
use crate::{Options, pages, value};

/// A fresh ledger with everything that could still be read of the damaged one.
pub(crate) struct Fresh {
    pub(crate) store: LmdbStore,
    pub(crate) rescued: u64,
    pub(crate) aside: Option<PathBuf>,
}

impl Fresh {
    pub(crate) fn message(&self, what: &str) -> String {
        let Self { rescued, aside, .. } = self;
        let aside = aside.as_ref().map(|aside| format!(" and is set aside as {}", aside.display())).unwrap_or_default();
        format!("the ledger was damaged ({what}){aside}; a new one holds {rescued} records of it")
    }
}

/// Puts a new ledger in the place of a damaged one, which is set aside. The file must not be open.
pub(crate) fn start_afresh(options: &Options) -> Result<Fresh, StoreError> {
    let dir = &options.dir;
    let mut staging = Staging::new(dir, options.map_size);
    let rescued = rescue(&dir.join(DATA), &mut staging)?;
    staging.complete()?;
    let adopted = staged::adopt(dir, options.clock.now_ms()).map_err(|error| from_io(&error))?;
    let aside = adopted.and_then(|adopted| adopted.aside);
    Ok(Fresh { store: LmdbStore::open(dir, options.map_size)?, rescued, aside })
}

/// Copies every record whose checksum fits out of a damaged file.
fn rescue(damaged: &Path, staging: &mut Staging<'_>) -> Result<u64, StoreError> {
    let mut known = HashSet::new();
    let mut filler = Filler::new(|batch| staging.commit(batch));
    let mut filled = Ok(());
    if pages::READABLE {
        let damage = pages::salvage(damaged, &mut |key, bytes| {
            if filled.is_ok() && value::is_whole(key, bytes) && Key::parse(key).is_some() && known.insert(key.to_vec())
            {
                filled = filler.put(key.to_vec(), bytes.to_vec());
            }
        });
        if let Err(damage) = damage {
            tracing::warn!(%damage, "parts of the ledger are lost");
        }
    }
    filled?;
    filler.finish()?;
    if !known.is_empty() {
        // Without its checkpoint a ledger is taken to have lost it: an empty one would count its raw shares twice.
        let mut batch = format_record();
        batch.retain(|key, _| !known.contains(key));
        staging.commit(&batch)?;
    }
    Ok(known.len() as u64)
}

fn format_record() -> Batch {
    let mut batch = first_records(&Checkpoint::default());
    batch.remove(meta::CHECKPOINT);
    batch
}

/// The running ledger's file turned out to be damaged: closes it before its mapping is touched again, and goes on with a
/// fresh one, or in memory.
pub(crate) fn replace(shared: &Shared, what: &str) {
    let mut store = shared.store.write();
    if let Some(old) = store.take() {
        old.close();
    }
    let (new, state, message): (Box<dyn Store>, _, _) = match start_afresh(&shared.options) {
        Ok(fresh) => {
            let message = fresh.message(what);
            (Box::new(fresh.store), LedgerState::Durable, message)
        }
        Err(error) => {
            let message = format!(
                "the ledger is damaged ({what}) and no new one can be made ({error}): all is kept in memory until the next start"
            );
            (Box::new(MemoryStore::default()), LedgerState::MemoryOnly, message)
        }
    };
    renew(shared, new.as_ref());
    *store = Some(new);
    drop(store);
    shared.announce(state, &message);
}

/// Everything in memory is to be written again, beside what the new store has.
fn renew(shared: &Shared, store: &dyn Store) {
    let checkpoint = store::get(store, meta::CHECKPOINT).ok().flatten();
    let checkpoint = checkpoint.and_then(|bytes| value::decode::<Checkpoint>(meta::CHECKPOINT, &bytes).ok());
    let mut intake = shared.intake.lock();
    intake.mark_all();
    intake.generation = checkpoint.unwrap_or_default().generation;
    drop(intake);
    // If this fails, so will the commit that follows, which is told.
    let _ = store.commit(&format_record());
}

/// The running ledger's file lost its name: writes it anew from what is open, which still works.
pub(crate) fn rewrite(shared: &Shared, what: &str) {
    match try_rewrite(shared) {
        Ok(()) => shared.announce(LedgerState::Durable, &format!("{what}; it was written anew, nothing is lost")),
        Err(error) => {
            let message = format!(
                "{what} and cannot be written anew ({error}): what comes from now on is lost at the next start"
            );
            shared.enter(LedgerState::MemoryOnly, &message);
        }
    }
}

fn try_rewrite(shared: &Shared) -> Result<(), StoreError> {
    let options = &shared.options;
    fs::create_dir_all(&options.dir).map_err(|error| from_io(&error))?;
    let mut staging = Staging::new(&options.dir, options.map_size);
    if let Some(open) = shared.store.read().as_deref() {
        store::copy(open, |batch| staging.commit(batch))?;
    }
    staging.complete()?;
    let mut store = shared.store.write();
    let Some(old) = store.take() else { return Ok(()) };
    old.close();
    // Another file in its place is set aside.
    let adopted = staged::adopt(&options.dir, options.clock.now_ms()).map_err(|error| from_io(&error));
    let (new, result): (Box<dyn Store>, _) = match adopted.and_then(|_| LmdbStore::open(&options.dir, options.map_size))
    {
        Ok(new) => (Box::new(new), Ok(())),
        Err(error) => (Box::new(MemoryStore::default()), Err(error)),
    };
    if result.is_err() {
        renew(shared, new.as_ref());
    }
    *store = Some(new);
    result
}

/// A commit succeeded.
pub(crate) fn resumed(shared: &Shared) {
    if shared.status.lock().state != LedgerState::StatisticsPaused {
        return;
    }
    if shared.store.read().as_deref().is_some_and(Store::is_durable) {
        shared.announce(LedgerState::Durable, "there is space again: statistics are written");
    } else {
        shared.announce(LedgerState::MemoryOnly, "there is space again; all is kept in memory until the next start");
    }
}
