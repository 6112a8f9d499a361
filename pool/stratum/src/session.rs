//! One miner's conversation, without its socket: bytes in, bytes out, verdicts to the pool.
//!
//! The state is here; what the methods of the protocol do with it is in [`handshake`](crate::handshake) and
//! [`share`](crate::share).

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;
use warppool_events::Event;
use warppool_work::{
    Coinbase, DeviceClass, Difficulty, Extranonce1, JobId, Payout, Vardiff, VardiffSettings, VardiffState, VersionMask,
};

use crate::core::{Core, Now, View};
use crate::difficulty::Sent;
use crate::ladder::Ladder;
use crate::limits::Source;
use crate::line::{Call, Id, LineError, parse};
use crate::meter::Meter;
use crate::pool::{Outcome, Reason, Refusals, SessionInfo, ShareReport, SubmitMode, WorkerId};
use crate::proxy;
use crate::reply::{self, Code};
use crate::seen::Seen;
use crate::wire;

/// Lines in a row that are no JSON before the connection is closed.
const MOST_GARBAGE: u8 = 5;
/// How long a connection without a submission must stay before its workers are announced: firmware opens connections that
/// subscribe and authorize as a heart-beat.
const PROBE: Duration = Duration::from_secs(10);

/// A worker authorized on a connection.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) name: Arc<str>,
    /// The username as sent, where it is not the name.
    pub(crate) login: Option<Box<str>>,
    /// Told to the pool.
    announced: bool,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, name: Arc<str>, username: &str) -> Self {
        let login = (username != &*name).then(|| username.into());
        Self { id, name, login, announced: false }
    }

    pub(crate) fn login(&self) -> &str {
        self.login.as_deref().unwrap_or(&self.name)
    }
}

/// What was asked for in the difficulty's name.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) suggested: Option<Difficulty>,
    pub(crate) fixed: Option<Difficulty>,
    /// `minimum-difficulty` of BIP310.
    pub(crate) least: Option<Difficulty>,
    pub(crate) resumed: Option<VardiffState>,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: bool,
    connected: Now,
    /// Set by `mining.subscribe`.
    pub(crate) en1: Option<Extranonce1>,
    pub(crate) agent: Arc<str>,
    pub(crate) class: DeviceClass,
    pub(crate) workers: Vec<Worker>,
    /// All are announced.
    announced: bool,
    /// Set by the first `mining.authorize`.
    pub(crate) payout: Option<Arc<Payout>>,
    pub(crate) mask: VersionMask,
    pub(crate) wishes: Wishes,
    /// There once the session gets jobs.
    pub(crate) vardiff: Option<Vardiff>,
    edition: u32,
    pub(crate) sent: Sent,
    pub(crate) last_job: JobId,
    pub(crate) last_notify: Duration,
    /// Of the job last submitted for.
    pub(crate) coinbase: Option<(JobId, Arc<Coinbase>)>,
    pub(crate) seen: Seen,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    sniffed: bool,
    garbage: u8,
    pub(crate) ladder: Ladder,
    pub(crate) meter: Meter,
    pub(crate) accepted: u64,
    pub(crate) refused: Refusals,
    pub(crate) last_share_ms: Option<u64>,
    pub(crate) submit_mode: SubmitMode,
}

/// One turn of the conversation: what the session reads by, and what it leaves.
pub(crate) struct Turn<'a> {
    pub(crate) view: &'a View<'a>,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) shares: &'a mut Vec<ShareReport>,
    /// Lines are logged.
    pub(crate) watched: bool,
}

/// Breaks when the connection is to be closed.
pub(crate) type Flow = ControlFlow<Reason>;

impl Session {
    pub(crate) fn new(id: u64, peer: SocketAddr, tls: bool, core: &Core, now: Now) -> Self {
        Self {
            id,
            peer,
            tls,
            connected: now,
            en1: None,
            agent: core.agents.none(),
            class: DeviceClass::Unknown,
            workers: Vec::new(),
            announced: true,
            payout: None,
            mask: VersionMask::NONE,
            wishes: Wishes::default(),
            vardiff: None,
            edition: 0,
            sent: Sent::default(),
            last_job: JobId(0),
            last_notify: Duration::ZERO,
            coinbase: None,
            seen: Seen::default(),
            partial: Vec::new(),
            sniffed: false,
            garbage: 0,
            ladder: Ladder::default(),
            meter: Meter::default(),
            accepted: 0,
            refused: Refusals::default(),
            last_share_ms: None,
            submit_mode: SubmitMode::Unknown,
        }
    }

    pub(crate) fn source(&self) -> Source {
        self.peer.ip().into()
    }

    /// Subscribed and authorized: it gets jobs.
    pub(crate) fn is_mining(&self) -> bool {
        self.vardiff.is_some()
    }

    /// Takes what one read gave, in whatever pieces; appends the answers to `out`.
    pub(crate) fn handle(
        &mut self,
        input: &[u8],
        view: &View<'_>,
        out: &mut Vec<u8>,
        shares: &mut Vec<ShareReport>,
    ) -> Flow {
        let flow = self.lines(input, &mut Turn { view, out, shares, watched: wire::is_watched() });
        if !shares.is_empty() {
            let work: f64 = shares.iter().filter(|s| s.outcome == Outcome::Accepted).map(|s| s.credited).sum();
            if work > 0.0 {
                self.meter.add(work, view.now.seconds());
                self.last_share_ms = Some(view.now.unix_ms);
            }
            view.core.counters.shares(shares);
            view.core.pool.shares(shares);
            shares.clear();
        }
        flow
    }

    fn lines(&mut self, mut rest: &[u8], turn: &mut Turn<'_>) -> Flow {
        let flow = self.read(&mut rest, turn);
        if flow.break_value().is_some_and(|reason| !reason.is_final()) {
            // Each break has taken a line, so that this comes to an end.
            while self.read(&mut rest, turn).break_value().is_some_and(|reason| !reason.is_final()) {}
        }
        flow
    }

    /// Takes lines off `rest` until one of them breaks; keeps the beginning of a line that is left.
    fn read(&mut self, rest: &mut &[u8], turn: &mut Turn<'_>) -> Flow {
        if !self.sniffed && !rest.is_empty() {
            self.sniffed = true;
            self.sniff(rest)?;
        }
        let limit = turn.view.settings().line_limit;
        if !self.partial.is_empty() {
            let Some(end) = memchr(b'\n', rest) else { return self.keep(rest, limit, turn) };
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&rest[..end]);
            *rest = &rest[end + 1..];
            let flow = self.line(&line, limit, turn);
            line.clear();
            self.partial = line;
            flow?;
        }
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            *rest = &rest[end + 1..];
            self.line(line, limit, turn)?;
        }
        self.keep(rest, limit, turn)
    }

    /// Other protocols are told by their first bytes.
    fn sniff(&self, first: &[u8]) -> Flow {
        if first[0] == 0x16 && !self.tls {
            tracing::info!(peer = %self.peer, "a TLS handshake on the plain port: point this miner at the TLS port");
            return Flow::Break(Reason::TlsOnPlainPort);
        }
        if first.starts_with(&proxy::SIGNATURE[..5]) {
            tracing::warn!(peer = %self.peer, "a PROXY header from an address that is not named as a proxy");
            return Flow::Break(Reason::UnexpectedProxyHeader);
        }
        Flow::Continue(())
    }

    fn keep(&mut self, rest: &[u8], limit: usize, turn: &mut Turn<'_>) -> Flow {
        if self.partial.len() + rest.len() > limit {
            return too_long(limit, turn);
        }
        self.partial.extend_from_slice(rest);
        Flow::Continue(())
    }

    fn line(&mut self, line: &[u8], limit: usize, turn: &mut Turn<'_>) -> Flow {
        if turn.watched {
            wire::came(self.peer, line);
        }
        if line.len() > limit {
            return too_long(limit, turn);
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            return Flow::Continue(());
        }
        match parse(line) {
            Ok(request) => {
                self.garbage = 0;
                match request.call {
                    Call::Submit(fields) => self.submit(request.id, &fields, turn),
                    Call::Other { method, params } => self.call(request.id, &method, &params, turn),
                }
            }
            Err(LineError::Answer) => Flow::Continue(()),
            Err(LineError::NoMethod(id)) => {
                reply::error(turn.out, id, Code::InvalidRequest, "a request needs a method");
                self.one_more_garbage()
            }
            Err(_) => self.not_json(line, turn),
        }
    }

    fn not_json(&mut self, line: &[u8], turn: &mut Turn<'_>) -> Flow {
        if [&b"GET "[..], b"HEAD ", b"POST ", b"PUT ", b"OPTIONS "].iter().any(|verb| line.starts_with(verb)) {
            reply::http(turn.out);
            return Flow::Break(Reason::Http);
        }
        if line.starts_with(b"PROXY ") {
            tracing::warn!(peer = %self.peer, "a PROXY header of version 1: use version 2 and name the proxy");
            return Flow::Break(Reason::UnexpectedProxyHeader);
        }
        reply::error(turn.out, Id::NULL, Code::Garbage, "the line is not a JSON object");
        self.one_more_garbage()
    }

    fn one_more_garbage(&mut self) -> Flow {
        self.garbage += 1;
        if self.garbage < MOST_GARBAGE { Flow::Continue(()) } else { Flow::Break(Reason::Garbage) }
    }

    /// Begins mining once subscribed and authorized, in whichever order.
    pub(crate) fn begin(&mut self, turn: &mut Turn<'_>) {
        if self.is_mining() || self.en1.is_none() || self.payout.is_none() {
            return;
        }
        let (view, now) = (turn.view, turn.view.now.seconds());
        let settings = self.vardiff_settings(view);
        let class = || view.settings().initial_difficulty.unwrap_or_else(|| self.class.start_difficulty());
        let vardiff = match (&self.wishes, self.wishes.suggested) {
            (Wishes { fixed: Some(fixed), .. }, _) => {
                let mut vardiff = Vardiff::new(settings, *fixed, now);
                vardiff.fix(*fixed, now);
                vardiff
            }
            (_, Some(suggested)) => Vardiff::new(settings, suggested, now),
            (Wishes { resumed: Some(resumed), .. }, _) => Vardiff::resume(settings, *resumed, now),
            _ => Vardiff::new(settings, class(), now),
        };
        self.vardiff = Some(vardiff);
        self.edition = view.edition.number;
        self.meter = Meter::starting(now);
        self.last_notify = view.now.at;
        self.seen.follow(view.board.tip());
        self.update_difficulty(view, turn.out);
        self.send_newest(turn);
    }

    /// Sends the newest job, telling the miner to drop whatever it works on.
    pub(crate) fn send_newest(&mut self, turn: &mut Turn<'_>) {
        let Some((job, prepared)) = turn.view.board.newest() else { return };
        let Some(payout) = &self.payout else { return };
        turn.out.extend_from_slice(&prepared.line_for(job, payout, true));
        self.last_job = job.id;
        self.last_notify = turn.view.now.at;
    }

    /// What is due to a mining session before a new job: perhaps a difficulty, appended to `out`. Gives the payout the job is
    /// to be prepared for; `None` when the session takes no job or has this one.
    pub(crate) fn take_job(&mut self, job: JobId, view: &View<'_>, out: &mut Vec<u8>) -> Option<&Arc<Payout>> {
        if !self.is_mining() || self.last_job >= job {
            return None;
        }
        self.update_difficulty(view, out);
        self.last_job = job;
        self.last_notify = view.now.at;
        self.payout.as_ref()
    }

    pub(crate) fn vardiff_settings(&self, view: &View<'_>) -> VardiffSettings {
        let mut settings = view.settings().vardiff;
        if let Some(least) = self.wishes.least {
            settings.min = least.clamp(settings.min, settings.max);
        }
        settings
    }

    /// Sends the difficulty when it is another than the miner has. It holds for the jobs sent from now on; firmware that
    /// applies it at once does no harm, since the easier of both counts for older jobs.
    pub(crate) fn update_difficulty(&mut self, view: &View<'_>, out: &mut Vec<u8>) {
        let Some(vardiff) = &self.vardiff else { return };
        let wanted = match view.board.most_difficulty() {
            Some(most) if most < vardiff.difficulty() => most.rounded_for_miners(),
            _ => vardiff.difficulty(),
        };
        if self.sent.current() != Some(wanted) {
            self.sent.change(self.last_job, wanted);
            reply::set_difficulty(out, wanted);
        }
    }

    /// What time brings: time-outs, announcements, a difficulty too high for a silent miner, memory given back.
    pub(crate) fn tick(&mut self, view: &View<'_>, out: &mut Vec<u8>) -> Flow {
        let now = view.now.at;
        let age = now.saturating_sub(self.connected.at);
        if self.workers.is_empty() && age >= view.settings().authorize_timeout {
            return Flow::Break(Reason::AuthorizeTimeout);
        }
        if !self.announced && age >= PROBE {
            self.announce(view);
        }
        if self.edition != view.edition.number {
            self.edition = view.edition.number;
            self.take_settings(view);
        }
        if let Some(vardiff) = &mut self.vardiff {
            vardiff.on_tick(view.now.seconds());
            self.update_difficulty(view, out);
        }
        self.seen.follow(view.board.tip());
        if view.board.grace_is_over(now) {
            self.seen.grace_is_over(view.board.tip());
        }
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        if self.coinbase.as_ref().is_some_and(|(job, _)| *job < self.last_job) {
            self.coinbase = None;
        }
        Flow::Continue(())
    }

    /// Goes on under changed settings, as far as they change anything.
    pub(crate) fn take_settings(&mut self, view: &View<'_>) {
        let (settings, now) = (self.vardiff_settings(view), view.now.seconds());
        if let Some(vardiff) = &mut self.vardiff {
            let mut next = Vardiff::resume(settings, vardiff.state(), now);
            if let Some(fixed) = self.wishes.fixed {
                next.fix(fixed, now);
            }
            *vardiff = next;
        }
    }

    pub(crate) fn add_worker(&mut self, worker: Worker) {
        self.workers.push(worker);
        self.announced = false;
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.announced
    }

    /// Tells the pool of the workers it has not heard of.
    pub(crate) fn announce(&mut self, view: &View<'_>) {
        self.announced = true;
        for n in 0..self.workers.len() {
            if !std::mem::replace(&mut self.workers[n].announced, true) {
                view.core.pool.connected(&self.info(Some(n), view.now));
                view.core.tell(Event::WorkerConnected {
                    worker: self.workers[n].name.to_string(),
                    agent: self.agent.to_string(),
                    peer: self.peer.to_string(),
                    tls: self.tls,
                });
            }
        }
    }

    /// The connection is gone.
    pub(crate) fn end(&mut self, reason: Reason, core: &Core) {
        core.counters.disconnected(reason);
        tracing::debug!(peer = %self.peer, %reason, "connection ended");
        let now = core.now();
        let mut vardiff = self.vardiff.as_ref().map(Vardiff::state);
        for (n, worker) in self.workers.iter().enumerate().filter(|(_, worker)| worker.announced) {
            core.pool.disconnected(&self.info(Some(n), now), reason, vardiff.take());
            core.tell(Event::WorkerDisconnected {
                worker: worker.name.to_string(),
                peer: self.peer.to_string(),
                reason: reason.to_string(),
            });
        }
    }

    /// The session as seen from its worker number `worker`.
    pub(crate) fn info(&self, worker: Option<usize>, now: Now) -> SessionInfo {
        let worker = worker.and_then(|n| self.workers.get(n));
        SessionInfo {
            id: self.id,
            worker: worker.map(|worker| worker.id),
            name: worker.map(|worker| Arc::clone(&worker.name)),
            workers: self.workers.len(),
            agent: Arc::clone(&self.agent),
            class: self.class,
            peer: self.peer,
            tls: self.tls,
            difficulty: self.sent.current().map(Difficulty::get),
            fixed: self.vardiff.as_ref().is_some_and(Vardiff::is_fixed),
            vardiff: self.vardiff.as_ref().map(Vardiff::state),
            connected_ms: self.connected.unix_ms,
            last_share_ms: self.last_share_ms,
            accepted: self.accepted,
            refused: self.refused,
            submit_mode: self.submit_mode,
            hashrate: self.meter.hashrate(now.seconds()),
        }
    }
}

fn too_long(limit: usize, turn: &mut Turn<'_>) -> Flow {
    reply::error(turn.out, Id::NULL, Code::Other, &format!("the line is longer than {limit} bytes"));
    Flow::Break(Reason::LineTooLong)
}
