//! LMDB's file format, read with plain reads instead of a mapping, so that no damage can end the process by a signal.
//!
//! LMDB trusts every byte of its file. Before it is let near one, `walk` follows every page of both trees; what can still be
//! read of a damaged file, `salvage` finds. The layout is that of LMDB 0.9 on 64-bit little-endian machines.

mod meta;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use meta::Meta;
use tree::Tree;

/// Page size of the files made here; file systems write blocks of this size.
const PAGE_SIZE: usize = 4096;

/// What is wrong with a ledger file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub(crate) String);

impl Damage {
    fn on(page: u64, what: impl std::fmt::Display) -> Self {
        Self(format!("page {page}: {what}"))
    }
}

/// Whether this machine lays out LMDB's file the way this module reads it. Elsewhere LMDB makes and judges its own file.
pub(crate) const READABLE: bool = cfg!(all(target_pointer_width = "64", target_endian = "little"));

/// Makes an empty environment with pages of 4 KiB. Leaves it to LMDB where the layout is another.
pub(crate) fn write_empty(path: &Path, map_size: u64) -> io::Result<()> {
    if !READABLE {
        return Ok(());
    }
    // Written beside and renamed: half a header would be taken for a damaged ledger.
    let draft = path.with_extension("draft");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(&meta::empty(PAGE_SIZE, map_size))?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened, and a rename is durable with the file system's own journal.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Called with every key and value, in the order of keys.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), Damage>;

/// Follows the newest snapshot's two trees to the last page, and visits every record. Stops at the first thing wrong.
pub(crate) fn walk(path: &Path, visit: Visit<'_>) -> Result<(), Damage> {
    let mut file = PageFile::open(path)?;
    let [meta, _] = meta::newest_first(&mut file)?;
    let mut claimed = Claimed::new(&file, &meta);
    claim_free(&mut file, &mut claimed, &meta)?;
    Tree::new(&mut file, &mut claimed, meta.main, false).walk(visit)
}

/// Visits what can be read of a damaged file: what the newest snapshot's tree reaches, then the leaves that nothing reaches
/// any more although they are not free. Where it is not known what is free, the snapshot before takes their place, which
/// LMDB leaves whole until the next commit. A key may come twice; the first is the newer. Says what was wrong.
pub(crate) fn salvage(path: &Path, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Damage> {
    let mut file = PageFile::open(path)?;
    let mut metas = meta::any(&mut file)?;
    // A header may lie about its transaction; the tree of free pages names the last one too.
    metas.sort_by_cached_key(|meta| {
        let mut claimed = Claimed::new(&file, meta);
        let last = claim_free(&mut file, &mut claimed, meta);
        std::cmp::Reverse((last.unwrap_or(0), meta.txnid))
    });
    let mut first_damage = Ok(());
    for meta in metas {
        let mut claimed = Claimed::new(&file, &meta);
        let is_free_known = claim_free(&mut file, &mut claimed, &meta).is_ok();
        let mut visit = |key: &[u8], value: &[u8]| {
            visit(key, value);
            Ok(())
        };
        let mut tree = Tree::new(&mut file, &mut claimed, meta.main, false).tolerant();
        let walked = tree.walk(&mut visit);
        if walked.is_ok() {
            break;
        }
        first_damage = first_damage.and(walked);
        if is_free_known {
            tree.visit_orphans(&mut visit);
            break;
        }
    }
    first_damage
}

/// Follows the tree of free pages, and claims its pages and all that it names. Answers with the last transaction in it.
fn claim_free(file: &mut PageFile, claimed: &mut Claimed, meta: &Meta) -> Result<u64, Damage> {
    let (mut free, mut last) = (Vec::new(), 0);
    Tree::new(file, claimed, meta.free, true).walk(&mut |key, value| {
        let (txnid, pages) = free_pages(key, value, meta)?;
        free.extend(pages);
        last = txnid;
        Ok(())
    })?;
    free.into_iter().try_for_each(|page| claimed.claim(page))?;
    Ok(last)
}

/// A record of the tree of free pages: freed by transaction `key`, a count, then the pages from the last to the first.
fn free_pages(key: &[u8], value: &[u8], meta: &Meta) -> Result<(u64, Vec<u64>), Damage> {
    let wrong = |what: &str| Damage(format!("the list of free pages {what}"));
    let numbers: Vec<u64> =
        value.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("chunks of 8"))).collect();
    let txnid = u64::from_le_bytes(key.try_into().map_err(|_| wrong("has a key that is no number"))?);
    if txnid == 0 || txnid > meta.txnid {
        return Err(wrong("names a transaction that never was"));
    }
    let (&count, pages) = numbers.split_first().ok_or_else(|| wrong("has an empty record"))?;
    let count = usize::try_from(count).ok().filter(|&count| count <= pages.len());
    let pages = &pages[..count.ok_or_else(|| wrong("is cut short"))?];
    if pages.windows(2).any(|pair| pair[0] <= pair[1]) {
        return Err(wrong("is out of order"));
    }
    Ok((txnid, pages.to_vec()))
}

/// A file read page by page.
struct PageFile {
    file: File,
    length: u64,
    page_size: usize,
}

impl PageFile {
    fn open(path: &Path) -> Result<Self, Damage> {
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(|error: io::Error| Damage(format!("it cannot be read: {error}")))?;
        Ok(Self { file, length, page_size: PAGE_SIZE })
    }

    /// Whole pages in the file.
    fn pages(&self) -> u64 {
        self.length / self.page_size as u64
    }

    fn read(&mut self, page: u64) -> Result<Vec<u8>, Damage> {
        self.read_at(page, 0, self.page_size)
    }

    /// Reads bytes from an offset into a page on, perhaps into the pages after it.
    fn read_at(&mut self, page: u64, offset: usize, length: usize) -> Result<Vec<u8>, Damage> {
        let start = page.checked_mul(self.page_size as u64).and_then(|start| start.checked_add(offset as u64));
        let start = start.filter(|start| start.checked_add(length as u64).is_some_and(|end| end <= self.length));
        let start =
            start.ok_or_else(|| Damage::on(page, format_args!("the file ends before it ({} bytes)", self.length)))?;
        let mut bytes = vec![0; length];
        let read = self.file.seek(SeekFrom::Start(start)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|error| Damage::on(page, format_args!("it cannot be read: {error}")))?;
        Ok(bytes)
    }
}

/// The pages that have found their owner. A page belongs to one tree, once, or is free.
struct Claimed {
    last_page: u64,
    within: Vec<u64>,
    /// Free pages at the end may lie beyond the end of the file.
    beyond: HashSet<u64>,
}

impl Claimed {
    fn new(file: &PageFile, meta: &Meta) -> Self {
        Self { last_page: meta.last_page, within: vec![0; file.pages() as usize / 64 + 1], beyond: HashSet::new() }
    }

    fn claim(&mut self, page: u64) -> Result<(), Damage> {
        if page < 2 || page > self.last_page {
            return Err(Damage::on(page, format_args!("it is not among the pages 2 to {}", self.last_page)));
        }
        let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
        let fresh = match self.within.get_mut(word) {
            Some(word) => {
                let fresh = *word & bit == 0;
                *word |= bit;
                fresh
            }
            None => self.beyond.insert(page),
        };
        if fresh { Ok(()) } else { Err(Damage::on(page, "it is used twice")) }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
