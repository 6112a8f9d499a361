//! The two meta pages at the file's head. Commits write them in turn, so that one is always whole.

use super::{Damage, PageFile, u16_at, u32_at, u64_at};

/// Bytes before the content of any page: its number, a pad, flags, and two bounds.
pub(super) const PAGE_HEADER: usize = 16;

const MAGIC: u32 = 0xbeef_c0de;
const VERSION: u32 = 1;
const META_PAGE: u16 = 0x08;
const INTEGER_KEY: u16 = 0x08;
/// The root of an empty tree.
pub(super) const NO_PAGE: u64 = u64::MAX;

/// Where the parts of a meta page's content lie, counted from the page's start.
const VERSION_AT: usize = PAGE_HEADER + 4;
const MAP_SIZE_AT: usize = PAGE_HEADER + 16;
const FREE_AT: usize = PAGE_HEADER + 24;
const MAIN_AT: usize = FREE_AT + ROOT_LENGTH;
const LAST_PAGE_AT: usize = MAIN_AT + ROOT_LENGTH;
const TXNID_AT: usize = LAST_PAGE_AT + 8;
const META_LENGTH: usize = TXNID_AT + 8;
const ROOT_LENGTH: usize = 48;

/// One snapshot: its trees and how far the pages go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) free: Root,
    pub(super) main: Root,
    pub(super) last_page: u64,
    pub(super) txnid: u64,
    page_size: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) page: u64,
    pub(super) depth: u16,
    pub(super) entries: u64,
    flags: u16,
}

impl Root {
    fn parse(bytes: &[u8]) -> Self {
        Self { flags: u16_at(bytes, 4), depth: u16_at(bytes, 6), entries: u64_at(bytes, 32), page: u64_at(bytes, 40) }
    }
}

/// Both snapshots, the newest first.
pub(super) fn newest_first(file: &mut PageFile) -> Result<[Meta; 2], Damage> {
    let first = parse(file, 0, 0)?;
    file.page_size = first.page_size;
    let second = parse(file, 1, first.page_size)?;
    if second.page_size != first.page_size || first.txnid.abs_diff(second.txnid) > 1 {
        return Err(Damage("the two headers do not belong together".into()));
    }
    Ok(if first.txnid > second.txnid { [first, second] } else { [second, first] })
}

/// Those of the two that are whole, of a file that may be damaged.
pub(super) fn any(file: &mut PageFile) -> Result<Vec<Meta>, Damage> {
    let first = parse(file, 0, 0);
    // Without the first header the page size is not known; it is this pool's own unless the file is from elsewhere.
    let page_size = first.as_ref().map_or(super::PAGE_SIZE, |meta| meta.page_size);
    file.page_size = page_size;
    let second = parse(file, 1, page_size);
    match (first, second) {
        (Ok(first), Ok(second)) => Ok(vec![first, second]),
        (Ok(meta), Err(_)) | (Err(_), Ok(meta)) => Ok(vec![meta]),
        (Err(damage), Err(_)) => Err(damage),
    }
}

fn parse(file: &mut PageFile, page: u64, page_size: usize) -> Result<Meta, Damage> {
    let wrong = |what| Err(Damage::on(page, what));
    let head = file.read_at(0, page as usize * page_size, META_LENGTH)?;
    if u64_at(&head, 0) != page || u16_at(&head, 10) != META_PAGE {
        return wrong("it is no header page");
    }
    if u32_at(&head, PAGE_HEADER) != MAGIC || u32_at(&head, VERSION_AT) != VERSION {
        return wrong("it is not the header of an LMDB file of version 1");
    }
    let meta = Meta {
        free: Root::parse(&head[FREE_AT..]),
        main: Root::parse(&head[MAIN_AT..]),
        last_page: u64_at(&head, LAST_PAGE_AT),
        txnid: u64_at(&head, TXNID_AT),
        page_size: u32_at(&head, FREE_AT) as usize,
    };
    if !meta.page_size.is_power_of_two() || !(512..=32_768).contains(&meta.page_size) {
        return wrong("its page size cannot be");
    }
    if meta.free.flags != INTEGER_KEY || meta.main.flags != 0 {
        return wrong("its trees are of another kind");
    }
    if meta.txnid != 0 && meta.txnid % 2 != page {
        return wrong("its transaction belongs to the other header");
    }
    // The map is at least as large as what was ever used of it.
    let used = meta.last_page.checked_add(1).and_then(|pages| pages.checked_mul(meta.page_size as u64));
    if meta.last_page < 1 || used.is_none_or(|used| used > u64_at(&head, MAP_SIZE_AT)) {
        return wrong("its last page cannot be");
    }
    Ok(meta)
}

/// The two pages of an empty environment.
pub(super) fn empty(page_size: usize, map_size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 2 * page_size];
    for (number, page) in bytes.chunks_exact_mut(page_size).enumerate() {
        page[..8].copy_from_slice(&(number as u64).to_le_bytes());
        page[10..12].copy_from_slice(&META_PAGE.to_le_bytes());
        page[PAGE_HEADER..VERSION_AT].copy_from_slice(&MAGIC.to_le_bytes());
        page[VERSION_AT..VERSION_AT + 4].copy_from_slice(&VERSION.to_le_bytes());
        page[MAP_SIZE_AT..FREE_AT].copy_from_slice(&map_size.to_le_bytes());
        page[FREE_AT..FREE_AT + 4].copy_from_slice(&(page_size as u32).to_le_bytes());
        page[FREE_AT + 4..FREE_AT + 6].copy_from_slice(&INTEGER_KEY.to_le_bytes());
        for tree in [FREE_AT, MAIN_AT] {
            page[tree + 40..tree + 48].copy_from_slice(&NO_PAGE.to_le_bytes());
        }
        page[LAST_PAGE_AT..TXNID_AT].copy_from_slice(&1_u64.to_le_bytes());
    }
    bytes
}
