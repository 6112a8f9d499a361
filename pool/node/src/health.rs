//! Looks after one node: is it there, on the right chain, in step with the network?

use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use warppool_work::{Chain, Hash};

use crate::error::printable;
use crate::node::Node;
use crate::rpc::Patience;
use crate::template::display_hash;
use crate::{Advice, RpcError, Settings};

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) chain: String,
    pub(crate) height: u32,
    pub(crate) best: Option<Hash>,
    pub(crate) headers: u32,
    pub(crate) progress: f64,
    pub(crate) initial_download: bool,
    pub(crate) difficulty: f64,
    pub(crate) peers: Option<u32>,
    pub(crate) version: Option<u32>,
    pub(crate) subversion: Option<String>,
    /// Where it publishes block hashes; asked only while ZMQ is out of order.
    pub(crate) zmq_published: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ChainInfo {
    chain: String,
    blocks: u32,
    headers: u32,
    bestblockhash: Option<String>,
    #[serde(default)]
    verificationprogress: f64,
    #[serde(default)]
    initialblockdownload: bool,
    #[serde(default)]
    difficulty: f64,
}

#[derive(Deserialize)]
struct NetworkInfo {
    version: Option<u32>,
    subversion: Option<String>,
    connections: Option<u32>,
}

#[derive(Deserialize)]
struct ZmqNotification {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// Checks again and again until `shutdown`.
pub(crate) async fn watch(node: Arc<Node>, settings: Arc<Settings>, shutdown: CancellationToken) {
    let patience = Patience::AtMost(settings.rpc_timeout);
    let rounds = async {
        loop {
            let started = Instant::now();
            let (pause, outcome) = match check(&node, patience).await {
                Ok(facts) => {
                    let took = started.elapsed();
                    let ill = diagnose(&facts, node.chain);
                    let pause = if ill.is_some() { settings.retry_interval } else { settings.poll_interval };
                    (pause, (Some(facts), Some(took), ill))
                }
                Err(error) => {
                    // Core writes a line into its log for each refused login.
                    let refused = matches!(error, RpcError::Unauthorized { .. } | RpcError::Forbidden { .. });
                    let pause = if refused { settings.poll_interval } else { settings.retry_interval };
                    (pause, (None, None, Some(Advice::rpc(&error, node.chain))))
                }
            };
            let (facts, took, ill) = outcome;
            node.set_health(facts, took, ill);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = node.check_requested() => {}
            }
        }
    };
    tokio::select! {
        () = rounds => {}
        () = shutdown.cancelled() => {}
    }
}

async fn check(node: &Node, patience: Patience) -> Result<Facts, RpcError> {
    let reply = node.rpc.call("getblockchaininfo", &json!([]), patience).await?;
    let info: ChainInfo = reply.value()?;
    // The rest is good to know; a node that does not tell (rpcwhitelist) is as good.
    let network: Option<NetworkInfo> = match node.rpc.call("getnetworkinfo", &json!([]), patience).await {
        Ok(reply) => reply.value().ok(),
        Err(_) => None,
    };
    let zmq_published = if node.zmq_needs_help() { published(node, patience).await } else { None };
    let (version, subversion, peers) = network.map_or((None, None, None), |n| (n.version, n.subversion, n.connections));
    Ok(Facts {
        chain: printable(&info.chain),
        height: info.blocks,
        best: info.bestblockhash.and_then(|hash| display_hash(hash.as_bytes())),
        headers: info.headers,
        progress: info.verificationprogress,
        initial_download: info.initialblockdownload,
        difficulty: info.difficulty,
        peers,
        version,
        subversion: subversion.as_deref().map(printable),
        zmq_published,
    })
}

async fn published(node: &Node, patience: Patience) -> Option<Vec<String>> {
    let reply = node.rpc.call("getzmqnotifications", &json!([]), patience).await.ok()?;
    let all: Vec<ZmqNotification> = reply.value().ok()?;
    Some(all.into_iter().filter(|n| n.kind == "pubhashblock").map(|n| printable(&n.address)).collect())
}

/// Why a node that says this about itself cannot be mined on.
fn diagnose(facts: &Facts, chain: Chain) -> Option<Advice> {
    if facts.chain != chain.core_name() {
        return Some(Advice::wrong_chain(&facts.chain, chain));
    }
    // A test network whose last block is old counts as "in initial download" until somebody mines: us, perhaps.
    let downloads = facts.initial_download
        && match chain {
            Chain::Mainnet => true,
            Chain::Testnet4 | Chain::Signet => facts.headers > facts.height,
            Chain::Regtest => false,
        };
    if downloads {
        return Some(Advice::initial_download(facts.height, facts.headers, facts.progress));
    }
    (chain == Chain::Mainnet && facts.peers == Some(0)).then(Advice::no_peers)
}

#[cfg(test)]
mod tests {
    use warppool_events::NodeState;

    use super::*;

    #[test]
    fn a_node_is_usable_or_it_is_said_why_not() {
        use NodeState::{InitialDownload, NoPeers, WrongChain};
        let facts = |chain: &str, initial_download, height, headers, peers| Facts {
            chain: chain.into(),
            height,
            best: None,
            headers,
            progress: 0.5,
            initial_download,
            difficulty: 1.0,
            peers,
            version: None,
            subversion: None,
            zmq_published: None,
        };
        for (facts, chain, state) in [
            (facts("main", false, 9, 9, Some(8)), Chain::Mainnet, None),
            (facts("main", false, 9, 9, None), Chain::Mainnet, None),
            (facts("main", true, 9, 9, Some(8)), Chain::Mainnet, Some(InitialDownload)),
            (facts("main", false, 9, 9, Some(0)), Chain::Mainnet, Some(NoPeers)),
            (facts("main", true, 5, 9, Some(0)), Chain::Mainnet, Some(InitialDownload)),
            (facts("test", false, 9, 9, Some(8)), Chain::Mainnet, Some(WrongChain)),
            (facts("main", false, 9, 9, Some(8)), Chain::Regtest, Some(WrongChain)),
            (facts("test", false, 9, 9, Some(8)), Chain::Testnet4, Some(WrongChain)),
            (facts("testnet4", true, 5, 9, Some(8)), Chain::Testnet4, Some(InitialDownload)),
            (facts("signet", true, 9, 9, Some(0)), Chain::Signet, None),
            (facts("regtest", true, 0, 9, Some(0)), Chain::Regtest, None),
        ] {
            let found = diagnose(&facts, chain).map(|advice| advice.state);
            assert_eq!(found, state, "{facts:?} on {chain}");
        }
    }
}
