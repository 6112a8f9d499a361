//! One B-tree of the file, followed from its root: every page sound, every key in its place, every value whole.

use std::borrow::Cow;

use super::meta::{NO_PAGE, PAGE_HEADER, Root};
use super::{Claimed, Damage, PageFile, Visit, u16_at, u32_at, u64_at};

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;

/// Bytes of a node before its key.
const NODE_HEADER: usize = 8;
/// The node's value lies on pages of its own; the node holds their number.
const BIG_DATA: u16 = 0x01;
/// LMDB's own bound on the height of a tree.
const MAX_DEPTH: u16 = 32;

pub(super) struct Tree<'a> {
    file: &'a mut PageFile,
    claimed: &'a mut Claimed,
    root: Root,
    /// Keys are numbers in the machine's order, as in the tree of free pages.
    integer_keys: bool,
    /// Goes on past damage, remembering the first.
    tolerant: bool,
    damage: Option<Damage>,
    entries: u64,
}

/// The keys a page may hold: from the first on, before the second.
#[derive(Clone, Default)]
struct Bounds {
    from: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
}

struct Node {
    offset: usize,
    key: Vec<u8>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(file: &'a mut PageFile, claimed: &'a mut Claimed, root: Root, integer_keys: bool) -> Self {
        Self { file, claimed, root, integer_keys, tolerant: false, damage: None, entries: 0 }
    }

    pub(super) fn tolerant(self) -> Self {
        Self { tolerant: true, ..self }
    }

    pub(super) fn walk(&mut self, visit: Visit<'_>) -> Result<(), Damage> {
        let Root { page, depth, entries, .. } = self.root;
        if page == NO_PAGE {
            return if entries == 0 { Ok(()) } else { Err(Damage("a tree lost its root".into())) };
        }
        if depth == 0 || depth > MAX_DEPTH {
            return Err(Damage(format!("a tree claims to be {depth} levels high")));
        }
        self.page(page, depth, &Bounds::default(), visit)?;
        if let Some(damage) = self.damage.take() {
            return Err(damage);
        }
        if self.entries != entries {
            return Err(Damage(format!("a tree holds {} records where its header says {entries}", self.entries)));
        }
        Ok(())
    }

    fn page(&mut self, number: u64, levels: u16, bounds: &Bounds, visit: Visit<'_>) -> Result<(), Damage> {
        self.claimed.claim(number)?;
        let page = self.file.read(number)?;
        let kind = if levels == 1 { LEAF } else { BRANCH };
        if u64_at(&page, 0) != number || u16_at(&page, 10) != kind {
            return Err(Damage::on(number, "it is not the page that was looked for"));
        }
        let nodes = self.nodes(number, &page, kind)?;
        let order = self.check_order(number, &nodes, bounds, kind);
        self.bear(order)?;
        if kind == LEAF {
            return self.leaf(number, &page, &nodes, visit);
        }
        for (place, node) in nodes.iter().enumerate() {
            let child = u64::from(u32_at(&page, node.offset)) | u64::from(u16_at(&page, node.offset + 4)) << 32;
            let within = Bounds {
                // The first node's key is empty or stale: nothing bounds its child from below but the page's own bound.
                from: if place == 0 { bounds.from.clone() } else { Some(node.key.clone()) },
                before: nodes.get(place + 1).map_or_else(|| bounds.before.clone(), |next| Some(next.key.clone())),
            };
            let told = self.page(child, levels - 1, &within, visit);
            self.bear(told)?;
        }
        Ok(())
    }

    fn leaf(&mut self, number: u64, page: &[u8], nodes: &[Node], visit: Visit<'_>) -> Result<(), Damage> {
        nodes.iter().try_for_each(|node| {
            let told = self.value(number, page, node).and_then(|value| {
                self.entries += 1;
                visit(&node.key, &value)
            });
            self.bear(told)
        })
    }

    /// Visits the leaves that no page claims, after a walk that claimed what can be reached.
    pub(super) fn visit_orphans(&mut self, visit: Visit<'_>) {
        for number in 2..self.file.pages() {
            let Ok(page) = self.file.read(number) else { continue };
            let is_leaf = u64_at(&page, 0) == number && u16_at(&page, 10) == LEAF;
            if is_leaf && self.claimed.claim(number).is_ok() {
                let told = self.nodes(number, &page, LEAF).and_then(|nodes| self.leaf(number, &page, &nodes, visit));
                // What is wrong with the file is known by now.
                let _ = self.bear(told);
            }
        }
    }

    /// In a tolerant walk damage is noted and passed over.
    fn bear(&mut self, result: Result<(), Damage>) -> Result<(), Damage> {
        match result {
            Err(damage) if self.tolerant => {
                self.damage.get_or_insert(damage);
                Ok(())
            }
            result => result,
        }
    }

    /// The nodes of a page, each within it, filling its upper part without holes; in a tolerant walk, those that can be read.
    fn nodes(&mut self, number: u64, page: &[u8], kind: u16) -> Result<Vec<Node>, Damage> {
        let wrong = |what: &str| Damage::on(number, what);
        let (lower, upper) = (usize::from(u16_at(page, 12)), usize::from(u16_at(page, 14)));
        if lower < PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > page.len() {
            return Err(wrong("its bounds cannot be"));
        }
        let least = if kind == LEAF || self.integer_keys { 1 } else { 2 };
        if (lower - PAGE_HEADER) / 2 < least {
            return Err(wrong("it holds too little"));
        }
        let mut filled = 0;
        let mut nodes = Vec::with_capacity((lower - PAGE_HEADER) / 2);
        for pointer in (PAGE_HEADER..lower).step_by(2) {
            let node = node(page, usize::from(u16_at(page, pointer)), upper, kind);
            match node.map_err(wrong) {
                Ok((node, length)) => {
                    filled += length.next_multiple_of(2);
                    nodes.push(node);
                }
                Err(damage) => self.bear(Err(damage))?,
            }
        }
        if filled != page.len() - upper {
            self.bear(Err(wrong("its nodes overlap or leave holes")))?;
        }
        Ok(nodes)
    }

    fn check_order(&self, number: u64, nodes: &[Node], bounds: &Bounds, kind: u16) -> Result<(), Damage> {
        let from = bounds.from.as_ref().and_then(|key| self.order(key));
        let before = bounds.before.as_ref().and_then(|key| self.order(key));
        let mut last: Option<Cow<'_, [u8]>> = None;
        // In a branch the first key stands for "everything before the second".
        for node in &nodes[usize::from(kind == BRANCH)..] {
            let key = self.order(&node.key).ok_or_else(|| Damage::on(number, "a key has the wrong length"))?;
            let outside =
                from.as_ref().is_some_and(|from| key < *from) || before.as_ref().is_some_and(|end| key >= *end);
            if outside || last.is_some_and(|last| key <= last) {
                return Err(Damage::on(number, "its keys are out of order"));
            }
            last = Some(key);
        }
        Ok(())
    }

    /// A key's place in the order: its bytes, or those of the number it is.
    fn order<'k>(&self, key: &'k [u8]) -> Option<Cow<'k, [u8]>> {
        if !self.integer_keys {
            return Some(Cow::Borrowed(key));
        }
        key.try_into().ok().map(|key| Cow::Owned(u64::from_le_bytes(key).to_be_bytes().to_vec()))
    }

    fn value(&mut self, number: u64, page: &[u8], node: &Node) -> Result<Vec<u8>, Damage> {
        let length = u32_at(page, node.offset) as usize;
        let at = node.offset + NODE_HEADER + node.key.len();
        if u16_at(page, node.offset + 4) != BIG_DATA {
            return Ok(page[at..at + length].to_vec());
        }
        let first = u64_at(page, at);
        let head = self.file.read_at(first, 0, PAGE_HEADER)?;
        let pages = u64::from(u32_at(&head, 12));
        let needed = (PAGE_HEADER + length).div_ceil(page.len()) as u64;
        let in_file = first.checked_add(pages).is_some_and(|end| end <= self.file.pages());
        if u64_at(&head, 0) != first || u16_at(&head, 10) != OVERFLOW || pages < needed || !in_file {
            return Err(Damage::on(number, "a long value is not where it should be"));
        }
        for page in first..first + pages {
            self.claimed.claim(page)?;
        }
        self.file.read_at(first, PAGE_HEADER, length)
    }
}

/// The node at an offset of a page, and the bytes it takes.
fn node(page: &[u8], offset: usize, upper: usize, kind: u16) -> Result<(Node, usize), &'static str> {
    if offset < upper || !offset.is_multiple_of(2) || offset + NODE_HEADER > page.len() {
        return Err("a node lies outside of it");
    }
    let key_length = usize::from(u16_at(page, offset + 6));
    let data_length = match (kind, u16_at(page, offset + 4)) {
        (BRANCH, _) => 0,
        (_, 0) => u32_at(page, offset) as usize,
        (_, BIG_DATA) => 8,
        _ => return Err("a node is of an unknown kind"),
    };
    let length = NODE_HEADER + key_length + data_length;
    if offset + length > page.len() {
        return Err("a node reaches beyond it");
    }
    Ok((Node { offset, key: page[offset + NODE_HEADER..][..key_length].to_vec() }, length))
}
