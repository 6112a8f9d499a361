//! What a step did: its writes and flushes in order, and what it remembered and armed in between.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use warppool_ota::state::State;
use warppool_ota::{Disk, SECTOR, Slot};

use super::store::Store;

/// One thing done.
#[derive(Clone, Debug)]
pub enum Event {
    /// These bytes were given to the disk.
    Write { offset: u64, data: Arc<[u8]> },
    /// All writes before are durable.
    Flush,
    /// This was saved on the data partition: its file is replaced durably, in one piece.
    Saved(Box<State>),
    /// The firmware's tryboot flag was set, or was used up by a boot.
    Armed(bool),
}

/// A disk that records.
#[derive(Debug)]
pub struct Recorder {
    pub store: Store,
    pub events: Vec<Event>,
}

impl Recorder {
    pub fn new(store: Store) -> Self {
        Self { store, events: Vec::new() }
    }
}

impl Disk for Recorder {
    fn len(&self) -> u64 {
        self.store.size()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.store.read(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        assert!(
            offset.is_multiple_of(SECTOR as u64) && data.len().is_multiple_of(SECTOR),
            "{} bytes at {offset} are no sectors",
            data.len()
        );
        self.store.write(offset, data)?;
        if !data.is_empty() {
            self.events.push(Event::Write { offset, data: data.into() });
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.events.push(Event::Flush);
        Ok(())
    }
}

/// The record of one step.
#[derive(Clone, Debug)]
pub struct Log {
    pub name: String,
    /// The disk before it.
    pub before: Store,
    /// What was remembered before it.
    pub state: State,
    pub events: Vec<Event>,
    /// Where this step may write.
    pub allowed: Vec<Range<u64>>,
    /// Partition 1 is not as it was made when the step begins: loaders that do not walk may not boot then.
    pub lost_p1: bool,
    /// This slot is damaged when the step begins: booting it as it was is no fault of the step's.
    pub damaged: Option<Slot>,
    /// The step grows the partition table.
    pub grows: bool,
}

impl Log {
    /// Bytes written outside of what is allowed, if any.
    pub fn stray(&self) -> Option<u64> {
        self.events.iter().find_map(|event| match event {
            Event::Write { offset, data } => {
                let end = offset + data.len() as u64;
                let inside = self.allowed.iter().any(|range| range.start <= *offset && end <= range.end);
                (!inside).then_some(*offset)
            }
            _ => None,
        })
    }

    /// Bytes that the step wrote.
    pub fn written(&self) -> u64 {
        let bytes = |event: &Event| if let Event::Write { data, .. } = event { data.len() as u64 } else { 0 };
        self.events.iter().map(bytes).sum()
    }
}
