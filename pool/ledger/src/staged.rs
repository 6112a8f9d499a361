//! A ledger made beside the one in use, which takes its place by two renames.
//!
//! A rescue, a rewrite and a restore all go this way, so that a power cut at any moment leaves either the old file or the new
//! one, complete: the first rename says that the new one is complete, the second puts it in place, at the next start if need be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pages::sync_dir;
use crate::store::lmdb::{DATA, LmdbStore, from_io};
use crate::store::{Batch, Store, StoreError};

/// A complete ledger that waits to take the other's place.
const COMPLETE: &str = "complete.mdb";
const STAGING: &str = "staging-";
/// Replaced files kept for a look; the oldest go.
const MOST_ASIDE: usize = 3;
const ASIDE: &str = "data.mdb.aside-";

/// A ledger in the making, gone without a trace unless it is completed. Touches no disk before its first commit.
pub(crate) struct Staging<'a> {
    dir: &'a Path,
    folder: PathBuf,
    map_size: u64,
    store: Option<LmdbStore>,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(dir: &'a Path, map_size: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { dir, folder: dir.join(format!("{STAGING}{}-{number}", std::process::id())), map_size, store: None }
    }

    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            empty => {
                fs::create_dir_all(&self.folder).map_err(|error| from_io(&error))?;
                empty.insert(LmdbStore::open(&self.folder, self.map_size)?)
            }
        };
        store.commit(batch)
    }

    /// From here on it is a whole ledger: [`adopt`] puts it in place.
    pub(crate) fn complete(mut self) -> Result<(), StoreError> {
        self.commit(&Batch::new())?;
        self.close();
        let renamed = fs::rename(self.folder.join(DATA), self.dir.join(COMPLETE)).and_then(|()| sync_dir(self.dir));
        renamed.map_err(|error| from_io(&error))
    }

    fn close(&mut self) {
        if let Some(store) = self.store.take() {
            Box::new(store).close();
        }
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        self.close();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The complete ledger took its place; where there was one before, it is set aside.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) aside: Option<PathBuf>,
}

/// Puts a complete ledger in place, if one waits. Neither may be open.
pub(crate) fn adopt(dir: &Path, now_ms: u64) -> io::Result<Option<Adopted>> {
    let complete = dir.join(COMPLETE);
    if !complete.exists() {
        return Ok(None);
    }
    let path = dir.join(DATA);
    let aside = if path.exists() { Some(set_aside(&path, now_ms)?) } else { None };
    fs::rename(&complete, &path)?;
    sync_dir(dir)?;
    Ok(Some(Adopted { aside }))
}

/// Removes what a killed process left half made. Only while no other process uses the folder.
pub(crate) fn clean(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(STAGING) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Renames a file out of the way, with the time in its name.
fn set_aside(path: &Path, now_ms: u64) -> io::Result<PathBuf> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut kept: Vec<PathBuf> = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE)))
        .collect();
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(MOST_ASIDE);
    for old in kept.drain(..surplus) {
        fs::remove_file(old)?;
    }
    let free =
        (0..=MOST_ASIDE).map(|n| dir.join(format!("{ASIDE}{:011}-{n}", now_ms / 1000))).find(|name| !name.exists());
    let aside = free.expect("fewer than that many are kept");
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP_SIZE: u64 = 1 << 20;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn one_that_is_given_up_leaves_no_trace_and_one_that_was_killed_is_cleaned_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut given_up = Staging::new(dir.path(), MAP_SIZE);
        given_up.commit(&Batch::from([(b"a".to_vec(), Some(vec![1]))])).unwrap();
        drop(given_up);
        assert!(names(dir.path()).is_empty());
        let mut killed = Staging::new(dir.path(), MAP_SIZE);
        killed.commit(&Batch::from([(b"a".to_vec(), Some(vec![1]))])).unwrap();
        std::mem::forget(killed);
        assert_eq!(names(dir.path()).len(), 1);
        assert!(adopt(dir.path(), 0).unwrap().is_none(), "half made is not made");
        clean(dir.path());
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_power_cut_between_the_renames_is_made_good_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DATA), "the one before").unwrap();
        Staging::new(dir.path(), MAP_SIZE).complete().unwrap();
        assert_eq!(fs::read(dir.path().join(DATA)).unwrap(), b"the one before");
        // As if the power went after the first of the two.
        fs::rename(dir.path().join(DATA), dir.path().join("data.mdb.aside-00000000000-0")).unwrap();
        let adopted = adopt(dir.path(), 0).unwrap().unwrap();
        assert_eq!(adopted.aside, None);
        assert_eq!(names(dir.path()), [DATA, "data.mdb.aside-00000000000-0"]);
        assert!(adopt(dir.path(), 0).unwrap().is_none());
    }
}
