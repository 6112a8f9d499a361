//! What the server needs of the pool behind it, and what it tells that pool.
//!
//! The engine implements [`Pool`]; the server knows neither ledger nor node.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use warppool_work::{Coinbase, DeviceClass, EN1_SIZE, EN2_SIZE, Hash, Job, Payout, VardiffState};

/// The pool behind the server. Every method is called on a connection's task, with that connection locked: it must not
/// block, and must not call back into the [`Server`](crate::Server).
pub trait Pool: Send + Sync + 'static {
    /// Who is this, whom does it pay, where did its difficulty stand. The error is the plain text shown to the miner. Asked
    /// for probes as well, that only subscribe and authorize: a worker exists from [`Pool::connected`] on.
    fn authorize(&self, login: &Login<'_>) -> Result<Admitted, String>;

    /// The shares of one read, in the order they came.
    fn shares(&self, shares: &[ShareReport]);

    /// A share met the network's target. Called before the miner is answered, and whatever else is wrong with the share.
    fn block(&self, found: Found);

    /// A worker is here to stay: it has submitted something, or stayed for ten seconds. Once for each worker of a session.
    fn connected(&self, session: &SessionInfo);

    /// A worker announced by [`Pool::connected`] is gone. `vardiff` is where the difficulty of the session stood.
    fn disconnected(&self, session: &SessionInfo, reason: Reason, vardiff: Option<VardiffState>);
}

/// What a miner says of itself in `mining.authorize`.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// As sent.
    pub username: &'a str,
    /// As sent; the server has compared it with the pool's own and taken `d=` out of it already.
    pub password: &'a str,
    /// User agent of `mining.subscribe`; empty while there was none.
    pub agent: &'a str,
    pub peer: IpAddr,
    pub tls: bool,
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Names a worker between the engine and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct WorkerId(pub u32);

/// A worker let in.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub worker: WorkerId,
    /// The canonical name.
    pub name: Arc<str>,
    /// Shared by all workers of the same payee, so that it costs memory once.
    pub payout: Arc<Payout>,
    /// Where the worker's difficulty stood when it was last here.
    pub vardiff: Option<VardiffState>,
}

/// What became of one share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareReport {
    /// Unix time, milliseconds.
    pub at_ms: u64,
    pub worker: WorkerId,
    /// The difficulty it was asked for and is credited at; zero when refused.
    pub credited: f64,
    /// How hard its hash is; zero when it was not hashed.
    pub actual: f64,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Accepted,
    Refused(RefusedFor),
}

/// Why a share does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedFor {
    /// The job's tip is gone.
    Stale,
    Duplicate,
    LowDifficulty,
    /// Header time outside the job's window.
    Time,
    /// Version bits outside the negotiated mask.
    Version,
    Unauthorized,
    NotSubscribed,
    Malformed,
    UnknownJob,
}

impl RefusedFor {
    pub const ALL: [Self; 9] = [
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::Time,
        Self::Version,
        Self::Unauthorized,
        Self::NotSubscribed,
        Self::Malformed,
        Self::UnknownJob,
    ];

    /// As metrics label it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::Time => "time",
            Self::Version => "version",
            Self::Unauthorized => "unauthorized",
            Self::NotSubscribed => "not_subscribed",
            Self::Malformed => "malformed",
            Self::UnknownJob => "unknown_job",
        }
    }
}

/// Counts of refused shares by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u32; RefusedFor::ALL.len()]);

impl Refusals {
    pub fn get(&self, reason: RefusedFor) -> u32 {
        self.0[reason as usize]
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(|n| u64::from(*n)).sum()
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (RefusedFor, u32)> {
        RefusedFor::ALL.into_iter().zip(self.0)
    }

    pub(crate) fn add(&mut self, reason: RefusedFor) {
        let count = &mut self.0[reason as usize];
        *count = count.saturating_add(1);
    }
}

impl Serialize for Refusals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(reason, count)| (reason.name(), count)))
    }
}

/// A block, with all that is needed to put it together and to tell who found it.
#[derive(Clone, Debug)]
pub struct Found {
    pub job: Arc<Job>,
    pub coinbase: Arc<Coinbase>,
    pub en1: [u8; EN1_SIZE],
    pub en2: [u8; EN2_SIZE],
    pub header: [u8; 80],
    /// Block hash, internal byte order.
    pub hash: Hash,
    pub worker: WorkerId,
    pub worker_name: Arc<str>,
    pub payout: Arc<Payout>,
    /// How hard the hash is.
    pub difficulty: f64,
}

/// Whether a miner's submissions carry version bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmitMode {
    /// Nothing submitted yet.
    #[default]
    Unknown,
    /// Five parameters.
    Plain,
    /// Six: the miner rolls the block version.
    VersionRolling,
}

/// A connection as the operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionInfo {
    /// Unique since start.
    pub id: u64,
    /// The first worker authorized; in calls to [`Pool`] the one the call is about.
    pub worker: Option<WorkerId>,
    pub name: Option<Arc<str>>,
    /// Workers authorized on this connection.
    pub workers: usize,
    pub agent: Arc<str>,
    pub class: DeviceClass,
    pub peer: SocketAddr,
    pub tls: bool,
    /// The difficulty last sent.
    pub difficulty: Option<f64>,
    /// The miner or operator has set the difficulty; it does not adapt.
    pub fixed: bool,
    pub vardiff: Option<VardiffState>,
    /// Unix time, milliseconds.
    pub connected_ms: u64,
    /// Unix time of the last accepted share, milliseconds.
    pub last_share_ms: Option<u64>,
    pub accepted: u64,
    pub refused: Refusals,
    pub submit_mode: SubmitMode,
    /// Hashes a second over the last minutes, from the shares accepted.
    pub hashrate: f64,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The miner closed it.
    Closed,
    /// The network failed.
    Network,
    /// It did not authorize in time.
    AuthorizeTimeout,
    /// It sent several lines that are no JSON.
    Garbage,
    LineTooLong,
    /// It does not read what it is sent.
    SlowReader,
    /// It sent nothing but refused shares for minutes.
    OnlyRejects,
    /// It speaks HTTP.
    Http,
    /// It speaks TLS on a plain port.
    TlsOnPlainPort,
    /// It sent a PROXY header and is no named proxy.
    UnexpectedProxyHeader,
    /// Its TLS records are broken.
    Tls,
    /// The operator closed it.
    Operator,
    /// The pool stops.
    Shutdown,
}

impl Reason {
    pub const ALL: [Self; 13] = [
        Self::Closed,
        Self::Network,
        Self::AuthorizeTimeout,
        Self::Garbage,
        Self::LineTooLong,
        Self::SlowReader,
        Self::OnlyRejects,
        Self::Http,
        Self::TlsOnPlainPort,
        Self::UnexpectedProxyHeader,
        Self::Tls,
        Self::Operator,
        Self::Shutdown,
    ];

    /// Whoever closes for this has seen all that is worth seeing. Otherwise what has already come is still judged, since
    /// there may be a block in it.
    pub(crate) fn is_final(self) -> bool {
        matches!(
            self,
            Self::Closed
                | Self::Network
                | Self::Garbage
                | Self::LineTooLong
                | Self::Http
                | Self::TlsOnPlainPort
                | Self::UnexpectedProxyHeader
                | Self::Tls
        )
    }

    /// As metrics label it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Network => "network",
            Self::AuthorizeTimeout => "authorize_timeout",
            Self::Garbage => "garbage",
            Self::LineTooLong => "line_too_long",
            Self::SlowReader => "slow_reader",
            Self::OnlyRejects => "only_rejects",
            Self::Http => "http",
            Self::TlsOnPlainPort => "tls_on_plain_port",
            Self::UnexpectedProxyHeader => "unexpected_proxy_header",
            Self::Tls => "tls",
            Self::Operator => "operator",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
