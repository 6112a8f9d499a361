//! The handle: what goes in.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::intake::NewBest;
use crate::key::{Key, MAX_SETTING_NAME};
use crate::open::{self, Opened};
use crate::record::{AuditRow, BlockRow, NotifySample, VardiffState};
use crate::shared::Shared;
use crate::store;
use crate::writer::Command;
use crate::{LedgerError, Options, ShareRow, WorkerId, directory, value};

/// Longest value of a setting.
const MAX_SETTING: usize = 1 << 20;
/// Longest text in an audit row.
const MAX_AUDIT_TEXT: usize = 4096;

/// The pool's memory. Cheap to clone; all clones are the same ledger. Once the last is gone, it commits and closes.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.shared().status.lock();
        f.debug_struct("Ledger").field("dir", &self.dir()).field("state", &status.state).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the ledger, or the best there is in its place: a damaged file is set aside and a new one made, and where nothing
    /// can be written everything is kept in memory. Reads the whole file; run it where blocking is fine.
    pub fn open(options: Options) -> Opened {
        open::open(options)
    }

    pub(crate) fn new(handle: Handle) -> Self {
        Self(Arc::new(handle))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub fn dir(&self) -> &Path {
        &self.shared().options.dir
    }

    /// Counts judged shares. Never blocks on I/O; the counts are never lost while the process lives, and reach the disk with
    /// the next commit. Answers with the shares that beat their worker's best.
    pub fn shares(&self, rows: &[ShareRow]) -> Vec<NewBest> {
        if rows.is_empty() { Vec::new() } else { self.shared().intake.lock().add_all(rows) }
    }

    /// The number of a worker, new if it has none yet. Says that the worker is here, so call it when it authorizes.
    pub fn worker_id(&self, name: &str, agent: &str) -> WorkerId {
        let shared = self.shared();
        let now_ms = shared.options.clock.now_ms();
        shared.intake.lock().worker_id(name, agent, now_ms, shared.options.caps)
    }

    /// Keeps a worker's difficulty control across restarts; written with the next checkpoint, within five minutes.
    pub fn set_vardiff(&self, worker: WorkerId, state: VardiffState) {
        self.shared().intake.lock().set_vardiff(worker, state);
    }

    /// The height that is being mined, for the list of best shares.
    pub fn set_height(&self, height: u32) {
        self.shared().intake.lock().height = height;
    }

    /// Adds to the block-notify times.
    pub fn notify_sample(&self, sample: NotifySample) {
        self.shared().intake.lock().add_notify(sample);
    }

    /// Until this is said, nothing is deleted by its age.
    pub fn set_clock_trusted(&self, trusted: bool) {
        self.shared().is_clock_trusted.store(trusted, Ordering::Relaxed);
    }

    /// Records a found block, or what became of it since. Durable when it returns `Ok`.
    pub async fn put_block(&self, block: &BlockRow) -> Result<(), LedgerError> {
        let key = Key::Block { height: block.height, hash: block.hash }.bytes();
        let encoded = value::encode(&key, block);
        if self.shared().blocks.lock().insert(block.hash) {
            self.shared().intake.lock().count_block(&block.worker);
        }
        self.owe(key, Some(encoded)).await
    }

    /// Keeps a setting. Durable when it returns `Ok`.
    pub async fn put_setting(&self, name: &str, text: &str) -> Result<(), LedgerError> {
        let key = setting_key(name)?;
        within("the setting", text.len(), MAX_SETTING)?;
        let encoded = value::encode(&key, &text);
        self.owe(key, Some(encoded)).await
    }

    pub async fn delete_setting(&self, name: &str) -> Result<(), LedgerError> {
        self.owe(setting_key(name)?, None).await
    }

    /// Adds to the audit log; overlong texts are cut. Durable when it returns `Ok`.
    pub async fn audit(&self, row: AuditRow) -> Result<(), LedgerError> {
        let cut = |text: String| directory::cut(&text, MAX_AUDIT_TEXT).to_owned();
        let row = AuditRow {
            at_ms: row.at_ms,
            who: cut(row.who),
            what: cut(row.what),
            target: cut(row.target),
            from: cut(row.from),
            result: cut(row.result),
            details: cut(row.details),
        };
        // The counter starts anew with the process; a clock that went back must not write over an older row.
        let key = loop {
            let seq = self.shared().counters.audit_seq.fetch_add(1, Ordering::Relaxed) as u32;
            let key = Key::Audit { at_ms: row.at_ms, seq }.bytes();
            let is_stored = self.shared().with_store(|store| store::get(store, &key))?.is_some();
            if !is_stored && self.shared().owed.lock().get(&key).is_none() {
                break key;
            }
        };
        let encoded = value::encode(&key, &row);
        self.owe(key, Some(encoded)).await
    }

    /// Everything counted so far is durable when it returns `Ok`.
    pub async fn flush(&self) -> Result<(), LedgerError> {
        self.ask(Command::Flush).await
    }

    /// Commits everything and closes the file. Nothing can be read or durably written afterwards, by no clone.
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.ask(Command::Close).await
    }

    async fn owe(&self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), LedgerError> {
        self.shared().owed.lock().put(key, value);
        self.ask(Command::Owed).await
    }

    async fn ask(&self, command: fn(oneshot::Sender<Result<(), LedgerError>>) -> Command) -> Result<(), LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.0.commands.send(command(answer)).map_err(|_| LedgerError::Closed)?;
        answered.await.unwrap_or(Err(LedgerError::Closed))
    }

    /// Like [`Self::flush`], for a thread that may block.
    pub(crate) fn flush_blocking(&self) -> Result<(), LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.0.commands.send(Command::Flush(answer)).map_err(|_| LedgerError::Closed)?;
        answered.blocking_recv().unwrap_or(Err(LedgerError::Closed))
    }
}

pub(crate) fn setting_key(name: &str) -> Result<Vec<u8>, LedgerError> {
    within("the name of the setting", name.len(), MAX_SETTING_NAME)?;
    Ok(Key::Setting(name.to_owned()).bytes())
}

fn within(what: &'static str, is: usize, most: usize) -> Result<(), LedgerError> {
    if is > most { Err(LedgerError::TooLong { what, is, most }) } else { Ok(()) }
}
