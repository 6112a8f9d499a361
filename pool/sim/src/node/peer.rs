//! The link between two simulated nodes of one process: what one accepts, the other hears of, after a delay.
//! Two nodes with a delay between them are how races and orphans come about.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Block;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::chain::Origin;
use super::shared::Shared;
use super::transactions::PoolTx;
use super::validate::Pow;

/// What one node tells another.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Transactions(Vec<Arc<PoolTx>>),
    Block { block: Arc<Block>, fiat: bool },
}

/// The nodes one node tells.
#[derive(Debug, Default)]
pub(crate) struct Peers(Vec<mpsc::UnboundedSender<(Instant, Message)>>);

impl Peers {
    pub(crate) fn tell(&mut self, message: &Message) {
        let now = Instant::now();
        self.0.retain(|peer| peer.send((now, message.clone())).is_ok());
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().filter(|peer| !peer.is_closed()).count()
    }
}

/// A connection of two nodes. They part when it is dropped; [`Link::keep`] keeps them together for good.
#[derive(Debug)]
pub struct Link {
    guard: DropGuard,
}

impl Link {
    /// Parts the nodes. What is on its way is lost.
    pub fn cut(self) {
        drop(self);
    }

    /// Leaves the nodes connected for as long as they live.
    pub fn keep(self) {
        self.guard.disarm();
    }
}

/// Connects two nodes both ways.
pub(crate) fn connect(one: &Arc<Shared>, other: &Arc<Shared>, delay: Duration) -> Link {
    let cut = CancellationToken::new();
    tell_from(one, other, delay, &cut);
    tell_from(other, one, delay, &cut);
    Link { guard: cut.drop_guard() }
}

/// Has `to` follow `from`, beginning with everything `from` has.
fn tell_from(from: &Arc<Shared>, to: &Arc<Shared>, delay: Duration, cut: &CancellationToken) {
    let (sender, mut inbox) = mpsc::unbounded_channel::<(Instant, Message)>();
    from.introduce(sender);
    let (to, from, cut) = (Arc::clone(to), Arc::clone(from), cut.clone());
    tokio::spawn(async move {
        let hear = async {
            while let Some((said, message)) = inbox.recv().await {
                tokio::time::sleep_until(said + delay).await;
                let to = Arc::clone(&to);
                let heard = tokio::task::spawn_blocking(move || hear(&to, message)).await;
                if heard.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = cut.cancelled() => {}
            () = from.stop.cancelled() => {}
            () = to.stop.cancelled() => {}
            () = hear => {}
        }
    });
}

fn hear(to: &Shared, message: Message) {
    match message {
        Message::Transactions(transactions) => to.hear_transactions(transactions),
        Message::Block { block, fiat } => {
            let pow = if fiat { Pow::Fiat } else { Pow::Required };
            if let Err(reason) = to.accept(&block, Origin::Peer, pow) {
                tracing::debug!(hash = %block.block_hash(), reason, "a simulated node refuses its peer's block");
            }
        }
    }
}

impl Peers {
    /// Adds a node and what it must hear first.
    pub(crate) fn add(&mut self, peer: mpsc::UnboundedSender<(Instant, Message)>, first: Vec<Message>) {
        let now = Instant::now();
        // A peer that is gone already is dropped at the next message.
        if first.into_iter().all(|message| peer.send((now, message)).is_ok()) {
            self.0.push(peer);
        }
    }
}
