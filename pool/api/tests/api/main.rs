//! The API as clients meet it, in front of a pool that is made up.

#![allow(clippy::unwrap_used, reason = "this is a test as a whole")]

mod events;
mod fake;
mod guard;
mod health;
mod http;
mod metrics;
mod routes;
mod server;
