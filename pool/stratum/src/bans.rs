//! Workers shut out for a while, each from the address it misbehaved from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::limits::Source;

/// Most bans kept; beyond that the one that ends first goes.
const MOST: usize = 4096;

/// A worker shut out from an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ban {
    /// The address, or the first of its IPv6 /64.
    pub address: IpAddr,
    /// Canonical name.
    pub worker: Arc<str>,
    /// How long it still holds, seconds.
    pub seconds_left: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Bans {
    until: Mutex<HashMap<(Source, Arc<str>), Duration>>,
}

impl Bans {
    pub(crate) fn add(&self, source: Source, worker: &Arc<str>, until: Duration) {
        let mut bans = self.until.lock();
        if bans.len() >= MOST
            && let Some(first) = bans.iter().min_by_key(|(_, until)| **until).map(|(key, _)| key.clone())
        {
            bans.remove(&first);
        }
        bans.insert((source, Arc::clone(worker)), until);
    }

    /// How long the ban still holds, if there is one.
    pub(crate) fn left(&self, source: Source, worker: &Arc<str>, now: Duration) -> Option<Duration> {
        let until = *self.until.lock().get(&(source, Arc::clone(worker)))?;
        until.checked_sub(now).filter(|left| !left.is_zero())
    }

    pub(crate) fn list(&self, now: Duration) -> Vec<Ban> {
        let bans = self.until.lock();
        let mut list: Vec<_> = bans
            .iter()
            .filter_map(|((source, worker), until)| {
                let left = until.checked_sub(now).filter(|left| !left.is_zero())?;
                Some(Ban { address: source.address(), worker: Arc::clone(worker), seconds_left: left.as_secs().max(1) })
            })
            .collect();
        list.sort_by(|a, b| a.seconds_left.cmp(&b.seconds_left).then_with(|| a.worker.cmp(&b.worker)));
        list
    }

    /// Lets a worker in again; false when it was not banned.
    pub(crate) fn remove(&self, source: Source, worker: &str) -> bool {
        self.until.lock().remove(&(source, Arc::from(worker))).is_some()
    }

    pub(crate) fn sweep(&self, now: Duration) {
        self.until.lock().retain(|_, until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_holds_for_its_worker_and_address_and_ends() {
        let (bans, worker) = (Bans::default(), Arc::<str>::from("bc1q.rig"));
        let source = |n: u8| Source::from(IpAddr::from([192, 0, 2, n]));
        bans.add(source(1), &worker, Duration::from_secs(100));
        let left = |n, worker: &str, at| bans.left(source(n), &Arc::from(worker), Duration::from_secs(at));
        assert_eq!(left(1, "bc1q.rig", 40), Some(Duration::from_mins(1)));
        assert_eq!(left(2, "bc1q.rig", 40), None);
        assert_eq!(left(1, "bc1q.other", 40), None);
        assert_eq!(left(1, "bc1q.rig", 100), None);
        assert_eq!(bans.list(Duration::from_secs(40)).len(), 1);
        assert!(bans.list(Duration::from_secs(101)).is_empty());
        assert!(bans.remove(source(1), "bc1q.rig") && !bans.remove(source(1), "bc1q.rig"));
    }

    #[test]
    fn the_list_is_bounded_and_swept() {
        let bans = Bans::default();
        for n in 0..=MOST as u64 {
            bans.add(
                Source::from(IpAddr::from([192, 0, 2, 1])),
                &Arc::from(n.to_string()),
                Duration::from_secs(10 + n),
            );
        }
        let list = bans.list(Duration::ZERO);
        assert_eq!(list.len(), MOST);
        assert_eq!(list[0].seconds_left, 11, "the one to end first has gone");
        bans.sweep(Duration::from_secs(100));
        assert_eq!(bans.until.lock().len(), MOST - 90);
    }
}
