//! The pool's handle on its nodes.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warppool_events::Bus;
use warppool_work::Target;

use crate::failover::Failover;
use crate::feed::Publisher;
use crate::gbt::GbtSource;
use crate::node::Node;
use crate::rpc::{Patience, Rpc};
use crate::source::{TipNews, Update};
use crate::status::{Network, NodeStatus};
use crate::submit::{self, BlockStatus, SubmitAnswer, TipHeader};
use crate::{Latency, LatencySnapshot, NodeError, NodeSettings, RpcError, Settings, SettingsError, health, zmq};

/// All nodes, under watch. Cheap to clone.
#[derive(Clone)]
pub struct Nodes {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Vec<Arc<Node>>,
    publisher: Arc<Publisher>,
    refresh: Arc<Notify>,
    latency: Arc<Latency>,
    settings: Arc<Settings>,
    tasks: TaskTracker,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("names", &self.node_names()).finish_non_exhaustive()
    }
}

impl Nodes {
    /// Begins to watch the nodes, until `shutdown`. Needs a tokio runtime; does not wait for any node.
    pub fn start(settings: Settings, bus: &Bus, shutdown: &CancellationToken) -> Result<Self, SettingsError> {
        if settings.nodes.is_empty() {
            return Err(SettingsError::NoNodes);
        }
        let settings = Arc::new(settings);
        let latency = Arc::new(Latency::default());
        let changed = Arc::new(Notify::new());
        let mut names = HashSet::new();
        let mut nodes = Vec::with_capacity(settings.nodes.len());
        for one in &settings.nodes {
            if !names.insert(one.name.as_str()) {
                return Err(SettingsError::SameName(one.name.clone()));
            }
            check_zmq(one)?;
            let rpc = Arc::new(Rpc::new(one, Arc::clone(&latency))?);
            let source = Arc::new(GbtSource::new(Arc::clone(&rpc), settings.chain, settings.rpc_timeout));
            nodes.push(Arc::new(Node::new(one, &settings, rpc, source, bus.clone(), Arc::clone(&changed))));
        }

        let tasks = TaskTracker::new();
        for (node, one) in nodes.iter().zip(&settings.nodes) {
            tasks.spawn(health::watch(Arc::clone(node), Arc::clone(&settings), shutdown.clone()));
            if let Some(endpoint) = one.zmq_hashblock.clone().filter(|_| settings.use_zmq) {
                tasks.spawn(zmq::follow(Arc::clone(node), endpoint, settings.zmq_patience, shutdown.clone()));
            }
        }
        let publisher = Arc::new(Publisher::new(bus.clone(), settings.fee_refresh));
        let refresh = Arc::new(Notify::new());
        let failover = Failover {
            nodes: nodes.clone(),
            publisher: Arc::clone(&publisher),
            settings: Arc::clone(&settings),
            changed,
            refresh: Arc::clone(&refresh),
        };
        tasks.spawn(failover.run(shutdown.clone()));
        tasks.close();
        Ok(Self { inner: Arc::new(Inner { nodes, publisher, refresh, latency, settings, tasks }) })
    }

    /// The template to mine on; `None` before the first. Old ones stand while no node is usable.
    pub fn templates(&self) -> watch::Receiver<Option<Arc<Update>>> {
        self.inner.publisher.updates()
    }

    /// New tips whose template is still being fetched.
    pub fn tip_news(&self) -> watch::Receiver<Option<TipNews>> {
        self.inner.publisher.tips()
    }

    /// In order of preference.
    pub fn node_names(&self) -> Vec<String> {
        self.inner.nodes.iter().map(|node| node.name().to_owned()).collect()
    }

    /// Hands a block (hex, with its coinbase witness) to one node, usable or not.
    pub async fn submit_block(&self, node: &str, block_hex: Arc<str>) -> Result<SubmitAnswer, NodeError> {
        let node = self.find(node)?;
        let answer = submit::submit(&node.rpc, &block_hex, Patience::AtMost(self.inner.settings.submit_timeout)).await;
        // Most likely there is a new tip.
        self.inner.refresh.notify_one();
        answer.map_err(|source| failed(node, source))
    }

    /// Where a block stands by one node's word; `hash` in display order.
    pub async fn block_status(&self, node: &str, hash: &str) -> Result<BlockStatus, NodeError> {
        let node = self.find(node)?;
        let patience = Patience::AtMost(self.inner.settings.rpc_timeout);
        submit::status(&node.rpc, hash, patience).await.map_err(|source| failed(node, source))
    }

    /// One node's word of a block (`hash` in display order) if that is the node's tip; `None` if it is not.
    pub async fn tip_header(&self, node: &str, hash: &str) -> Result<Option<TipHeader>, NodeError> {
        let node = self.find(node)?;
        let patience = Patience::AtMost(self.inner.settings.rpc_timeout);
        submit::tip(&node.rpc, hash, patience).await.map_err(|source| failed(node, source))
    }

    /// Asks the node in use for a template at once.
    pub fn refresh(&self) {
        self.inner.refresh.notify_one();
    }

    /// Every node's health, in order of preference.
    pub fn status(&self) -> Vec<NodeStatus> {
        self.inner.nodes.iter().map(|node| node.status()).collect()
    }

    /// The durations of all calls to all nodes, long polls left out.
    pub fn latency(&self) -> LatencySnapshot {
        self.inner.latency.snapshot()
    }

    /// The chain as last seen by the node in use; before the first template by any node of the right chain.
    pub fn network(&self) -> Option<Network> {
        if let Some(update) = self.inner.publisher.current() {
            let Update { template, .. } = &*update;
            return Some(Network { height: template.height - 1, difficulty: difficulty(template.bits) });
        }
        let chain = self.inner.settings.chain.core_name();
        let mut facts = self.inner.nodes.iter().filter_map(|node| node.facts());
        facts.find(|f| f.chain == chain).map(|f| Network { height: f.height, difficulty: f.difficulty })
    }

    /// Waits until all tasks have ended after the shutdown.
    pub async fn stopped(&self) {
        self.inner.tasks.wait().await;
    }

    fn find(&self, name: &str) -> Result<&Node, NodeError> {
        let node = self.inner.nodes.iter().find(|node| node.name() == name);
        node.map(|node| &**node).ok_or_else(|| NodeError::Unknown(name.to_owned()))
    }
}

fn failed(node: &Node, source: RpcError) -> NodeError {
    NodeError::Rpc { node: node.name().to_owned(), source }
}

fn check_zmq(settings: &NodeSettings) -> Result<(), SettingsError> {
    let good = |endpoint: &str| {
        let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().ok()? != 0).then_some(())
    };
    match &settings.zmq_hashblock {
        Some(endpoint) if good(endpoint).is_none() => {
            Err(SettingsError::Zmq { node: settings.name.clone(), endpoint: endpoint.clone() })
        }
        _ => Ok(()),
    }
}

/// How many times harder than difficulty 1 a compact target is; 0 for one that cannot be met. The parser lets none through.
fn difficulty(bits: u32) -> f64 {
    Target::from_compact(bits).map_or(0.0, |target| target.difficulty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Auth;
    use warppool_work::Chain;

    #[test]
    fn difficulty_is_that_of_the_chain() {
        for (bits, expected) in
            [(0x1d00_ffff, 1.0), (0x1b04_04cb, 16_307.420_938_523_983), (0x207f_ffff, 4.656_542e-10)]
        {
            let found = difficulty(bits);
            assert!((found / expected - 1.0).abs() < 1e-6, "{bits:08x}: {found}");
        }
    }

    #[tokio::test]
    async fn settings_that_can_never_work_are_refused() {
        let node = |name: &str, url: &str, zmq: Option<&str>| NodeSettings {
            name: name.into(),
            rpc_url: url.into(),
            auth: Auth::None,
            zmq_hashblock: zmq.map(Into::into),
        };
        let good = || node("a", "http://127.0.0.1:1", Some("tcp://127.0.0.1:2"));
        for (nodes, part) in [
            (vec![], "no node"),
            (vec![good(), good()], "two nodes are named a"),
            (vec![node("b", "https://127.0.0.1:1", None)], "node b"),
            (vec![node("b", "http://127.0.0.1:1", Some("127.0.0.1:28332"))], "tcp://"),
            (vec![node("b", "http://127.0.0.1:1", Some("tcp://127.0.0.1"))], "tcp://"),
            (vec![node("b", "http://127.0.0.1:1", Some("ipc:///tmp/x"))], "tcp://"),
        ] {
            let settings = Settings { nodes, ..Settings::new(Chain::Regtest) };
            let error = Nodes::start(settings, &Bus::new(), &CancellationToken::new()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
