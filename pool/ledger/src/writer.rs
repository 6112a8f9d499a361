//! The one thread that writes: groups at their interval, what must not be lost at once, and what to do when writing fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use tokio::sync::oneshot;
use warppool_events::LedgerState;

use crate::commit;
use crate::key::meta;
use crate::record::Checkpoint;
use crate::recover;
use crate::shared::Shared;
use crate::store::{self, Store, StoreError};
use crate::{LedgerError, Resolution, value};

type Answer = oneshot::Sender<Result<(), LedgerError>>;

pub(crate) enum Command {
    /// Something is owed: commit it now.
    Owed(Answer),
    /// Commit everything now.
    Flush(Answer),
    /// Commit everything, with a checkpoint, and end.
    Close(Answer),
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// The five minutes in which the last checkpoint was written.
    folded_in: u64,
    /// The last attempt failed: the next one that succeeds is a checkpoint.
    is_behind: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Owed,
    Group,
    Checkpoint,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, commands: Receiver<Command>) -> Self {
        let folded_in = Resolution::FiveMinutes.bucket(shared.options.clock.now_ms());
        Self { shared, commands, folded_in, is_behind: false }
    }

    /// Until it is told to close, or no handle of the ledger is left.
    pub(crate) fn run(mut self) {
        let mut next = Instant::now() + self.shared.options.commit_every;
        loop {
            if Instant::now() >= next {
                // Not only when nothing else is asked for: a flood of commands must not keep the shares from the disk.
                let _ = self.commit(Extent::Group);
                next = Instant::now() + self.shared.options.commit_every;
            }
            match self.commands.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(command) => {
                    if self.obey(command) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.commit(Extent::Checkpoint);
                    self.close();
                    return;
                }
            }
        }
    }

    /// Does what waits, all of it in one commit. True when the ledger is closed.
    fn obey(&mut self, first: Command) -> bool {
        let (mut answers, mut closing) = (Vec::new(), None);
        let mut extent = Extent::Owed;
        let mut command = Some(first);
        while let Some(next) = command {
            match next {
                Command::Owed(answer) => answers.push(answer),
                Command::Flush(answer) => {
                    answers.push(answer);
                    extent = Extent::Group;
                }
                Command::Close(answer) => {
                    closing = Some(answer);
                    extent = Extent::Checkpoint;
                    break;
                }
            }
            command = self.commands.try_recv().ok();
        }
        let result = self.commit(extent).map_err(|error| LedgerError::NotDurable(error.to_string()));
        for answer in answers {
            let _ = answer.send(result.clone());
        }
        let Some(answer) = closing else { return false };
        self.close();
        let _ = answer.send(result);
        true
    }

    fn close(&self) {
        let store = self.shared.store.write().take();
        if let Some(store) = store {
            store.close();
        }
        self.shared.lock.lock().take();
    }

    fn commit(&mut self, extent: Extent) -> Result<(), StoreError> {
        let started = Instant::now();
        let mut result = self.inspect().and_then(|()| self.attempt(extent));
        if let Err(StoreError::Damaged(what)) = &result {
            // Swapped for a fresh one, or for memory: both can be written.
            recover::replace(&self.shared, what);
            result = self.attempt(Extent::Checkpoint);
        }
        let counters = &self.shared.counters;
        match &result {
            Ok(()) => {
                self.is_behind = false;
                let took = started.elapsed().as_micros() as u64;
                counters.last_commit_us.store(took, Ordering::Relaxed);
                counters.last_commit_at_ms.store(self.shared.options.clock.now_ms(), Ordering::Relaxed);
                counters.commits.fetch_add(1, Ordering::Relaxed);
                recover::resumed(&self.shared);
            }
            Err(error) => {
                self.is_behind = true;
                counters.failed_commits.fetch_add(1, Ordering::Relaxed);
                let message = format!(
                    "nothing can be written ({error}): mining goes on, statistics are paused; free some space in {}",
                    self.shared.options.dir.display()
                );
                self.shared.enter(LedgerState::StatisticsPaused, &message);
            }
        }
        result
    }

    /// Looks after the file itself before anything touches its mapping.
    fn inspect(&self) -> Result<(), StoreError> {
        let looked = match &*self.shared.store.read() {
            Some(store) => store.inspect(),
            None => Ok(()),
        };
        match looked {
            Err(StoreError::Unlinked(what)) => {
                recover::rewrite(&self.shared, &what);
                Ok(())
            }
            looked => looked,
        }
    }

    fn attempt(&mut self, extent: Extent) -> Result<(), StoreError> {
        let (mut batch, mark) = self.shared.owed.lock().batch();
        let now_ms = self.shared.options.clock.now_ms();
        let now_in = Resolution::FiveMinutes.bucket(now_ms);
        let fold = extent == Extent::Checkpoint || self.is_behind || now_in != self.folded_in;
        let group = if extent == Extent::Owed { None } else { self.shared.intake.lock().cut(fold) };
        let store = self.shared.store.read();
        let Some(store) = store.as_deref() else { return Ok(()) };

        let written = (|| {
            store.read(&mut |reader| {
                if let Some(group) = &group {
                    batch.append(&mut commit::batch(group, reader)?);
                }
                if extent != Extent::Owed && fold && self.may_forget(store) {
                    let expired = commit::expired(reader, &self.shared.options.retention, now_ms)?;
                    for key in expired {
                        batch.entry(key).or_insert(None);
                    }
                }
                Ok(())
            })?;
            if batch.is_empty() { Ok(()) } else { store.commit(&batch) }
        })();
        let is_checkpoint_there = || group.as_ref().is_some_and(|group| is_written(store, group.seq));
        match written {
            Err(error) if !is_checkpoint_there() => {
                if let Some(group) = group {
                    self.shared.intake.lock().give_back(group);
                }
                Err(error)
            }
            _ => {
                self.shared.owed.lock().settle(mark);
                if let Some(group) = &group {
                    self.shared.intake.lock().committed(group);
                }
                if fold && extent != Extent::Owed {
                    self.folded_in = now_in;
                }
                Ok(())
            }
        }
    }

    /// By age nothing is deleted until the clock is trusted; what is only in memory is lost at the next start anyway.
    fn may_forget(&self, store: &dyn Store) -> bool {
        self.shared.is_clock_trusted.load(Ordering::Relaxed) || !store.is_durable()
    }
}

/// Whether a checkpoint reached the disk although its commit was told to have failed: a disk's errors can come late.
fn is_written(store: &dyn Store, seq: u64) -> bool {
    let checkpoint = store::get(store, meta::CHECKPOINT).ok().flatten();
    checkpoint.is_some_and(|bytes| value::decode::<Checkpoint>(meta::CHECKPOINT, &bytes).is_ok_and(|c| c.seq >= seq))
}
