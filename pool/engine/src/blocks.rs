//! What happens to a found block: submitted to every node, spooled, submitted again, followed until its fate is settled.
//!
//! Nothing here waits for anything else: the spool may stall on a bad card and a node may hang, the other way goes on. A
//! block is held in memory until it is on disk or every node has answered, and is followed by its header on the chain, not
//! by what `submitblock` said.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use warppool_events::{BlockFate, Bus, Event, Level};
use warppool_ledger::{BlockRow, Ledger};
use warppool_node::{BlockStatus, Nodes, SubmitAnswer};
use warppool_work::Hash;

use crate::spool::{FoundBlock, Spool};

/// Depth at which a coinbase can be spent, and at which nothing is expected to change any more.
const SETTLED: u32 = 100;
/// First pause before a block is submitted again; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often open blocks are looked up on the chain when no new tip asks for it.
const FOLLOW_EVERY: Duration = Duration::from_secs(30);
/// How long a change of a block's fate waits for the ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);

/// Owner of all found blocks.
#[derive(Debug)]
pub struct Blocks {
    nodes: Nodes,
    ledger: Ledger,
    bus: Bus,
    /// `None` where the data folder cannot be written: blocks are then kept in memory alone, and that is told.
    spool: Option<Spool>,
    open: Mutex<HashMap<Hash, Arc<OpenBlock>>>,
    /// Blocks ever found, without those every node refused.
    count: AtomicUsize,
    /// Found blocks on their way to the disk.
    writing: AtomicUsize,
    shutdown: CancellationToken,
}

/// A block whose fate is not settled.
#[derive(Debug)]
struct OpenBlock {
    state: Mutex<Known>,
    /// Held by whoever writes it to the disk, so that the last write is of the last state.
    saving: tokio::sync::Mutex<()>,
    /// A node has it in its main chain; nothing needs to be submitted for now.
    confirmed: AtomicBool,
    /// It is on its way to the nodes.
    submitting: AtomicBool,
}

/// What is known of a block, and how much of that is on disk.
#[derive(Debug)]
struct Known {
    found: FoundBlock,
    /// Nothing is expected to change any more.
    settled: bool,
    /// Counts the changes of the two above.
    version: u64,
    /// The last version written.
    saved: u64,
}

impl OpenBlock {
    /// `is_new`: it is not on disk yet.
    fn new(found: FoundBlock, is_new: bool) -> Self {
        let known = Known { found, settled: false, version: 1, saved: u64::from(!is_new) };
        Self {
            state: Mutex::new(known),
            saving: tokio::sync::Mutex::default(),
            confirmed: AtomicBool::new(false),
            submitting: AtomicBool::new(false),
        }
    }

    /// What is to be written now, if anything. A settled block needs its bytes no more, since a node has them; one that all
    /// nodes refused keeps them, for whoever wants to know why.
    fn unsaved(&self) -> Option<(FoundBlock, bool, u64)> {
        let known = self.state.lock();
        if known.saved == known.version {
            return None;
        }
        let mut found = known.found.clone();
        if known.settled && found.row.fate != BlockFate::Rejected {
            found.block = Arc::from([]);
        }
        Some((found, known.settled, known.version))
    }

    /// Block hash in display order, and height.
    fn name(&self) -> (String, u32) {
        let known = self.state.lock();
        (shown(&known.found.row), known.found.row.height)
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }
}

impl Blocks {
    /// Takes up what an earlier run left open and begins to follow it.
    pub async fn start(
        nodes: Nodes,
        ledger: Ledger,
        bus: Bus,
        spool: Option<Spool>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let blocks = Arc::new(Self {
            nodes,
            ledger,
            bus,
            spool,
            open: Mutex::default(),
            count: AtomicUsize::new(0),
            writing: AtomicUsize::new(0),
            shutdown: shutdown.clone(),
        });
        if let Some(spool) = blocks.spool.clone() {
            let (pending, archived) =
                tokio::task::spawn_blocking(move || (spool.pending(), spool.archived())).await.unwrap_or_default();
            blocks.mend_list(&pending, &archived).await;
            for found in pending {
                info!("block {} at height {} is still open: submitting it again", shown(&found.row), found.row.height);
                blocks.take(found, false);
            }
        }
        tokio::spawn(Arc::clone(&blocks).follow(shutdown));
        blocks
    }

    /// Puts blocks the ledger has lost back into its list.
    async fn mend_list(&self, pending: &[FoundBlock], archived: &[FoundBlock]) {
        let known: HashMap<Hash, BlockFate> =
            self.ledger.blocks(usize::MAX).unwrap_or_default().into_iter().map(|row| (row.hash, row.fate)).collect();
        let counts = |fate: &BlockFate| *fate != BlockFate::Rejected;
        let lost = pending.iter().chain(archived).filter(|found| !known.contains_key(&found.row.hash));
        let count =
            known.values().filter(|fate| counts(fate)).count() + lost.filter(|found| counts(&found.row.fate)).count();
        self.count.store(count, Ordering::Relaxed);
        for found in pending.iter().chain(archived) {
            if !known.contains_key(&found.row.hash) {
                self.record(&found.row).await;
            }
        }
    }

    /// A share met the network's target. Returns at once; everything that takes time runs in tasks of its own.
    pub fn found(self: &Arc<Self>, row: BlockRow, block: Vec<u8>) {
        self.take(FoundBlock { row, block: block.into() }, true);
    }

    fn take(self: &Arc<Self>, found: FoundBlock, is_new: bool) {
        let row = found.row.clone();
        let open = Arc::new(OpenBlock::new(found, is_new));
        // The same solution may come twice (a miner that repeats itself).
        match self.open.lock().entry(row.hash) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(Arc::clone(&open)),
        };
        // Submission first: nothing, not even the log, stands between a block and the network.
        self.submit(&open);
        if is_new {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.save(&open);
            info!("BLOCK FOUND: {} at height {} by {}", shown(&row), row.height, row.worker);
            self.bus.send(Event::BlockFound {
                hash: shown(&row),
                height: row.height,
                worker: row.worker,
                value_sat: row.value_sat,
            });
        }
    }

    /// Begins to write what is known of a block to the disk. Nobody waits for it; the block stays in memory meanwhile.
    fn save(self: &Arc<Self>, open: &Arc<OpenBlock>) {
        let (this, open) = (Arc::clone(self), Arc::clone(open));
        self.writing.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let _one = open.saving.lock().await;
            while let Some((found, settled, version)) = open.unsaved() {
                let row = found.row.clone();
                this.write(found, settled).await;
                this.record(&row).await;
                open.state.lock().saved = version;
                if settled {
                    this.open.lock().remove(&row.hash);
                }
            }
            this.writing.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Writes a block to the spool, again and again until it is there.
    async fn write(&self, found: FoundBlock, settled: bool) {
        let Some(spool) = self.spool.clone() else { return };
        let mut told = false;
        loop {
            let (spool, found) = (spool.clone(), found.clone());
            let hash = shown(&found.row);
            match tokio::task::spawn_blocking(move || spool.put(&found, settled)).await {
                // An error of the task itself means that the runtime is going down.
                Ok(Ok(())) | Err(_) => return,
                Ok(Err(why)) => {
                    if !told {
                        let message = format!(
                            "found block {hash} cannot be written to disk ({why}); it is held in memory and submitted \
                             all the same: make room, and do not stop the pool"
                        );
                        error!("{message}");
                        self.bus.send(Event::Notice { level: Level::Error, message });
                        told = true;
                    }
                }
            }
            sleep(Duration::from_secs(2)).await;
        }
    }

    /// Puts a block into the ledger's list. The spool is what must not lose it; a ledger that cannot write keeps it in
    /// memory and writes it when it can.
    async fn record(&self, row: &BlockRow) {
        match timeout(LEDGER_PATIENCE, self.ledger.put_block(row)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => warn!("block {} is not in the ledger's list yet: {why}", shown(row)),
            Err(_) => warn!("block {} is not in the ledger's list yet: the disk is slow or full", shown(row)),
        }
    }

    /// Begins to submit a block, unless that is going on.
    fn submit(self: &Arc<Self>, open: &Arc<OpenBlock>) {
        if !open.submitting.swap(true, Ordering::Relaxed) {
            tokio::spawn(Arc::clone(self).submit_until_held(Arc::clone(open)));
        }
    }

    /// Submits to every node at once, and to each again until it has the block or says for good that it is invalid.
    async fn submit_until_held(self: Arc<Self>, open: Arc<OpenBlock>) {
        let block = Arc::clone(&open.state.lock().found.block);
        let block_hex: Arc<str> = hex::encode(&block).into();
        drop(block);
        let mut nodes = JoinSet::new();
        for node in self.nodes.node_names() {
            nodes.spawn(Arc::clone(&self).submit_to(node, Arc::clone(&open), Arc::clone(&block_hex)));
        }
        drop(block_hex);
        let mut verdicts = Vec::new();
        while let Some(verdict) = nodes.join_next().await {
            verdicts.extend(verdict);
        }
        open.submitting.store(false, Ordering::Relaxed);
        // Only when every node has refused it for good, and the chain does not know it either, is it rejected.
        let refused = !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == Verdict::Refused);
        if refused && matches!(self.on_chain(&open.name().0).await, Some(BlockStatus::Unknown)) {
            self.settle(&open, BlockFate::Rejected, 0, true);
        }
    }

    async fn submit_to(self: Arc<Self>, node: String, open: Arc<OpenBlock>, block_hex: Arc<str>) -> Verdict {
        let (hash, _) = open.name();
        let (mut pause, mut last_refusal) = (FIRST_PAUSE, String::new());
        let mut refusals = 0;
        loop {
            match self.nodes.submit_block(&node, Arc::clone(&block_hex)).await {
                Ok(SubmitAnswer::Accepted | SubmitAnswer::Duplicate) => {
                    info!("{node} has block {hash}");
                    self.look_up(&open).await;
                    return Verdict::Held;
                }
                // Known, or a side chain: whether it counts is for the chain to say.
                Ok(answer @ (SubmitAnswer::Inconclusive | SubmitAnswer::DuplicateInconclusive)) => {
                    info!("{node} keeps block {hash} aside for now ({answer:?})");
                    self.look_up(&open).await;
                    return Verdict::Held;
                }
                Ok(SubmitAnswer::DuplicateInvalid) => {
                    error!("{node} holds block {hash} to be invalid");
                    return Verdict::Refused;
                }
                Ok(SubmitAnswer::Rejected(reason)) => {
                    if reason != last_refusal {
                        error!("{node} refuses block {hash}: {reason}");
                        last_refusal.clone_from(&reason);
                    }
                    // A node that is behind, or whose clock is, will think better of it.
                    refusals += 1;
                    if !may_pass(&reason) || refusals > 40 {
                        return Verdict::Refused;
                    }
                }
                Err(why) => warn!("block {hash} did not reach {node}, trying again: {why}"),
            }
            tokio::select! {
                () = sleep(pause) => {}
                // What is on disk is submitted again at the next start.
                () = self.shutdown.cancelled() => return Verdict::Unanswered,
            }
            if open.is_confirmed() {
                // Another node has it in its chain; this one will hear of it from the network.
                return Verdict::Held;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Looks after every open block at each new tip, and every half minute.
    async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tips = self.nodes.templates();
        let mut next = Instant::now() + FOLLOW_EVERY;
        let mut last_tip = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = tips.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Compared, since an update that brings a new tip may be overtaken by one that brings fees.
                    let tip = tips.borrow_and_update().as_ref().map(|update| update.template.prev_hash);
                    if std::mem::replace(&mut last_tip, tip) == tip {
                        continue;
                    }
                }
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + FOLLOW_EVERY;
            let open: Vec<_> = self.open.lock().values().cloned().collect();
            for block in open {
                self.look_up(&block).await;
            }
        }
    }

    /// Asks the chain about one block and acts on the answer.
    async fn look_up(self: &Arc<Self>, open: &Arc<OpenBlock>) {
        let (hash, height) = open.name();
        let buried = self.nodes.network().is_some_and(|network| network.height >= height + SETTLED);
        match self.on_chain(&hash).await {
            Some(BlockStatus::Confirmed { confirmations, .. }) if confirmations >= SETTLED => {
                self.settle(open, BlockFate::Mature, confirmations, true);
            }
            Some(BlockStatus::Confirmed { confirmations, .. }) => {
                self.settle(open, BlockFate::Confirmed, confirmations, false);
            }
            Some(BlockStatus::SideChain { .. }) => self.settle(open, BlockFate::Orphaned, 0, buried),
            Some(BlockStatus::Unknown) => {
                // A node that had it has lost it (crashed, restored, reindexed): hand it over again.
                open.confirmed.store(false, Ordering::Relaxed);
                self.submit(open);
            }
            None => {}
        }
    }

    /// The best that any node says of a block: in its chain, beside it, not known; `None` when none answers. All are asked at
    /// once, and one that has it in its chain is enough.
    async fn on_chain(&self, hash: &str) -> Option<BlockStatus> {
        let mut answers = JoinSet::new();
        for node in self.nodes.node_names() {
            let (nodes, hash) = (self.nodes.clone(), hash.to_owned());
            answers.spawn(async move { nodes.block_status(&node, &hash).await });
        }
        let mut best = None;
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok(Ok(status @ BlockStatus::Confirmed { .. })) => return Some(status),
                Ok(Ok(status @ BlockStatus::SideChain { .. })) => best = Some(status),
                Ok(Ok(status @ BlockStatus::Unknown)) => best = best.or(Some(status)),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        best
    }

    /// Takes note of what became of a block, where it changed.
    fn settle(self: &Arc<Self>, open: &Arc<OpenBlock>, fate: BlockFate, confirmations: u32, settled: bool) {
        open.confirmed.store(matches!(fate, BlockFate::Confirmed | BlockFate::Mature), Ordering::Relaxed);
        let (row, fate_changed) = {
            let mut known = open.state.lock();
            let fate_changed = known.found.row.fate != fate;
            // Confirmations alone are not worth a write to the card: they follow from the chain.
            if !fate_changed && known.settled == settled {
                return;
            }
            (known.found.row.fate, known.found.row.confirmations) = (fate, confirmations);
            known.settled = settled;
            known.version += 1;
            (known.found.row.clone(), fate_changed)
        };
        self.save(open);
        if fate_changed {
            match fate {
                BlockFate::Confirmed => info!("block {} is in the chain", shown(&row)),
                BlockFate::Mature => info!("block {} is {SETTLED} deep: its reward can be spent", shown(&row)),
                BlockFate::Orphaned => warn!("block {} lost its place in the chain", shown(&row)),
                BlockFate::Rejected => {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    error!(
                        "every node refuses block {}; it is kept in the spool's archive, please report it",
                        shown(&row)
                    );
                }
                BlockFate::Pending => {}
            }
        }
        self.bus.send(Event::BlockFate { hash: shown(&row), height: row.height, fate, confirmations });
    }

    /// Waits until every found block is on disk and has been tried with every node, but not for ever. After the shutdown
    /// signal a node that does not answer is not asked again.
    pub async fn quiet(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let is_busy = || {
            let submitting =
                self.open.lock().values().any(|open| !open.is_confirmed() && open.submitting.load(Ordering::Relaxed));
            submitting || self.writing.load(Ordering::Relaxed) > 0
        };
        while is_busy() && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Blocks ever found, without those every node refused.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A found block that no node has in its chain yet: the pool should not be stopped for an update now.
    pub fn has_unconfirmed(&self) -> bool {
        self.open.lock().values().any(|open| !open.is_confirmed())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Held,
    Refused,
    Unanswered,
}

/// Refusals that say more of the node's state than of the block.
fn may_pass(reason: &str) -> bool {
    ["prev-blk-not-found", "time-too-new", "inconclusive", "bad-prevblk"].iter().any(|known| reason.contains(known))
}

fn shown(row: &BlockRow) -> String {
    let mut hash = row.hash;
    hash.reverse();
    hex::encode(hash)
}
