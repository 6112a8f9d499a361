//! One disk for several holders, so that two of its partitions can be open at a time.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Disk;

/// A disk that can be cloned; all clones are the same disk.
#[derive(Debug)]
pub struct Shared<D> {
    disk: Arc<Mutex<D>>,
    len: u64,
}

impl<D> Clone for Shared<D> {
    fn clone(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), len: self.len }
    }
}

impl<D: Disk> Shared<D> {
    pub fn new(disk: D) -> Self {
        let len = disk.len();
        Self { disk: Arc::new(Mutex::new(disk)), len }
    }

    /// The disk itself, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, D> {
        // A disk has no state that a panic could have left half done.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the disk back, when this is the last holder.
    pub fn into_inner(self) -> Option<D> {
        Arc::into_inner(self.disk).map(|disk| disk.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<D: Disk> Disk for Shared<D> {
    fn len(&self) -> u64 {
        self.len
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
