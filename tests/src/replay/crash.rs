//! The disk as a power cut left it.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use warppool_ota::{Disk, SECTOR};

use super::store::Store;

const BYTES: u64 = SECTOR as u64;

/// A write, or the part of it that reached the disk.
#[derive(Clone, Debug)]
pub struct Layer {
    pub offset: u64,
    pub data: Arc<[u8]>,
    /// Bytes of `data` that count.
    pub part: Range<usize>,
}

impl Layer {
    pub fn whole(offset: u64, data: Arc<[u8]>) -> Self {
        let part = 0..data.len();
        Self { offset, data, part }
    }

    /// Where it lies on the disk.
    fn range(&self) -> Range<u64> {
        self.offset + self.part.start as u64..self.offset + self.part.end as u64
    }
}

/// What was durable, some of what was not, and sectors that cannot be read.
#[derive(Clone, Debug)]
pub struct Crash {
    base: Arc<Store>,
    /// Later ones lie over earlier ones.
    layers: Vec<Layer>,
    unreadable: BTreeSet<u64>,
    /// Writes since the cut.
    pub writes: usize,
    /// Bytes read by all that use this disk, if somebody wants to know.
    reads: Option<Arc<Mutex<Vec<Range<u64>>>>>,
}

/// Bytes of a disk that a deterministic reader has read: where they are the same, it does the same.
#[derive(Clone, Debug, Default)]
pub struct Reads(Vec<Range<u64>>);

impl Reads {
    fn of(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => joined.push(range),
            }
        }
        Self(joined)
    }

    fn meet(&self, range: &Range<u64>) -> bool {
        let after = self.0.partition_point(|read| read.end <= range.start);
        self.0.get(after).is_some_and(|read| read.start < range.end)
    }
}

impl Crash {
    pub fn new(base: Arc<Store>, layers: Vec<Layer>) -> Self {
        Self { base, layers, unreadable: BTreeSet::new(), writes: 0, reads: None }
    }

    pub fn lay(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    /// This sector answers with an error until it is written.
    pub fn lose(&mut self, sector: u64) {
        self.unreadable.insert(sector);
    }

    /// A number equal for two crashes whose bytes in `range` are the same and were durable; nothing where something differs from
    /// what was durable.
    pub fn identity(&self, range: Range<u64>) -> Option<u64> {
        let meets = |other: Range<u64>| other.start < range.end && range.start < other.end;
        let touched = self.layers.iter().any(|layer| meets(layer.range()))
            || self.unreadable.range(range.start / BYTES..range.end / BYTES).next().is_some();
        (!touched).then(|| self.base.identity(range))
    }

    /// Notes from now on what is read, also by copies made later.
    pub fn watch(&mut self) {
        self.reads = Some(Arc::default());
    }

    /// What was read so far since [`Crash::watch`].
    pub fn reads(&self) -> Reads {
        let ranges = self.reads.as_ref().map(|reads| reads.lock().unwrap_or_else(PoisonError::into_inner).clone());
        Reads::of(ranges.unwrap_or_default())
    }

    /// Counts these as read, because what they hold is known from an earlier reading.
    pub fn note(&self, known: &Reads) {
        if let Some(reads) = &self.reads {
            reads.lock().unwrap_or_else(PoisonError::into_inner).extend(known.0.iter().cloned());
        }
    }

    /// Whether what lies over the base, or cannot be read, lies where something was read.
    pub fn differs_in(&self, reads: &Reads) -> bool {
        let unreadable = self.unreadable.iter().map(|sector| sector * BYTES..(sector + 1) * BYTES);
        self.layers.iter().map(Layer::range).chain(unreadable).any(|range| reads.meet(&range))
    }

    pub fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let range = offset..offset + buf.len() as u64;
        if let Some(reads) = &self.reads {
            reads.lock().unwrap_or_else(PoisonError::into_inner).push(range.clone());
        }
        let sectors = range.start / BYTES..range.end.div_ceil(BYTES);
        if let Some(sector) = self.unreadable.range(sectors).next() {
            return Err(io::Error::other(format!("sector {sector} cannot be read")));
        }
        self.base.read(offset, buf)?;
        for layer in &self.layers {
            let lies = layer.range();
            let (start, end) = (lies.start.max(range.start), lies.end.min(range.end));
            if start < end {
                let from = (start - layer.offset) as usize..(end - layer.offset) as usize;
                buf[(start - offset) as usize..(end - offset) as usize].copy_from_slice(&layer.data[from]);
            }
        }
        Ok(())
    }
}

impl Disk for Crash {
    fn len(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writes += 1;
        for sector in offset / BYTES..(offset + data.len() as u64) / BYTES {
            self.unreadable.remove(&sector);
        }
        self.layers.push(Layer::whole(offset, data.into()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl warppool_firmware::Disk for Crash {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        Crash::read(self, offset, buffer)
    }
}
