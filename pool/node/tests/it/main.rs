//! The crate against a stand-in for Bitcoin Core and a real ZMQ publisher.

#![allow(clippy::unwrap_used, reason = "these are tests, and their helpers")]

mod core;
mod failover;
mod gbt;
mod health;
mod rpc;
mod submit;
mod templates;
mod zmq;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use warppool_events::Bus;
use warppool_node::{Auth, NodeSettings, Nodes, Settings};
use warppool_work::Chain;

use crate::core::FakeCore;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);

fn node(name: &str, core: &FakeCore) -> NodeSettings {
    NodeSettings { name: name.into(), rpc_url: core.url(), auth: Auth::None, zmq_hashblock: None }
}

/// Impatient, so that tests are quick.
fn settings(nodes: Vec<NodeSettings>) -> Settings {
    Settings {
        nodes,
        rpc_timeout: Duration::from_secs(2),
        poll_interval: Duration::from_millis(40),
        retry_interval: Duration::from_millis(20),
        fee_refresh: Duration::from_mins(1),
        return_after: Duration::from_millis(150),
        zmq_patience: Duration::from_millis(200),
        catch_up: Duration::from_secs(1),
        ..Settings::new(Chain::Regtest)
    }
}

struct Pool {
    nodes: Nodes,
    bus: Bus,
    shutdown: CancellationToken,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn start(settings: Settings) -> Pool {
    let (bus, shutdown) = (Bus::new(), CancellationToken::new());
    let nodes = Nodes::start(settings, &bus, &shutdown).unwrap();
    Pool { nodes, bus, shutdown }
}

/// Waits until `condition` holds.
#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(tokio::time::timeout(LONG, wait).await.is_ok(), "{place}: never happened: {what}");
    }
}
