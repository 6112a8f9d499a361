//! The configuration file of a pool under test: what differs from the defaults, by key.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};

use crate::node::SimNode;

/// At this difficulty every hash is a share.
pub(super) const EVERY_HASH: f64 = 1e-10;

/// Everything a pool under test is started with.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// Name, RPC and ZMQ of each node, in the order of preference.
    nodes: Vec<(String, String, Option<String>)>,
    /// Keys with their values as TOML.
    keys: BTreeMap<String, String>,
    /// Its data folder, where it is not to be one of its own.
    pub(super) data: Option<PathBuf>,
    /// A prefix of the command line that limits what the process may have, for a shell.
    pub(super) limits: Option<String>,
}

impl Setup {
    /// Profile small on this node; miners get a share for every hash, and nobody is limited.
    pub(super) fn new(node: &SimNode) -> Self {
        let setup = Self { nodes: Vec::new(), keys: BTreeMap::new(), data: None, limits: None };
        setup
            .node("simulated", node)
            .text("logging.journald", "off")
            .text("mining.chain", "regtest")
            .text("stratum.listen", "127.0.0.1:0")
            .text("server.http_listen", "127.0.0.1:0")
            .text("profile.kind", "small")
            .set("vardiff.min_diff", format!("{EVERY_HASH:e}"))
            .set("vardiff.max_diff", format!("{EVERY_HASH:e}"))
            .set("vardiff.initial_diff", format!("{EVERY_HASH:e}"))
            .set("ledger.commit_seconds", 1)
            .unlimited()
    }

    /// One more node, less preferred than those before.
    pub(super) fn node(mut self, name: &str, node: &SimNode) -> Self {
        let url = node.rpc_url().replace("http://", "http://sim:sim@");
        self.nodes.push((name.to_owned(), url.trim_end_matches('/').to_owned(), node.zmq_url()));
        self
    }

    pub(super) fn set(mut self, key: &str, value: impl Display) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    pub(super) fn text(self, key: &str, value: impl AsRef<str>) -> Self {
        let quoted = serde_json::Value::from(value.as_ref()).to_string();
        self.set(key, quoted)
    }

    pub(super) fn path(self, key: &str, value: &Path) -> Self {
        self.text(key, value.to_string_lossy())
    }

    /// All addresses may come as often as they like.
    pub(super) fn unlimited(self) -> Self {
        self.set("ratelimit.enabled", false).set("stratum.max_connections_per_address", 64)
    }

    /// The token buckets and the cap for an address as they are by default.
    pub(super) fn limited(mut self) -> Self {
        self.keys.remove("stratum.max_connections_per_address");
        self.set("ratelimit.enabled", true)
    }

    /// Difficulties from every hash up to 1; each miner names its own in its password.
    pub(super) fn by_password(self) -> Self {
        self.set("vardiff.max_diff", 1)
    }

    pub(super) fn toml(&self, data: &Path) -> String {
        let mut text = String::new();
        let data = serde_json::Value::from(data.to_string_lossy().into_owned());
        let _ = writeln!(text, "server.data_dir = {data}");
        for (key, value) in &self.keys {
            let _ = writeln!(text, "{key} = {value}");
        }
        for (name, rpc, zmq) in &self.nodes {
            let _ = write!(text, "\n[[node]]\nname = \"{name}\"\nrpc_url = \"{rpc}\"\n");
            if let Some(zmq) = zmq {
                let _ = writeln!(text, "zmq_hashblock_addr = \"{zmq}\"");
            }
        }
        text
    }
}
