//! All that the pool knows about one node at this moment, and who is told when it changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};
use warppool_events::{Bus, Event, Level, NodeState};
use warppool_work::{Chain, Hash};

use crate::health::Facts;
use crate::rpc::Rpc;
use crate::standing::Place;
use crate::status::{NodeStatus, ZmqState, ZmqStatus};
use crate::{Advice, TemplateSource, zmq};

/// Templates that fail again and again are asked for ever less often, down to this.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// New tips that ZMQ may fail to announce before it counts as silent.
const MISSES: u32 = 2;

/// One node. Shared by the tasks that watch it.
pub(crate) struct Node {
    name: String,
    pub(crate) chain: Chain,
    pub(crate) rpc: Arc<Rpc>,
    pub(crate) source: Arc<dyn TemplateSource>,
    retry: Duration,
    catch_up: Duration,
    bus: Bus,
    known: Mutex<Known>,
    /// The last tip ZMQ announced, and when.
    news: watch::Sender<Option<(Hash, Instant)>>,
    /// Its best block, as the health check sees it.
    best: watch::Sender<Option<Hash>>,
    /// Tells fail-over that a node may have become, or stopped being, usable.
    changed: Arc<Notify>,
    check_now: Notify,
    zmq_reset: Notify,
}

struct Known {
    /// What the health check says is wrong.
    ill: Option<Advice>,
    /// Why the last template was not usable.
    bad_template: Option<Advice>,
    /// Since when it has known of blocks that it does not have.
    lagging_since: Option<Instant>,
    /// That it lags for long; it can be mined on nevertheless.
    lag: Option<Advice>,
    healthy_since: Option<Instant>,
    retry_at: Instant,
    failures: u32,
    facts: Option<Facts>,
    latency: Option<Duration>,
    last_template: Option<Instant>,
    active: bool,
    /// State and remedy of the last event.
    told: Option<(NodeState, String)>,
    zmq: Zmq,
}

struct Zmq {
    status: ZmqStatus,
    since: Instant,
    misses: u32,
    told: bool,
}

impl Node {
    pub(crate) fn new(
        settings: &crate::NodeSettings,
        common: &crate::Settings,
        rpc: Arc<Rpc>,
        source: Arc<dyn TemplateSource>,
        bus: Bus,
        changed: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        let endpoint = settings.zmq_hashblock.clone().filter(|_| common.use_zmq);
        let state = if endpoint.is_some() { ZmqState::Connecting } else { ZmqState::Off };
        let status = ZmqStatus { state, endpoint, ..ZmqStatus::default() };
        Self {
            name: settings.name.clone(),
            chain: common.chain,
            rpc,
            source,
            retry: common.retry_interval,
            catch_up: common.catch_up,
            bus,
            known: Mutex::new(Known {
                ill: Some(Advice::not_contacted()),
                bad_template: None,
                lagging_since: None,
                lag: None,
                healthy_since: None,
                retry_at: now,
                failures: 0,
                facts: None,
                latency: None,
                last_template: None,
                active: false,
                told: None,
                zmq: Zmq { status, since: now, misses: 0, told: false },
            }),
            news: watch::Sender::new(None),
            best: watch::Sender::new(None),
            changed,
            check_now: Notify::new(),
            zmq_reset: Notify::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The health check's verdict. `facts` are kept when there are new ones.
    pub(crate) fn set_health(&self, facts: Option<Facts>, latency: Option<Duration>, ill: Option<Advice>) {
        let mut known = self.known.lock();
        let now = Instant::now();
        known.latency = latency;
        if let Some(facts) = facts {
            self.best.send_if_modified(|best| std::mem::replace(best, facts.best) != facts.best);
            if known.facts.as_ref().map(|f| f.height) != Some(facts.height) {
                self.changed.notify_one();
            }
            known.note_lag(&facts, now, self.catch_up);
            known.facts = Some(facts);
        }
        match (&ill, known.healthy_since) {
            (None, None) => {
                known.healthy_since = Some(now);
                known.retry_at = now;
                // It failed when the node did, and the node is well again.
                known.bad_template = None;
                self.changed.notify_one();
            }
            (Some(_), Some(_)) => {
                known.healthy_since = None;
                self.changed.notify_one();
            }
            _ => {}
        }
        known.ill = ill;
        self.tell(&mut known);
    }

    /// A template came and is usable.
    pub(crate) fn template_good(&self) {
        let mut known = self.known.lock();
        known.last_template = Some(Instant::now());
        known.failures = 0;
        if known.bad_template.take().is_some() {
            self.tell(&mut known);
        }
    }

    /// A template was asked for and there is none to mine on.
    pub(crate) fn template_bad(&self, advice: Advice) {
        let mut known = self.known.lock();
        let now = Instant::now();
        known.retry_at = now + (self.retry * 2_u32.pow(known.failures.min(10))).min(LONGEST_RETRY);
        known.failures += 1;
        known.healthy_since = known.healthy_since.map(|_| now);
        known.bad_template = Some(advice);
        self.tell(&mut known);
        drop(known);
        self.check_now.notify_one();
    }

    /// Not to be returned to before `wait` has passed again, though nothing is wrong with it.
    pub(crate) fn defer(&self, wait: Duration) {
        self.known.lock().retry_at = Instant::now() + wait;
    }

    pub(crate) fn set_active(&self, active: bool) {
        let was = std::mem::replace(&mut self.known.lock().active, active);
        if active && !was {
            info!(node = self.name, "mining on this node's templates");
        }
    }

    /// Whether something has been found out about it since start.
    pub(crate) fn is_known(&self) -> bool {
        self.known.lock().told.is_some()
    }

    /// Whether its last template was bad, whatever its health says.
    pub(crate) fn is_suspect(&self) -> bool {
        self.known.lock().bad_template.is_some()
    }

    /// Its best block, now and whenever the health check finds another.
    pub(crate) fn best(&self) -> watch::Receiver<Option<Hash>> {
        self.best.subscribe()
    }

    /// From when on a template may be asked for; `None` while it is not healthy.
    pub(crate) fn usable_at(&self) -> Option<Instant> {
        let known = self.known.lock();
        known.healthy_since.map(|_| known.retry_at)
    }

    /// From when on it will have been healthy for `long`; `None` while it is not healthy.
    pub(crate) fn stable_at(&self, long: Duration) -> Option<Instant> {
        let known = self.known.lock();
        known.healthy_since.map(|since| (since + long).max(known.retry_at))
    }

    /// How it stands to the others.
    pub(crate) fn place(&self) -> Place {
        let known = self.known.lock();
        let height = known.facts.as_ref().filter(|_| known.healthy_since.is_some()).map(|f| f.height);
        Place { height, lagging: known.lag.is_some() }
    }

    /// Whether it knows of blocks that it does not have yet.
    pub(crate) fn is_syncing(&self) -> bool {
        self.known.lock().facts.as_ref().is_some_and(|f| f.headers > f.height)
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.known.lock().healthy_since.is_some()
    }

    pub(crate) async fn check_requested(&self) {
        self.check_now.notified().await;
    }

    pub(crate) fn facts(&self) -> Option<Facts> {
        self.known.lock().facts.clone()
    }

    /// Sends an event when the state, or what to do about it, is another than the one told last.
    fn tell(&self, known: &mut Known) {
        let (state, message, remedy) = known.verdict();
        if known.told.as_ref().is_some_and(|(s, r)| *s == state && *r == remedy) {
            return;
        }
        if state == NodeState::Ready {
            info!(node = self.name, "node is ready");
        } else {
            warn!(node = self.name, ?state, message, remedy, "node is not well");
        }
        known.told = Some((state, remedy.clone()));
        // Under the lock, so that events are in the order of the states.
        self.bus.send(Event::NodeState { node: self.name.clone(), state, message, remedy });
        self.changed.notify_one();
    }

    pub(crate) fn status(&self) -> NodeStatus {
        let known = self.known.lock();
        let (state, message, remedy) = known.verdict();
        let facts = known.facts.as_ref();
        let mut zmq = known.zmq.status.clone();
        if matches!(zmq.state, ZmqState::Down | ZmqState::Silent)
            && let Some(endpoint) = &zmq.endpoint
        {
            zmq.remedy = zmq::remedy(endpoint, facts.and_then(|f| f.zmq_published.as_deref()));
        }
        NodeStatus {
            name: self.name.clone(),
            address: self.rpc.address().to_owned(),
            state,
            message,
            remedy,
            active: known.active,
            height: facts.map(|f| f.height),
            headers: facts.map(|f| f.headers),
            initial_download: facts.is_some_and(|f| f.initial_download),
            progress: facts.map(|f| f.progress),
            peers: facts.and_then(|f| f.peers),
            version: facts.and_then(|f| f.version),
            subversion: facts.and_then(|f| f.subversion.clone()),
            latency_ms: known.latency.map(|l| l.as_secs_f64() * 1e3),
            last_template_age_s: known.last_template.map(|at| at.elapsed().as_secs_f64()),
            zmq,
        }
    }
}

impl Known {
    /// A block's header comes before the block: one ahead is the rule whenever there is a new tip.
    fn note_lag(&mut self, facts: &Facts, now: Instant, patience: Duration) {
        let missing = facts.headers.saturating_sub(facts.height);
        self.lagging_since = (missing > 1).then(|| self.lagging_since.unwrap_or(now));
        let lags = self.lagging_since.is_some_and(|since| since + patience <= now);
        self.lag = lags.then(|| Advice::lags(missing));
    }

    fn verdict(&self) -> (NodeState, String, String) {
        match self.ill.as_ref().or(self.bad_template.as_ref()).or(self.lag.as_ref()) {
            Some(advice) => (advice.state, advice.message.clone(), advice.remedy.clone()),
            None => (NodeState::Ready, String::new(), String::new()),
        }
    }
}

/// What ZMQ does for this node.
impl Node {
    /// The tips ZMQ announces from now on.
    pub(crate) fn news(&self) -> watch::Receiver<Option<(Hash, Instant)>> {
        self.news.subscribe()
    }

    pub(crate) fn announced(&self, hash: Hash, seen: Instant, lost: u32) {
        let mut known = self.known.lock();
        let zmq = &mut known.zmq;
        zmq.status.announced += 1;
        zmq.status.lost += u64::from(lost);
        zmq.misses = 0;
        if zmq.status.state == ZmqState::Silent {
            zmq.set(ZmqState::Connected, String::new());
        }
        drop(known);
        self.news.send_replace(Some((hash, seen)));
    }

    pub(crate) fn zmq_connected(&self) {
        let mut known = self.known.lock();
        if known.zmq.misses < MISSES {
            known.zmq.set(ZmqState::Connected, String::new());
        }
    }

    pub(crate) fn zmq_down(&self, reason: String) {
        let mut known = self.known.lock();
        let zmq = &mut known.zmq;
        if zmq.misses >= MISSES {
            zmq.set(ZmqState::Silent, reason);
        } else {
            zmq.set(ZmqState::Down, reason);
        }
    }

    /// Since when ZMQ is connected and was not caught missing a tip.
    pub(crate) fn zmq_connected_since(&self) -> Option<Instant> {
        let known = self.known.lock();
        (known.zmq.status.state == ZmqState::Connected).then_some(known.zmq.since)
    }

    pub(crate) fn zmq_needs_help(&self) -> bool {
        !matches!(self.known.lock().zmq.status.state, ZmqState::Off | ZmqState::Connected)
    }

    /// `tip` is known for long; if ZMQ has not announced it, its connection is made anew.
    pub(crate) fn expect_announced(&self, tip: Hash) {
        if self.news.borrow().is_some_and(|(announced, _)| announced == tip) {
            return;
        }
        let mut known = self.known.lock();
        let zmq = &mut known.zmq;
        if zmq.status.state == ZmqState::Connected {
            zmq.misses += 1;
            drop(known);
            self.zmq_reset.notify_one();
        }
    }

    pub(crate) async fn zmq_reset(&self) {
        self.zmq_reset.notified().await;
    }

    /// Tells the watchers when ZMQ has been out of order for `patience` though the node is healthy, and when it is back.
    pub(crate) fn tell_of_zmq(&self, patience: Duration) {
        let mut known = self.known.lock();
        let healthy = known.healthy_since.is_some();
        let published = known.facts.as_ref().and_then(|f| f.zmq_published.clone());
        let zmq = &mut known.zmq;
        let status = &zmq.status;
        let name = &self.name;
        let (level, message) = match status.state {
            ZmqState::Connected if zmq.told => (Level::Info, format!("node {name}: block news by ZMQ are back")),
            ZmqState::Down | ZmqState::Silent if !zmq.told && healthy && zmq.since.elapsed() >= patience => {
                let remedy =
                    status.endpoint.as_deref().map(|e| zmq::remedy(e, published.as_deref())).unwrap_or_default();
                (Level::Warning, format!("node {name}: no block news by ZMQ: {}; {remedy}", status.message))
            }
            _ => return,
        };
        zmq.told = !zmq.told;
        drop(known);
        if level == Level::Warning {
            warn!("{message}");
        } else {
            info!("{message}");
        }
        self.bus.send(Event::Notice { level, message });
    }
}

impl Zmq {
    fn set(&mut self, state: ZmqState, message: String) {
        if self.status.state != state {
            self.status.state = state;
            self.since = Instant::now();
        }
        self.status.message = message;
    }
}
