//! `secrets.toml`: who the pool is to each node's RPC.

use std::collections::BTreeMap;

use crate::value::Secret;

/// A user and a password for a node's RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// The content of `secrets.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// For every node without its own.
    pub rpc: Option<Credentials>,
    /// By the node's name.
    pub rpc_by_node: BTreeMap<String, Credentials>,
}

impl Secrets {
    /// The credentials for the node of this name.
    pub fn for_node(&self, name: &str) -> Option<&Credentials> {
        self.rpc_by_node.get(name).or(self.rpc.as_ref())
    }
}
