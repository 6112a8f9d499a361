//! How the nodes stand to each other: which has fallen behind, and when it is time to leave it for which other.
//!
//! A node that is cut off from the network does not know that it is behind, and says that it is well: only the others
//! show it. A moment's difference is nothing, for blocks reach nodes one after the other.

use std::time::{Duration, Instant};

/// So many blocks a node is ahead of another by more than the moment a block takes from one to the other.
const AHEAD: u32 = 2;

/// What is known of one node's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of its best block; `None` while it is not healthy.
    pub(crate) height: Option<u32>,
    /// It has known for long of blocks that it does not have.
    pub(crate) lagging: bool,
}

/// All nodes' places, and since when each has been behind the best.
#[derive(Debug)]
pub(crate) struct Standing {
    patience: Duration,
    nodes: Vec<(Place, Option<Instant>)>,
}

impl Standing {
    /// A node is left when it has been behind for `patience`.
    pub(crate) fn new(nodes: usize, patience: Duration) -> Self {
        Self { patience, nodes: vec![(Place::default(), None); nodes] }
    }

    /// Takes down the nodes' places, in their order, at the time `now`.
    pub(crate) fn note(&mut self, places: impl Iterator<Item = Place>, now: Instant) {
        for (node, place) in self.nodes.iter_mut().zip(places) {
            node.0 = place;
        }
        let best = self.nodes.iter().filter_map(|(place, _)| place.height).max();
        for (place, since) in &mut self.nodes {
            let behind = place.height.zip(best).is_some_and(|(height, best)| best - height >= AHEAD);
            *since = behind.then(|| since.unwrap_or(now));
        }
    }

    /// How many blocks `other` is ahead of `node`.
    pub(crate) fn lead(&self, node: usize, other: usize) -> u32 {
        let height = |index: usize| self.nodes[index].0.height;
        height(node).zip(height(other)).map_or(0, |(mine, theirs)| theirs.saturating_sub(mine))
    }

    /// From when on `node` is not mined on while `other` can be; `None` when there is no reason to leave it.
    ///
    /// Never so both ways round, nor in a circle: the other is always the higher one.
    pub(crate) fn leave_at(&self, node: usize, other: usize, now: Instant) -> Option<Instant> {
        let (place, behind_since) = self.nodes[node];
        match self.lead(node, other) {
            0 => None,
            // It has been waited for.
            _ if place.lagging && !self.nodes[other].0.lagging => Some(now),
            AHEAD.. => behind_since.map(|since| since + self.patience),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn at(height: u32) -> Place {
        Place { height: Some(height), lagging: false }
    }

    fn lagging(height: u32) -> Place {
        Place { height: Some(height), lagging: true }
    }

    #[test]
    fn a_node_is_left_for_one_that_is_far_ahead_for_long_or_at_once_when_it_knows_that_it_lags() {
        let ill = Place::default();
        let now = Instant::now();
        for (mine, other, expected) in [
            (at(4), at(4), None),
            (at(4), at(5), None),
            (at(4), at(6), Some(PATIENCE)),
            (at(4), at(13), Some(PATIENCE)),
            (at(13), at(4), None),
            (at(4), ill, None),
            (ill, at(4), None),
            (lagging(4), at(4), None),
            (lagging(4), at(5), Some(Duration::ZERO)),
            (lagging(4), lagging(5), None),
            (lagging(4), lagging(6), Some(PATIENCE)),
            (at(4), lagging(6), Some(PATIENCE)),
        ] {
            let mut standing = Standing::new(2, PATIENCE);
            standing.note([mine, other].into_iter(), now);
            assert_eq!(standing.leave_at(0, 1, now), expected.map(|wait| now + wait), "{mine:?} {other:?}");
        }
    }

    #[test]
    fn patience_is_counted_from_when_a_node_fell_behind_and_anew_when_it_had_caught_up() {
        let second = |n| Duration::from_secs(n);
        let start = Instant::now();
        let mut standing = Standing::new(3, PATIENCE);
        for (after, heights, expected) in [
            (0, [4, 4, 4], None),
            (10, [4, 6, 4], Some(40)),
            (20, [5, 9, 9], Some(40)),
            (25, [9, 9, 10], None),
            (30, [9, 11, 11], Some(60)),
        ] {
            let now = start + second(after);
            standing.note(heights.into_iter().map(at), now);
            assert_eq!(standing.leave_at(0, 1, now), expected.map(|s| start + second(s)), "after {after} s");
        }
    }
}
