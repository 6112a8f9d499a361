//! Keeps the pool on the newest template of the node in use.
//!
//! News of a new tip come by ZMQ, by long poll, or by polling; whichever is first asks for the template at once. In
//! between the template is renewed for its fees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;
use tracing::debug;
use warppool_events::{Bus, Event, Level, TipSource};
use warppool_work::{Hash, Template};

use crate::node::Node;
use crate::source::{BoxFuture, Offer, TipNews, Update};
use crate::template::hash_display;
use crate::{Advice, Settings, SourceError};

/// A node whose template still has the old tip, though it announced a new one, is asked again this soon; each time
/// later by half.
const CHASE_FIRST: Duration = Duration::from_millis(5);
const CHASE_MOST: u32 = 10;
/// A long poll that returns this soon without news waits longer and longer before the next.
const LONG_POLL_TOO_SOON: Duration = Duration::from_secs(1);
const LONG_POLL_LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where templates and tips go.
pub(crate) struct Publisher {
    updates: watch::Sender<Option<Arc<Update>>>,
    tips: watch::Sender<Option<TipNews>>,
    bus: Bus,
    /// A template that differs only in its time goes out this often.
    fee_refresh: Duration,
    published: Mutex<Option<Instant>>,
}

impl Publisher {
    pub(crate) fn new(bus: Bus, fee_refresh: Duration) -> Self {
        Self {
            updates: watch::Sender::new(None),
            tips: watch::Sender::new(None),
            bus,
            fee_refresh,
            published: Mutex::default(),
        }
    }

    pub(crate) fn updates(&self) -> watch::Receiver<Option<Arc<Update>>> {
        self.updates.subscribe()
    }

    pub(crate) fn tips(&self) -> watch::Receiver<Option<TipNews>> {
        self.tips.subscribe()
    }

    pub(crate) fn current(&self) -> Option<Arc<Update>> {
        self.updates.borrow().clone()
    }

    fn news(&self, node: &str, hash: Hash, seen: Instant) {
        self.tips.send_replace(Some(TipNews { hash, node: node.to_owned(), source: TipSource::Zmq, seen }));
    }

    fn publish(&self, node: &str, template: &Arc<Template>, source: TipSource, seen: Instant) {
        let last = self.current();
        let same_tip = last.as_ref().filter(|l| l.template.prev_hash == template.prev_hash);
        let mut published = self.published.lock();
        if let Some(last) = same_tip
            && last.node == node
            && same_work(&last.template, template)
            && published.is_some_and(|at| at.elapsed() < self.fee_refresh)
        {
            return;
        }
        *published = Some(Instant::now());
        let new_tip = same_tip.is_none();
        self.updates.send_replace(Some(Arc::new(Update {
            template: Arc::clone(template),
            node: node.to_owned(),
            source,
            tip_seen: same_tip.map_or(seen, |last| last.tip_seen),
            new_tip,
        })));
        if let Some(last) = last.filter(|last| last.node != node) {
            let message = format!("templates come from node {node} now, no longer from {}", last.node);
            self.bus.send(Event::Notice { level: Level::Info, message });
        }
        if new_tip {
            let hash = hash_display(&template.prev_hash);
            self.bus.send(Event::NewTip { height: template.height - 1, hash, source });
        }
    }
}

/// Whether the two differ in nothing but the node's idea of now.
fn same_work(a: &Template, b: &Template) -> bool {
    let all_but_time = |t: &Template| {
        let Template { height, version, prev_hash, bits, min_time, max_time, cur_time: _, coinbase_value, .. } = *t;
        (height, version, prev_hash, bits, min_time, max_time, coinbase_value, t.segwit, t.weight_limit, t.sigop_limit)
    };
    // Shared transactions are compared by their address.
    all_but_time(a) == all_but_time(b)
        && a.witness_commitment == b.witness_commitment
        && a.transactions == b.transactions
}

/// The feed from one node, for as long as it is the one in use.
pub(crate) struct Feed<'a> {
    pub(crate) node: &'a Node,
    pub(crate) publisher: &'a Publisher,
    pub(crate) settings: &'a Settings,
    /// Asks for a template at once.
    pub(crate) refresh: &'a Notify,
}

/// What the feed knows at a moment.
struct Now {
    offer: Option<Offer>,
    /// When the last template's tip was first seen here.
    tip_at: Option<Instant>,
    /// When the next plain request is due.
    due: Instant,
    /// Something happened since the plain request under way was sent.
    again: bool,
    announced: Option<(Hash, Instant)>,
    chase: Option<Chase>,
    /// When ZMQ should have announced a tip that was learnt otherwise.
    zmq_due: Option<(Instant, Hash)>,
    /// Until when this node may catch up with the tip mined on so far; longer while it knows that it is behind.
    hold_until: Option<Instant>,
    long_poll_at: Instant,
    long_poll_pause: Duration,
}

/// A tip that was announced, while templates still build on the one before.
struct Chase {
    before: Hash,
    tries: u32,
}

impl Feed<'_> {
    /// Runs until the node fails, which it then knows; starts from `first` when there is one.
    pub(crate) async fn run(&self, first: Option<Offer>) {
        if let Err(error) = self.follow(first).await {
            debug!(node = self.node.name(), %error, "no template");
            self.node.template_bad(Advice::source(&error, self.node.chain));
        }
    }

    async fn follow(&self, first: Option<Offer>) -> Result<(), SourceError> {
        let started = Instant::now();
        let mut news = self.node.news();
        let mut best = self.node.best();
        let mut now = Now {
            offer: None,
            tip_at: None,
            due: started,
            again: false,
            announced: None,
            chase: None,
            zmq_due: None,
            hold_until: Some(started + self.settings.catch_up),
            long_poll_at: started,
            long_poll_pause: Duration::ZERO,
        };
        let mut plain: Option<(Instant, BoxFuture<'_, Result<Offer, SourceError>>)> = None;
        let mut long: Option<(Instant, BoxFuture<'_, Result<Offer, SourceError>>)> = None;
        if let Some(offer) = first {
            self.take(&mut now, offer, TipSource::Poll);
        }
        loop {
            let at = Instant::now();
            if plain.is_none() && now.due <= at {
                now.again = false;
                now.due = at + self.settings.fee_refresh;
                plain = Some((at, self.node.source.fetch()));
            }
            if long.is_none()
                && now.long_poll_at <= at
                && let Some(offer) = &now.offer
            {
                long = Some((at, self.node.source.newer(offer.clone())));
            }
            let wake = now.wake(plain.is_none(), long.is_none());
            let long_poll = async {
                match &mut long {
                    Some((_, future)) => future.await,
                    None => std::future::pending().await,
                }
            };
            let plain_request = async {
                match &mut plain {
                    Some((_, future)) => future.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Ok(()) = news.changed() => {
                    let announced = *news.borrow_and_update();
                    self.hear(&mut now, announced, plain.is_some());
                }
                offer = plain_request => {
                    let since = plain.take().map_or(at, |(since, _)| since);
                    if self.plain_returned(&mut now, since, offer?) {
                        long = None;
                    }
                }
                outcome = long_poll => {
                    let since = long.take().map_or(at, |(since, _)| since);
                    self.long_poll_returned(&mut now, since, outcome);
                }
                () = self.refresh.notified() => now.want(plain.is_some()),
                Ok(()) = best.changed() => {
                    let best = *best.borrow_and_update();
                    if best.is_some() && best != now.tip() {
                        now.want(plain.is_some());
                    }
                }
                () = sleep_until(wake.into()) => {
                    if let Some((_, tip)) = now.zmq_due.take_if(|(due, _)| *due <= Instant::now()) {
                        self.node.expect_announced(tip);
                    }
                }
            }
        }
    }

    /// ZMQ announced a block.
    fn hear(&self, now: &mut Now, announced: Option<(Hash, Instant)>, under_way: bool) {
        let Some((hash, seen)) = announced else { return };
        now.announced = announced;
        if now.tip() == Some(hash) {
            return;
        }
        self.publisher.news(self.node.name(), hash, seen);
        now.chase = now.tip().map(|before| Chase { before, tries: 0 });
        now.want(under_way);
    }

    /// Says whether the template has another tip than the one before.
    fn plain_returned(&self, now: &mut Now, since: Instant, offer: Offer) -> bool {
        let (tip, at) = (Some(offer.template.prev_hash), Instant::now());
        if tip != now.tip() && now.tip_at.is_some_and(|tip_at| tip_at > since) {
            // It was asked for before the long poll brought this tip, and may be from before it.
            now.want(false);
            return false;
        }
        let other_tip = self.take(now, offer, TipSource::Poll);
        let announced = now.announced.is_some_and(|(hash, _)| Some(hash) == tip);
        if std::mem::take(&mut now.again) && !announced {
            now.due = at;
        }
        other_tip
    }

    /// A template came; says whether it has another tip than the one before.
    fn take(&self, now: &mut Now, offer: Offer, how: TipSource) -> bool {
        self.node.template_good();
        let at = Instant::now();
        let tip = offer.template.prev_hash;
        let other_tip = now.tip() != Some(tip);
        let announced = now.announced.filter(|(hash, _)| *hash == tip);
        now.due = at + self.settings.fee_refresh;
        if other_tip {
            now.tip_at = Some(at);
            now.zmq_due = None;
        }
        if let Some(passed) = bits_hold_for(&offer) {
            now.due = now.due.min(at + passed);
        }
        if let Some(chase) = now.chase.take()
            && chase.before == tip
            && chase.tries < CHASE_MOST
        {
            now.due = at + CHASE_FIRST * 3_u32.pow(chase.tries) / 2_u32.pow(chase.tries);
            now.chase = Some(Chase { tries: chase.tries + 1, ..chase });
        }
        // A tip that ZMQ should have announced: it was connected, and this is not merely the first template.
        if other_tip
            && announced.is_none()
            && now.offer.is_some()
            && self.node.zmq_connected_since().is_some_and(|since| since + self.settings.zmq_patience < at)
        {
            now.zmq_due = Some((at + self.settings.zmq_patience, tip));
        }
        if let Some(until) = now.hold_until
            && (at < until || self.node.is_syncing())
            && self
                .publisher
                .current()
                .is_some_and(|c| c.node != self.node.name() && c.template.height > offer.template.height)
        {
            debug!(node = self.node.name(), "it is behind the tip mined on: waiting for it to catch up");
            if at < until {
                now.due = now.due.min(until);
            }
        } else {
            now.hold_until = None;
            self.node.set_active(true);
            let (source, seen) = announced.map_or((how, offer.seen), |(_, seen)| (TipSource::Zmq, seen));
            self.publisher.publish(self.node.name(), &offer.template, source, seen);
        }
        now.offer = Some(offer);
        other_tip
    }

    fn long_poll_returned(&self, now: &mut Now, since: Instant, outcome: Result<Offer, SourceError>) {
        let at = Instant::now();
        let old_mark = now.offer.as_ref().and_then(|o| o.mark.clone());
        let news = match outcome {
            Ok(offer) => {
                let fresh = offer.mark != old_mark;
                self.take(now, offer, TipSource::LongPoll) || fresh
            }
            Err(error) => {
                debug!(node = self.node.name(), %error, "long poll failed");
                // Whether the node is to blame, a plain request tells.
                now.due = at;
                false
            }
        };
        if news || since + LONG_POLL_TOO_SOON <= at {
            now.long_poll_pause = Duration::ZERO;
        } else {
            now.long_poll_pause = (now.long_poll_pause * 2).clamp(LONG_POLL_TOO_SOON, LONG_POLL_LONGEST_PAUSE);
        }
        now.long_poll_at = at + now.long_poll_pause;
    }
}

impl Now {
    /// The tip of the last template.
    fn tip(&self) -> Option<Hash> {
        self.offer.as_ref().map(|offer| offer.template.prev_hash)
    }

    /// A template is wanted at once; when one is `under_way`, then another after it.
    fn want(&mut self, under_way: bool) {
        self.again = under_way;
        self.due = Instant::now();
    }

    fn wake(&self, may_request: bool, may_poll: bool) -> Instant {
        let never = Instant::now() + Duration::from_hours(1);
        [
            may_request.then_some(self.due),
            (may_poll && self.offer.is_some()).then_some(self.long_poll_at),
            self.zmq_due.map(|(due, _)| due),
        ]
        .into_iter()
        .flatten()
        .fold(never, Instant::min)
    }
}

/// For how long the template's bits are right, where that depends on the time.
fn bits_hold_for(offer: &Offer) -> Option<Duration> {
    let Template { max_time, cur_time, .. } = *offer.template;
    (max_time != u32::MAX).then(|| Duration::from_secs(u64::from(max_time.saturating_sub(cur_time)) + 1))
}
