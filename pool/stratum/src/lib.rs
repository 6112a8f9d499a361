//! The Stratum V1 server, plain and TLS.
//!
//! Knows neither ledger nor node: it gets a [`Job`](warppool_work::Job) through [`Server::publish`] and hands over what
//! miners send through [`Pool`]. The way of a share, file by file: `connection` reads, `line` parses, `session` leads,
//! `submit` takes the hex apart, `share` judges and answers; one write answers all of a read, one call reports it.

mod agent;
mod asked;
mod bans;
mod board;
mod connection;
mod connections;
mod conversation;
mod core;
mod difficulty;
mod handshake;
mod ladder;
mod limits;
pub mod line;
mod listener;
mod meter;
mod metrics;
mod notify;
mod pool;
pub mod proxy;
mod reply;
mod seen;
mod server;
mod session;
mod settings;
mod share;
mod submit;
mod tls;
mod wire;

pub use bans::Ban;
pub use conversation::Conversation;
pub use limits::TurnedAway;
pub use listener::{Bind, Listener, ListenerHandle};
pub use metrics::Metrics;
pub use pool::{
    Admitted, Found, Login, Outcome, Pool, Reason, Refusals, RefusedFor, SessionInfo, ShareReport, SubmitMode, WorkerId,
};
pub use server::{Broadcast, Server};
pub use settings::{Rates, Settings};
pub use tls::{TlsError, TlsIdentity, TlsVersions};
