//! What happens to a found block: offered to every node, spooled, offered again, followed until its fate is settled.
//!
//! Nothing here waits for anything else: the spool may stall on a bad card and a node may hang, the others go on. A block is
//! held in memory until its fate is settled and written, and is followed by its header on the chain, not by what
//! `submitblock` said.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::SetOnce;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use warppool_events::{BlockFate, Bus, Event, Level};
use warppool_ledger::{BlockRow, Ledger};
use warppool_node::{BlockStatus, Nodes, SubmitAnswer};
use warppool_work::{Hash, KEEP};

use crate::open_block::{OpenBlock, Stand};
use crate::spool::{FoundBlock, Spool};

/// Depth at which a coinbase can be spent, and at which nothing is expected to change any more.
const SETTLED: u32 = 100;
/// First pause before a node is offered a block again; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often open blocks are looked up on the chain when no new tip asks for it.
const FOLLOW_EVERY: Duration = Duration::from_secs(30);
/// How long a change in the list of blocks waits for the ledger before that is told.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);
/// Blocks of one height that are offered. Where blocks are hard there is hardly ever a second one; where every share is a
/// block, all but one of a height are worth nothing.
const MOST_SIBLINGS: usize = 8;
/// Settled blocks remembered, so that a share sent again does not begin anew.
const MOST_DONE: usize = 1024;

/// Found blocks, and changes of their fate, on their way to the spool, of this whole process.
static UNWRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Whether a found block is on its way to the disk. Reads one atomic: fit for a signal handler.
pub fn is_writing_a_block() -> bool {
    UNWRITTEN.load(Ordering::SeqCst) > 0
}

/// Owner of all found blocks.
#[derive(Debug)]
pub struct Blocks {
    nodes: Nodes,
    bus: Bus,
    spool: Spool,
    /// Comes later than the first blocks may: opening it can take a while.
    ledger: SetOnce<Ledger>,
    open: Mutex<HashMap<Hash, Arc<OpenBlock>>>,
    done: Mutex<VecDeque<(Hash, Instant)>>,
    /// Blocks ever found, without those every node refused.
    count: AtomicUsize,
    shutdown: CancellationToken,
}

impl Blocks {
    /// Offers what an earlier run left open and begins to follow it.
    pub async fn start(nodes: Nodes, bus: Bus, spool: Spool, shutdown: CancellationToken) -> Arc<Self> {
        let blocks = Arc::new(Self {
            nodes,
            bus,
            spool: spool.clone(),
            ledger: SetOnce::new(),
            open: Mutex::default(),
            done: Mutex::default(),
            count: AtomicUsize::new(0),
            shutdown: shutdown.clone(),
        });
        let pending = tokio::task::spawn_blocking(move || spool.pending()).await.unwrap_or_default();
        for found in pending {
            info!("block {} at height {} is still open: offering it again", shown(&found.row), found.row.height);
            let open = Arc::new(OpenBlock::from_spool(found));
            blocks.open.lock().insert(open.hash(), Arc::clone(&open));
            blocks.offer_to_all(&open);
        }
        tokio::spawn(Arc::clone(&blocks).follow(shutdown));
        blocks
    }

    /// The ledger is there: its list of blocks is mended from the spool, and kept from now on.
    pub async fn attach(self: &Arc<Self>, ledger: Ledger) {
        let (reading, spool) = (ledger.clone(), self.spool.clone());
        let read =
            tokio::task::spawn_blocking(move || (reading.blocks(usize::MAX).unwrap_or_default(), spool.archived()));
        let (listed, archived) = read.await.unwrap_or_default();
        let mut fates: HashMap<Hash, BlockFate> = listed.into_iter().map(|row| (row.hash, row.fate)).collect();
        let mut lost = Vec::new();
        for found in archived {
            if fates.insert(found.row.hash, found.row.fate) != Some(found.row.fate) {
                lost.push(found.row);
            }
        }
        let open: Vec<_> = self.open.lock().values().cloned().collect();
        for block in &open {
            fates.insert(block.hash(), block.row().fate);
        }
        self.count.store(fates.values().filter(|fate| **fate != BlockFate::Rejected).count(), Ordering::Relaxed);
        let _ = self.ledger.set(ledger.clone());
        tokio::spawn(async move {
            for row in lost {
                record(&ledger, &row).await;
            }
        });
    }

    /// A share met the network's target. Returns at once; everything that takes time runs in tasks of its own.
    pub fn found(self: &Arc<Self>, row: BlockRow, block: Vec<u8>) {
        let hash = row.hash;
        if self.done.lock().iter().any(|(done, _)| *done == hash) {
            return;
        }
        let open = Arc::new(OpenBlock::new(FoundBlock { row: row.clone(), block: block.into() }));
        {
            let mut all = self.open.lock();
            let siblings = all.values().filter(|other| other.row().height == row.height && !other.is_refused());
            if siblings.count() >= MOST_SIBLINGS {
                debug!("another block at height {}: enough of them are on their way", row.height);
                return;
            }
            // The same solution may come twice (a miner that repeats itself).
            match all.entry(hash) {
                Entry::Occupied(_) => return,
                Entry::Vacant(place) => place.insert(Arc::clone(&open)),
            };
        }
        // The nodes first: nothing, not even the log, stands between a block and the network.
        self.offer_to_all(&open);
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

    /// Begins to write what is known of a block to the disk, spool and list apart. Nobody waits for it.
    fn save(self: &Arc<Self>, open: &Arc<OpenBlock>) {
        UNWRITTEN.fetch_add(1, Ordering::SeqCst);
        let (this, block) = (Arc::clone(self), Arc::clone(open));
        tokio::spawn(async move {
            let _one = block.spooling.lock().await;
            while let Some((found, settled, version)) = block.not_spooled() {
                this.spool(found, settled).await;
                block.spooled(version);
            }
            UNWRITTEN.fetch_sub(1, Ordering::SeqCst);
            this.forget_if_done(&block);
        });
        let (this, block) = (Arc::clone(self), Arc::clone(open));
        tokio::spawn(async move {
            let ledger = this.ledger.wait().await;
            let _one = block.listing.lock().await;
            while let Some((row, version)) = block.not_listed() {
                record(ledger, &row).await;
                block.listed(version);
            }
            this.forget_if_done(&block);
        });
    }

    /// A settled block that is written down everywhere leaves the memory.
    fn forget_if_done(&self, block: &OpenBlock) {
        let hash = block.hash();
        if block.is_done() && self.open.lock().remove(&hash).is_some() {
            let mut done = self.done.lock();
            while done.len() >= MOST_DONE || done.front().is_some_and(|(_, at)| at.elapsed() > KEEP) {
                done.pop_front();
            }
            done.push_back((hash, Instant::now()));
        }
    }

    /// Writes a block to the spool, again and again until it is there.
    async fn spool(&self, found: FoundBlock, settled: bool) {
        let mut told = false;
        loop {
            let (spool, found) = (self.spool.clone(), found.clone());
            let hash = shown(&found.row);
            match tokio::task::spawn_blocking(move || spool.put(&found, settled)).await {
                // An error of the task itself means that the runtime is going down.
                Ok(Ok(())) | Err(_) => return,
                Ok(Err(why)) => {
                    if !told {
                        let message = format!(
                            "found block {hash} cannot be written to disk ({why}); it is held in memory and offered to \
                             every node all the same: make room, and do not stop the pool"
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

    fn offer_to_all(self: &Arc<Self>, open: &Arc<OpenBlock>) {
        for node in self.nodes.node_names() {
            self.offer(node, open);
        }
    }

    /// Begins to offer a block to a node, unless that is going on.
    fn offer(self: &Arc<Self>, node: String, open: &Arc<OpenBlock>) {
        if open.begin_offer(&node) {
            tokio::spawn(Arc::clone(self).offer_until_answered(node, Arc::clone(open)));
        }
    }

    /// Offers a block to a node, again and again until the node has it or says for good that it is invalid.
    async fn offer_until_answered(self: Arc<Self>, node: String, open: Arc<OpenBlock>) {
        let hash = open.name();
        let (mut pause, mut last_refusal) = (FIRST_PAUSE, String::new());
        while !open.is_settled() {
            // Hex only while it is needed: it is twice the block.
            match self.nodes.submit_block(&node, hex::encode(open.block()).into()).await {
                Ok(SubmitAnswer::Accepted | SubmitAnswer::Duplicate) => {
                    info!("{node} has block {hash}");
                    open.set_stand(&node, Stand::Held);
                    return self.look_up(&open).await;
                }
                // Known, or a side chain: whether it counts is for the chain to say.
                Ok(answer @ (SubmitAnswer::Inconclusive | SubmitAnswer::DuplicateInconclusive)) => {
                    info!("{node} keeps block {hash} aside for now ({answer:?})");
                    open.set_stand(&node, Stand::Held);
                    return self.look_up(&open).await;
                }
                Ok(SubmitAnswer::DuplicateInvalid) => return self.refused(&node, &open, "it is held to be invalid"),
                Ok(SubmitAnswer::Rejected(reason)) if !may_pass(&reason) => return self.refused(&node, &open, &reason),
                // A node that is behind, or whose clock is, will think better of it.
                Ok(SubmitAnswer::Rejected(reason)) => {
                    if reason != last_refusal {
                        warn!("{node} does not take block {hash} yet: {reason}");
                        last_refusal = reason;
                    }
                }
                Err(why) => warn!("block {hash} did not reach {node}, trying again: {why}"),
            }
            tokio::select! {
                () = sleep(pause) => {}
                // What is on disk is offered again at the next start.
                () = self.shutdown.cancelled() => break,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        open.set_stand(&node, Stand::Idle);
    }

    /// A node says for good that a block is invalid. Only when all do is it rejected.
    fn refused(self: &Arc<Self>, node: &str, open: &Arc<OpenBlock>, reason: &str) {
        error!("{node} refuses block {}: {reason}", open.name());
        open.set_stand(node, Stand::Refused);
        if open.is_refused_by_all(&self.nodes.node_names()) {
            self.settle(open, BlockFate::Rejected, 0, true);
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

    /// Asks every node about a block and acts on the best answer: one that has it in its chain is enough. A node that had it
    /// and does not know it any more (crashed, restored, reindexed) is offered it again.
    async fn look_up(self: &Arc<Self>, open: &Arc<OpenBlock>) {
        // One at a time, so that no answer overtakes a later one.
        let _one = open.looking.lock().await;
        let (hash, height) = (open.name(), open.row().height);
        let mut answers = JoinSet::new();
        for node in self.nodes.node_names() {
            let (nodes, hash) = (self.nodes.clone(), hash.clone());
            answers.spawn(async move {
                let status = nodes.block_status(&node, &hash).await;
                (node, status)
            });
        }
        let mut is_known = false;
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok((_, Ok(BlockStatus::Confirmed { confirmations, .. }))) => {
                    let is_mature = confirmations >= SETTLED;
                    let fate = if is_mature { BlockFate::Mature } else { BlockFate::Confirmed };
                    return self.settle(open, fate, confirmations, is_mature);
                }
                Ok((_, Ok(BlockStatus::SideChain { .. }))) => is_known = true,
                Ok((node, Ok(BlockStatus::Unknown))) => {
                    if open.stand(&node) == Stand::Held {
                        open.set_stand(&node, Stand::Idle);
                        self.offer(node, open);
                    }
                }
                // No answer says nothing.
                Ok((_, Err(_))) | Err(_) => {}
            }
        }
        // A block that nodes refused is known to them as well, by its header.
        if is_known && !open.is_refused() {
            let is_buried = self.nodes.network().is_some_and(|network| network.height >= height + SETTLED);
            self.settle(open, BlockFate::Orphaned, 0, is_buried);
        }
    }

    /// Takes note of what became of a block, where it changed.
    fn settle(self: &Arc<Self>, open: &Arc<OpenBlock>, fate: BlockFate, confirmations: u32, settled: bool) {
        let Some(fate_changed) = open.set_fate(fate, confirmations, settled) else { return };
        self.save(open);
        let (hash, height) = (open.name(), open.row().height);
        if fate_changed {
            match fate {
                BlockFate::Confirmed => info!("block {hash} is in the chain"),
                BlockFate::Mature => info!("block {hash} is {SETTLED} deep: its reward can be spent"),
                BlockFate::Orphaned => warn!("block {hash} lost its place in the chain"),
                BlockFate::Rejected => {
                    let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
                    error!("every node refuses block {hash}; it is kept in the spool's archive, please report it");
                }
                BlockFate::Pending => {}
            }
        }
        self.bus.send(Event::BlockFate { hash, height, fate, confirmations });
    }

    /// Waits until every found block is on disk and has been tried with every node, but not for ever. After the shutdown
    /// signal a node that does not answer is not asked again.
    pub async fn quiet(&self, at_most: Duration) {
        let started = Instant::now();
        let is_busy = |open: &OpenBlock| {
            // What is in a chain is safe; its last word in the spool is worth a moment, not more.
            let patience = if open.is_confirmed() { at_most / 5 } else { at_most };
            let is_open = open.not_spooled().is_some() || (!open.is_confirmed() && open.is_offered());
            is_open && started.elapsed() < patience
        };
        while self.open.lock().values().any(|open| is_busy(open)) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What is known of the blocks whose fate is open, which the ledger's list may not have yet.
    pub fn open_rows(&self) -> Vec<BlockRow> {
        self.open.lock().values().map(|open| open.row()).collect()
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

/// Puts a block into the ledger's list. The spool is what must not lose it; a ledger that cannot write keeps it in memory and
/// writes it when it can.
async fn record(ledger: &Ledger, row: &BlockRow) {
    match timeout(LEDGER_PATIENCE, ledger.put_block(row)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => warn!("block {} is not in the ledger's list on disk yet: {why}", shown(row)),
        Err(_) => warn!("block {} is not in the ledger's list on disk yet: the disk is slow or full", shown(row)),
    }
}

/// Refusals that say more of the node's state than of the block.
fn may_pass(reason: &str) -> bool {
    ["prev-blk-not-found", "time-too-new", "inconclusive", "bad-prevblk"].iter().any(|known| reason.contains(known))
}

/// Block hash in display order.
pub(crate) fn shown(row: &BlockRow) -> String {
    let mut hash = row.hash;
    hash.reverse();
    hex::encode(hash)
}
