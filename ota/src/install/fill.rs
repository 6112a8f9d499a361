//! The writing itself, in the order that makes it safe.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::{ControlFlow, Range};

use super::{InstallError, Progress, Stage, Watch};
use crate::bundle::{BundleHeader, Chunk, ZeroRun};
use crate::digest::Digest;
use crate::disk::{Disk, SECTOR, zero};
use crate::fat::{Directory, Volume};
use crate::index::{Index, Origin, Plan, ranges, read_right};
use crate::source::{Source, SourceError};

/// A copy of the boot sector lies here unless the boot sector itself says otherwise.
const USUAL_BACKUP: u64 = 6 * SECTOR as u64;

/// Zeroes the boot sector, durably, and then its copy, the root directory and `more`.
pub(super) fn clear(target: &mut dyn Disk, more: &[Range<u64>]) -> io::Result<()> {
    let mut leads: Vec<Range<u64>> = more.to_vec();
    leads.push(USUAL_BACKUP..USUAL_BACKUP + SECTOR as u64);
    if let Ok(mut volume) = Volume::open(&mut *target) {
        leads.extend(volume.geometry().backup_boot.map(|at| at..at + SECTOR as u64));
        leads.extend(volume.directory_pieces(&Directory::root()).unwrap_or_default());
    }
    target.write_at(0, &[0; SECTOR])?;
    target.flush()?;
    let len = target.len();
    for lead in leads {
        let end = lead.end.min(len);
        zero(target, lead.start.min(end), end - lead.start.min(end))?;
    }
    target.flush()
}

/// One installation under way.
pub(super) struct Fill<'a> {
    pub header: &'a BundleHeader,
    /// Where chunks are fetched from, and where in it they begin.
    pub source: Option<(&'a mut dyn Source, u64)>,
    pub running: Option<&'a mut dyn Disk>,
    pub target: &'a mut dyn Disk,
    pub watch: &'a mut Watch<'a>,
}

/// Where the bytes of verified chunks go, and how many there were.
struct Sink<'a> {
    chunks: &'a [Chunk],
    target: &'a mut dyn Disk,
    watch: &'a mut Watch<'a>,
    /// Verified bytes of late chunks, by number.
    /// In the order they are written in, the same each time.
    late: BTreeMap<usize, Vec<u8>>,
    written: u64,
    reused: u64,
    total: u64,
}

impl Sink<'_> {
    /// Takes a chunk whose hash has been checked.
    fn put(&mut self, number: usize, bytes: &[u8], reused: bool) -> Result<(), InstallError> {
        let chunk = &self.chunks[number];
        if chunk.late {
            self.late.insert(number, bytes.to_vec());
        } else {
            self.target.write_at(chunk.offset, bytes)?;
        }
        self.count(bytes.len() as u64, reused);
        self.tell(Stage::Writing)
    }

    fn count(&mut self, bytes: u64, reused: bool) {
        self.written += bytes;
        self.reused += if reused { bytes } else { 0 };
    }

    fn tell(&mut self, stage: Stage) -> Result<(), InstallError> {
        let progress = Progress { stage, done: self.written, total: self.total, reused: self.reused };
        match (self.watch)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(InstallError::Cancelled),
        }
    }
}

impl Fill<'_> {
    /// Writes everything; returns the bytes fetched and the bytes reused.
    pub fn run(&mut self, index: &Index) -> Result<(u64, u64), InstallError> {
        let chunks = &self.header.chunks;
        let total = self.header.bytes();
        let mut sink = Sink {
            chunks,
            target: &mut *self.target,
            watch: &mut *self.watch,
            late: BTreeMap::new(),
            written: 0,
            reused: 0,
            total,
        };

        sink.tell(Stage::Clearing)?;
        let leads: Vec<_> = chunks.iter().filter(|chunk| chunk.late).map(|chunk| chunk.offset..chunk.end()).collect();
        clear(sink.target, &leads)?;
        for run in &self.header.zeros {
            if !is_zero(sink.target, run)? {
                zero(sink.target, run.offset, run.length)?;
            }
        }

        // Only now it can be said what is in place: clearing may have gone over it.
        let plan = Plan::make(chunks, sink.target, index);
        sink.count(plan.in_place.iter().map(|&number| u64::from(chunks[number].length)).sum(), true);
        let mut wanted = plan.fetch.clone();
        let mut buffer = Vec::new();
        for &(number, place) in &plan.copy {
            let right = match place.origin {
                Origin::Target => read_right(sink.target, place.offset, &chunks[number], &mut buffer),
                Origin::Running => self
                    .running
                    .as_deref_mut()
                    .is_some_and(|running| read_right(running, place.offset, &chunks[number], &mut buffer)),
            };
            // What lay there may have been overwritten since: then it is fetched after all.
            if right {
                sink.put(number, &buffer, true)?;
            } else {
                wanted.push(number);
            }
        }
        wanted.sort_unstable();
        let fetched = match &mut self.source {
            Some((source, at)) => fetch(*source, *at, &wanted, &mut sink)?,
            None if wanted.is_empty() => 0,
            None => return Err(InstallError::OriginalChanged),
        };
        sink.target.flush()?;

        let (late, reused) = (std::mem::take(&mut sink.late), sink.reused);
        sink.written = 0;
        for chunk in chunks.iter().filter(|chunk| !chunk.late) {
            if !read_right(sink.target, chunk.offset, chunk, &mut buffer) {
                return Err(InstallError::NotWritten);
            }
            sink.written += u64::from(chunk.length);
            sink.tell(Stage::ReadingBack)?;
        }
        for run in &self.header.zeros {
            if !is_zero(sink.target, run)? {
                return Err(InstallError::NotWritten);
            }
        }
        sink.tell(Stage::Finishing)?;
        write_late(sink.target, chunks, &late)?;
        Ok((fetched, reused))
    }
}

/// Fetches chunks, each content once, and hands each over when its hash is right.
fn fetch(source: &mut dyn Source, at: u64, wanted: &[usize], sink: &mut Sink<'_>) -> Result<u64, InstallError> {
    let chunks = sink.chunks;
    let places = ranges(chunks, at);
    let mut users: HashMap<(Digest, u32), Vec<usize>> = HashMap::new();
    let mut firsts = Vec::new();
    for &number in wanted {
        let users = users.entry((chunks[number].sha256, chunks[number].length)).or_default();
        if users.is_empty() {
            firsts.push(number);
        }
        users.push(number);
    }
    let asked: Vec<_> = firsts.iter().map(|&number| places[number].clone()).collect();
    let mut fetched = 0;
    let mut failed = None;
    let result = source.fetch(&asked, &mut |n, bytes| {
        let chunk = &chunks[firsts[n]];
        let taken = if Digest::of(bytes) == chunk.sha256 {
            fetched += bytes.len() as u64;
            let users = &users[&(chunk.sha256, chunk.length)];
            users.iter().enumerate().try_for_each(|(copy, &number)| sink.put(number, bytes, copy > 0))
        } else {
            Err(InstallError::DamagedBundle(asked[n].start))
        };
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    match (failed, result) {
        (Some(error), _) => Err(error),
        (None, Err(SourceError::Cancelled)) => Err(InstallError::Cancelled),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(fetched),
    }
}

/// Writes what makes the slot bootable: everything but its first sector, durably and read back, and then that sector.
fn write_late(target: &mut dyn Disk, chunks: &[Chunk], late: &BTreeMap<usize, Vec<u8>>) -> Result<(), InstallError> {
    let mut first = None;
    for (number, bytes) in late {
        let (mut offset, mut bytes) = (chunks[*number].offset, bytes.as_slice());
        if offset == 0 {
            let (boot, rest) = bytes.split_at(SECTOR);
            first = Some(boot);
            (offset, bytes) = (SECTOR as u64, rest);
        }
        target.write_at(offset, bytes)?;
    }
    target.flush()?;
    let mut back = Vec::new();
    for (number, bytes) in late {
        back.resize(bytes.len(), 0);
        target.read_at(chunks[*number].offset, &mut back)?;
        let skip = if chunks[*number].offset == 0 { SECTOR } else { 0 };
        if back[skip..] != bytes[skip..] {
            return Err(InstallError::NotWritten);
        }
    }
    let boot = first.ok_or(InstallError::NotWritten)?;
    target.write_at(0, boot)?;
    target.flush()?;
    let mut back = [0; SECTOR];
    target.read_at(0, &mut back)?;
    if back == boot { Ok(()) } else { Err(InstallError::NotWritten) }
}

fn is_zero(disk: &mut dyn Disk, run: &ZeroRun) -> io::Result<bool> {
    let mut buffer = vec![0; run.length.min(256 * 1024) as usize];
    let mut at = run.offset;
    while at < run.end() {
        let count = (run.end() - at).min(buffer.len() as u64) as usize;
        disk.read_at(at, &mut buffer[..count])?;
        if buffer[..count].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}
