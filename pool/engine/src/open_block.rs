//! A found block whose fate is open: what is known of it, how each node stands to it, and how much of that is on disk.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use warppool_events::BlockFate;
use warppool_ledger::BlockRow;
use warppool_work::Hash;

use crate::blocks::shown;
use crate::spool::FoundBlock;

/// How a node stands to a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stand {
    /// Not offered now.
    #[default]
    Idle,
    /// Being offered.
    Offered,
    /// It has taken it, or keeps it aside.
    Held,
    /// It says for good that it is invalid.
    Refused,
}

#[derive(Debug)]
pub(crate) struct OpenBlock {
    known: Mutex<Known>,
    stands: Mutex<HashMap<String, Stand>>,
    /// Held by whoever writes it to the spool, to the ledger's list, or looks it up: one at a time each, so that the last
    /// write is of the last state.
    pub(crate) spooling: tokio::sync::Mutex<()>,
    pub(crate) listing: tokio::sync::Mutex<()>,
    pub(crate) looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    found: FoundBlock,
    /// Nothing is expected to change any more.
    settled: bool,
    /// Counts the changes of the two above.
    version: u64,
    /// The last versions written to the spool and to the ledger's list.
    spooled: u64,
    listed: u64,
}

impl OpenBlock {
    /// Just found: nowhere on disk.
    pub(crate) fn new(found: FoundBlock) -> Self {
        Self::with(Known { found, settled: false, version: 1, spooled: 0, listed: 0 })
    }

    /// From an earlier run: in the spool, and perhaps not in the list.
    pub(crate) fn from_spool(found: FoundBlock) -> Self {
        Self::with(Known { found, settled: false, version: 1, spooled: 1, listed: 0 })
    }

    fn with(known: Known) -> Self {
        Self {
            known: Mutex::new(known),
            stands: Mutex::default(),
            spooling: tokio::sync::Mutex::default(),
            listing: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn row(&self) -> BlockRow {
        self.known.lock().found.row.clone()
    }

    /// Internal byte order.
    pub(crate) fn hash(&self) -> Hash {
        self.known.lock().found.row.hash
    }

    /// Its hash in display order.
    pub(crate) fn name(&self) -> String {
        shown(&self.known.lock().found.row)
    }

    /// The whole block, serialised.
    pub(crate) fn block(&self) -> Arc<[u8]> {
        Arc::clone(&self.known.lock().found.block)
    }

    /// Takes note of a fate; says whether it is another than before, or `None` when there is nothing new. What is settled
    /// stays so.
    pub(crate) fn set_fate(&self, fate: BlockFate, confirmations: u32, settled: bool) -> Option<bool> {
        let mut known = self.known.lock();
        let changed = known.found.row.fate != fate;
        // Confirmations alone are not worth a write to the card: they follow from the chain.
        if known.settled || (!changed && !settled) {
            return None;
        }
        (known.found.row.fate, known.found.row.confirmations) = (fate, confirmations);
        known.settled = settled;
        known.version += 1;
        Some(changed)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.known.lock().settled
    }

    /// A node has it in its chain.
    pub(crate) fn is_confirmed(&self) -> bool {
        matches!(self.known.lock().found.row.fate, BlockFate::Confirmed | BlockFate::Mature)
    }

    /// What the spool does not have yet. A settled block needs its bytes no more, since a node has them; one that all nodes
    /// refused keeps them, for whoever wants to know why.
    pub(crate) fn not_spooled(&self) -> Option<(FoundBlock, bool, u64)> {
        let known = self.known.lock();
        if known.spooled == known.version {
            return None;
        }
        let mut found = known.found.clone();
        if known.settled && found.row.fate != BlockFate::Rejected {
            found.block = Arc::from([]);
        }
        Some((found, known.settled, known.version))
    }

    pub(crate) fn spooled(&self, version: u64) {
        self.known.lock().spooled = version;
    }

    /// What the ledger's list does not have yet.
    pub(crate) fn not_listed(&self) -> Option<(BlockRow, u64)> {
        let known = self.known.lock();
        (known.listed != known.version).then(|| (known.found.row.clone(), known.version))
    }

    pub(crate) fn listed(&self, version: u64) {
        self.known.lock().listed = version;
    }

    /// Settled, and written down everywhere.
    pub(crate) fn is_done(&self) -> bool {
        let known = self.known.lock();
        known.settled && known.spooled == known.version && known.listed == known.version
    }

    /// False when the node is being offered the block already.
    pub(crate) fn begin_offer(&self, node: &str) -> bool {
        let mut stands = self.stands.lock();
        let stand = stands.entry(node.to_owned()).or_default();
        std::mem::replace(stand, Stand::Offered) != Stand::Offered
    }

    pub(crate) fn stand(&self, node: &str) -> Stand {
        self.stands.lock().get(node).copied().unwrap_or_default()
    }

    pub(crate) fn set_stand(&self, node: &str, stand: Stand) {
        self.stands.lock().insert(node.to_owned(), stand);
    }

    pub(crate) fn is_offered(&self) -> bool {
        self.stands.lock().values().any(|stand| *stand == Stand::Offered)
    }

    /// Some node says for good that it is invalid, and none has taken it.
    pub(crate) fn is_refused(&self) -> bool {
        let stands = self.stands.lock();
        stands.values().any(|stand| *stand == Stand::Refused) && !stands.values().any(|stand| *stand == Stand::Held)
    }

    pub(crate) fn is_refused_by_all(&self, nodes: &[String]) -> bool {
        let stands = self.stands.lock();
        nodes.iter().all(|node| stands.get(node) == Some(&Stand::Refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::found;

    #[test]
    fn what_is_written_last_is_the_last_state_in_both_places() {
        let open = OpenBlock::new(found(1));
        let (first, settled, version) = open.not_spooled().unwrap();
        assert_eq!((first.row.fate, settled), (BlockFate::Pending, false));
        assert_eq!(open.set_fate(BlockFate::Confirmed, 1, false), Some(true));
        open.spooled(version);
        let (second, _, version) = open.not_spooled().unwrap();
        assert_eq!(second.row.fate, BlockFate::Confirmed);
        open.spooled(version);
        assert!(open.not_spooled().is_none());
        assert_eq!(open.not_listed().unwrap().0.fate, BlockFate::Confirmed);
    }

    #[test]
    fn a_settled_block_stays_settled_and_is_done_when_it_is_written_down() {
        let open = OpenBlock::from_spool(found(1));
        assert!(open.not_spooled().is_none() && open.not_listed().is_some());
        assert_eq!(open.set_fate(BlockFate::Mature, 100, true), Some(true));
        assert_eq!(open.set_fate(BlockFate::Orphaned, 0, false), None);
        let (found, settled, version) = open.not_spooled().unwrap();
        assert!(settled && found.block.is_empty(), "a node has it");
        open.spooled(version);
        assert!(!open.is_done());
        open.listed(version);
        assert!(open.is_done());
    }

    #[test]
    fn confirmations_alone_are_not_written() {
        let open = OpenBlock::from_spool(found(1));
        assert_eq!(open.set_fate(BlockFate::Confirmed, 1, false), Some(true));
        assert_eq!(open.set_fate(BlockFate::Confirmed, 2, false), None);
        assert_eq!(open.set_fate(BlockFate::Orphaned, 0, false), Some(true));
        assert_eq!(open.set_fate(BlockFate::Orphaned, 0, true), Some(false), "buried");
    }

    #[test]
    fn a_block_is_rejected_only_when_every_node_refuses_it_and_keeps_its_bytes() {
        let open = OpenBlock::new(found(1));
        let nodes = ["a".to_owned(), "b".to_owned()];
        assert!(open.begin_offer("a") && !open.begin_offer("a"));
        open.set_stand("a", Stand::Refused);
        assert!(open.is_refused() && !open.is_refused_by_all(&nodes));
        open.set_stand("b", Stand::Held);
        assert!(!open.is_refused());
        open.set_stand("b", Stand::Refused);
        assert!(open.is_refused_by_all(&nodes));
        open.set_fate(BlockFate::Rejected, 0, true);
        assert!(!open.not_spooled().unwrap().0.block.is_empty());
    }
}
