//! The first part of the extranonce: one allocator for every protocol, so that no two live sessions share a search space.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of extranonce 1, chosen by the pool.
pub const EN1_SIZE: usize = 4;
/// Bytes of extranonce 2, rolled by the miner.
pub const EN2_SIZE: usize = 8;

/// Gives each live session an extranonce 1 of its own. Clones are the same allocator.
#[derive(Clone, Debug)]
pub struct ExtranonceAllocator {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    next: u32,
    live: HashSet<u32>,
}

impl ExtranonceAllocator {
    /// `start` should be random, so that a restarted pool does not begin where the last one began.
    pub fn new(start: u32) -> Self {
        Self { state: Arc::new(Mutex::new(State { next: start, live: HashSet::new() })) }
    }

    /// A value no live session has. It comes back to the allocator when dropped, and is given out again only after all
    /// others: a new session never searches where a recent one did.
    pub fn allocate(&self) -> Extranonce1 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let value = state.next;
            state.next = state.next.wrapping_add(1);
            if state.live.insert(value) {
                return Extranonce1 { bytes: value.to_be_bytes(), owner: Arc::clone(&self.state) };
            }
        }
    }

    /// Sessions that hold one now.
    pub fn live(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).live.len()
    }
}

/// A session's extranonce 1, for as long as the session lives.
pub struct Extranonce1 {
    bytes: [u8; EN1_SIZE],
    owner: Arc<Mutex<State>>,
}

impl Extranonce1 {
    pub fn bytes(&self) -> [u8; EN1_SIZE] {
        self.bytes
    }
}

impl Drop for Extranonce1 {
    fn drop(&mut self) {
        let value = u32::from_be_bytes(self.bytes);
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).live.remove(&value);
    }
}

impl fmt::Debug for Extranonce1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extranonce1({:08x})", u32::from_be_bytes(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_sessions_never_share_and_the_counter_goes_on_past_its_end() {
        let allocator = ExtranonceAllocator::new(u32::MAX - 1);
        let held: Vec<_> = (0..4).map(|_| allocator.allocate()).collect();
        let values: Vec<_> = held.iter().map(|en1| u32::from_be_bytes(en1.bytes())).collect();
        assert_eq!(values, [u32::MAX - 1, u32::MAX, 0, 1]);
        drop(held);
        assert_eq!(allocator.live(), 0);
        assert_eq!(allocator.allocate().bytes(), [0, 0, 0, 2], "a freed value is not given out again at once");
    }

    #[test]
    fn a_value_still_held_is_skipped() {
        let allocator = ExtranonceAllocator::new(5);
        let five = allocator.allocate();
        allocator.state.lock().unwrap().next = 5;
        assert_eq!(allocator.allocate().bytes(), [0, 0, 0, 6]);
        assert_eq!(five.bytes(), [0, 0, 0, 5]);
    }
}
