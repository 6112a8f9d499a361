//! Chooses the node to mine on: the first usable one, another when that has fallen behind, and back to an earlier one
//! when that has been well for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::feed::{Feed, Publisher};
use crate::node::Node;
use crate::source::Offer;
use crate::standing::Standing;
use crate::{Advice, Settings};

pub(crate) struct Failover {
    /// In order of preference.
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) settings: Arc<Settings>,
    /// A node may have become, or stopped being, usable.
    pub(crate) changed: Arc<Notify>,
    /// Asks the node in use for a template at once.
    pub(crate) refresh: Arc<Notify>,
}

impl Failover {
    /// Runs until `shutdown`. While no node is usable, the last template stands.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let rounds = async {
            let mut standing = Standing::new(self.nodes.len(), self.settings.catch_up);
            let mut chosen = None;
            loop {
                let (index, offer) = match chosen.take() {
                    Some((index, offer)) => (index, Some(offer)),
                    None => (self.first_usable(&mut standing).await, None),
                };
                let node = &self.nodes[index];
                let feed = Feed { node, publisher: &self.publisher, settings: &self.settings, refresh: &self.refresh };
                tokio::select! {
                    () = feed.run(offer) => {}
                    better = self.better_than(index, &mut standing) => chosen = better,
                }
                node.set_active(false);
            }
        };
        tokio::select! {
            () = rounds => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Waits for a node to be usable; one that is not known yet is waited for before a later one is taken. A node that
    /// has long been behind another usable one is passed over.
    async fn first_usable(&self, standing: &mut Standing) -> usize {
        loop {
            let now = Instant::now();
            standing.note(self.nodes.iter().map(|node| node.place()), now);
            let decided = self.nodes.iter().take_while(|node| node.is_known());
            let times: Vec<Option<Instant>> = decided.map(|node| node.usable_at()).collect();
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let usable: Vec<usize> = (0..times.len()).filter(|&index| due(times[index])).collect();
            let outdone = |index| usable.iter().any(|&other| due(standing.leave_at(index, other, now)));
            if let Some(&index) = usable.iter().find(|&&index| !outdone(index)) {
                return index;
            }
            self.wait(times.into_iter().flatten().min()).await;
        }
    }

    /// Waits for a node to have a template no older than the one mined on and to be the better choice: an earlier one
    /// that is well, or any when `active` has fallen behind it. Or, with `None`, for the node `active` to be ill.
    async fn better_than(&self, active: usize, standing: &mut Standing) -> Option<(usize, Offer)> {
        loop {
            if !self.nodes[active].is_healthy() {
                return None;
            }
            let now = Instant::now();
            standing.note(self.nodes.iter().map(|node| node.place()), now);
            let mut next: Option<Instant> = None;
            for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| *index != active) {
                let ahead = standing.leave_at(active, index, now);
                let leaves = ahead.is_some_and(|at| at <= now);
                // The active one was taken because this one had fallen behind it, and it still is.
                let behind = standing.leave_at(index, active, now).is_some_and(|at| at <= now);
                let due = match index.cmp(&active) {
                    _ if leaves => node.usable_at(),
                    std::cmp::Ordering::Less if !behind => node.stable_at(self.settings.return_after),
                    // In reserve: only to know whether it could be used.
                    std::cmp::Ordering::Greater if node.is_suspect() => node.usable_at(),
                    _ => None,
                };
                match due {
                    Some(at) if at <= Instant::now() => {
                        if let Some(offer) = self.probe(node).await
                            && (index < active || leaves)
                        {
                            if leaves {
                                let (from, blocks) = (self.nodes[active].name(), standing.lead(active, index));
                                info!(from, to = node.name(), blocks, "leaving a node that is behind another");
                            }
                            return Some((index, offer));
                        }
                        // Whatever came of it, the loop looks again for when it is due next.
                        next = Some(Instant::now());
                    }
                    due => next = [next, due, ahead.filter(|_| !leaves)].into_iter().flatten().min(),
                }
            }
            self.wait(next).await;
        }
    }

    /// Asks for a template; `None` when there is none, or one behind the tip mined on.
    async fn probe(&self, node: &Node) -> Option<Offer> {
        match node.source.fetch().await {
            Ok(offer) => {
                node.template_good();
                let behind = self.publisher.current().is_some_and(|c| c.template.height > offer.template.height);
                if behind {
                    node.defer(self.settings.poll_interval);
                }
                (!behind).then_some(offer)
            }
            Err(error) => {
                node.template_bad(Advice::source(&error, node.chain));
                None
            }
        }
    }

    /// Waits until `at`, or for a change of any node.
    async fn wait(&self, at: Option<Instant>) {
        let at = at.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        tokio::select! {
            () = sleep_until(at.into()) => {}
            () = self.changed.notified() => {}
        }
    }
}
