//! The pool over HTTP: what it is doing, a stream of what happens, metrics, and a page that shows them.
//!
//! [`serve`] answers on loopback alone as long as there are no accounts. Every room (a path and what is behind it) has a
//! module with a `routes()` of its own; [`Pool`] is all they see of the engine. Faults are [`Problem`]s.

mod app;
mod blocks;
mod events;
mod guard;
mod hashrate;
mod health;
mod json;
mod metrics;
mod overview;
mod page;
mod params;
mod pool;
mod problem;
mod server;
mod workers;

pub use app::router;
pub use metrics::exposition;
pub use pool::{Counters, Pool, Readiness};
pub use problem::{Cause, Problem};
pub use server::{Limits, serve, serve_with};
