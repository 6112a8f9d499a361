//! A sparse disk in memory whose copies share what they have in common.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use warppool_ota::Disk;

const PAGE: u64 = 4096;
static ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

/// Bytes; what was never written is zero.
#[derive(Clone, Debug)]
pub struct Store {
    pages: BTreeMap<u64, Arc<[u8; PAGE as usize]>>,
    len: u64,
}

impl Store {
    pub fn new(len: u64) -> Self {
        Self { pages: BTreeMap::new(), len }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.len
    }

    pub fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        for piece in pieces(self.len, offset, buf.len())? {
            match self.pages.get(&piece.page) {
                Some(page) => buf[piece.at].copy_from_slice(&page[piece.within]),
                None => buf[piece.at].fill(0),
            }
        }
        Ok(())
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        for piece in pieces(self.len, offset, data.len())? {
            let bytes = &data[piece.at];
            if !self.pages.contains_key(&piece.page) && *bytes == ZEROS[..bytes.len()] {
                continue;
            }
            let page = self.pages.entry(piece.page).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[piece.within].copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Lays all of another disk at byte `at` of this one, a multiple of 4096.
    pub fn lay(&mut self, other: &Self, at: u64) {
        assert!(at.is_multiple_of(PAGE) && at + other.len <= self.len);
        self.pages.extend(other.pages.iter().map(|(number, page)| (at / PAGE + number, page.clone())));
    }

    /// Equal for two copies of one disk where neither has written into `range` since: a quick "nothing changed".
    pub fn identity(&self, range: Range<u64>) -> u64 {
        let mut hash = DefaultHasher::new();
        for (number, page) in self.pages.range(range.start / PAGE..range.end.div_ceil(PAGE)) {
            (number, Arc::as_ptr(page) as usize).hash(&mut hash);
        }
        hash.finish()
    }
}

impl Disk for Store {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The part of a range that lies in one page.
struct Piece {
    page: u64,
    within: Range<usize>,
    /// Where it lies in the caller's buffer.
    at: Range<usize>,
}

fn pieces(len: u64, offset: u64, count: usize) -> io::Result<impl Iterator<Item = Piece>> {
    let end = offset.checked_add(count as u64).filter(|end| *end <= len).ok_or(ErrorKind::UnexpectedEof)?;
    let mut from = offset;
    Ok(std::iter::from_fn(move || {
        if from >= end {
            return None;
        }
        let page = from / PAGE;
        let to = end.min((page + 1) * PAGE);
        let within = (from % PAGE) as usize..(to - page * PAGE) as usize;
        let at = (from - offset) as usize..(to - offset) as usize;
        from = to;
        Some(Piece { page, within, at })
    }))
}

/// One disk with several users, as a device that is opened more than once.
#[derive(Debug)]
pub struct Shared<D>(Arc<Mutex<D>>);

impl<D> Shared<D> {
    pub fn new(disk: D) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    pub fn lock(&self) -> MutexGuard<'_, D> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Clone for Shared<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Disk> Disk for Shared<D> {
    fn len(&self) -> u64 {
        self.lock().len()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.lock().read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().write_at(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// A disk as a file, for libraries that want one.
#[derive(Debug)]
pub struct Stream<D> {
    pub disk: D,
    pub position: u64,
}

impl<D: Disk> Read for Stream<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.disk.len().saturating_sub(self.position) as usize);
        self.disk.read_at(self.position, &mut buffer[..count])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<D: Disk> Write for Stream<D> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.disk.len().saturating_sub(self.position) as usize);
        self.disk.write_at(self.position, &buffer[..count])?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl<D: Disk> Seek for Stream<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.disk.len().checked_add_signed(by),
        };
        self.position = position.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
