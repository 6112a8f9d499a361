//! One sender for many, many watchers for each, with a short memory for those who reconnect.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::Event;

/// Events a reconnecting watcher can ask for again.
const REPLAY: usize = 256;
/// Events a slow watcher may be behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// An event with its place in the order of events since start, and its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Envelope {
    /// 1 for the first event since start.
    pub id: u64,
    /// Milliseconds since the Unix epoch by this machine's clock.
    pub at_ms: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// Cheap to clone; all clones are the same bus.
#[derive(Clone, Debug)]
pub struct Bus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sender: broadcast::Sender<Arc<Envelope>>,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    next_id: u64,
    ring: VecDeque<Arc<Envelope>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus {
    pub fn new() -> Self {
        let (sender, _) = broadcast::channel(BACKLOG);
        Self { inner: Arc::new(Inner { sender, recent: Mutex::default() }) }
    }

    /// Tells every watcher. Never blocks and never fails: nobody watching is fine.
    pub fn send(&self, event: Event) {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        // The lock is held while sending so that ids reach watchers in order.
        let mut recent = self.inner.recent.lock();
        recent.next_id += 1;
        let envelope = Arc::new(Envelope { id: recent.next_id, at_ms, event });
        if recent.ring.len() == REPLAY {
            recent.ring.pop_front();
        }
        recent.ring.push_back(Arc::clone(&envelope));
        let _ = self.inner.sender.send(envelope);
    }

    /// Watches from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription { missed: VecDeque::new(), receiver: self.inner.sender.subscribe() }
    }

    /// Watches from the event after `last_id` on, as far back as the bus remembers. An id from before a restart (larger
    /// than any given out) replays everything remembered.
    pub fn subscribe_after(&self, last_id: u64) -> Subscription {
        let recent = self.inner.recent.lock();
        let last_id = if last_id > recent.next_id { 0 } else { last_id };
        let missed = recent.ring.iter().filter(|e| e.id > last_id).cloned().collect();
        Subscription { missed, receiver: self.inner.sender.subscribe() }
    }

    /// The newest events, oldest first.
    pub fn recent(&self, most: usize) -> Vec<Arc<Envelope>> {
        let recent = self.inner.recent.lock();
        recent.ring.iter().skip(recent.ring.len().saturating_sub(most)).cloned().collect()
    }
}

/// A watcher's end of the bus.
#[derive(Debug)]
pub struct Subscription {
    missed: VecDeque<Arc<Envelope>>,
    receiver: broadcast::Receiver<Arc<Envelope>>,
}

impl Subscription {
    /// The next event; `None` when the bus is gone. A watcher that fell behind goes on with the oldest event still kept.
    pub async fn next(&mut self) -> Option<Arc<Envelope>> {
        if let Some(envelope) = self.missed.pop_front() {
            return Some(envelope);
        }
        loop {
            match self.receiver.recv().await {
                Ok(envelope) => return Some(envelope),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    fn notice(n: usize) -> Event {
        Event::Notice { level: Level::Info, message: n.to_string() }
    }

    #[tokio::test]
    async fn a_watcher_that_reconnects_gets_what_it_missed_and_then_the_new() {
        let bus = Bus::new();
        (0..5).for_each(|n| bus.send(notice(n)));
        let mut late = bus.subscribe_after(3);
        bus.send(notice(5));
        let ids = [late.next().await, late.next().await, late.next().await].map(|e| e.map(|e| e.id));
        assert_eq!(ids, [Some(4), Some(5), Some(6)]);
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_and_goes_on() {
        let bus = Bus::new();
        let mut slow = bus.subscribe();
        (0..BACKLOG * 2).for_each(|n| bus.send(notice(n)));
        let first = slow.next().await.unwrap();
        assert!(first.id > 1, "the oldest are gone");
        assert_eq!(slow.next().await.unwrap().id, first.id + 1);
    }

    #[tokio::test]
    async fn an_id_from_before_a_restart_replays_all_that_is_remembered() {
        let bus = Bus::new();
        bus.send(notice(0));
        assert_eq!(bus.subscribe_after(9000).next().await.unwrap().id, 1);
    }

    #[test]
    fn the_bus_remembers_a_bounded_number() {
        let bus = Bus::new();
        (0..REPLAY * 3).for_each(|n| bus.send(notice(n)));
        assert_eq!(bus.recent(usize::MAX).len(), REPLAY);
    }
}
