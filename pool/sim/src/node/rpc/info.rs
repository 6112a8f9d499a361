//! The methods that say how the node is: chain, peers, mempool, ZMQ, clock.

use serde_json::{Value, json};

use super::{INVALID_PARAMETER, Params, RpcError};
use crate::node::shared::Shared;

/// The version the node says it is: a Core of today.
const VERSION: u32 = 310_000;

/// The chain's name, or the one it pretends.
pub(super) fn chain_name(node: &Shared) -> String {
    let pretended = node.faults.borrow().chain_name.clone();
    pretended.unwrap_or_else(|| node.options.chain.to_core_arg().to_owned())
}

pub(super) fn get_blockchain_info(node: &Shared) -> Value {
    let chain = chain_name(node);
    let pretends = node.faults.borrow().initial_download;
    let state = node.state.lock();
    let tip = state.tip_entry();
    let header = &tip.header;
    // As in Core: a tip of yesterday means that the node has yet to catch up.
    let old = header.time < state.now().saturating_sub(24 * 60 * 60);
    let mut info = json!({
        "chain": chain,
        "blocks": state.height(),
        "headers": if pretends { state.height() + 1_000 } else { state.height() },
        "bestblockhash": state.tip().to_string(),
        "bits": format!("{:08x}", header.bits.to_consensus()),
        "target": hex::encode(header.target().to_be_bytes()),
        "difficulty": header.difficulty_float(),
        "time": header.time,
        "mediantime": state.median_time_past(&state.tip()),
        "verificationprogress": if pretends { 0.5 } else { 1.0 },
        "initialblockdownload": pretends || old,
        "chainwork": hex::encode(tip.work.to_be_bytes()),
        "size_on_disk": 0,
        "pruned": false,
        "warnings": [],
    });
    if node.options.chain == bitcoin::Network::Signet {
        info["signet_challenge"] = json!("51");
    }
    info
}

pub(super) fn get_network_info(node: &Shared) -> Value {
    let peers = node.peer_count();
    json!({
        "version": VERSION,
        "subversion": "/Satoshi:31.0.0/",
        "protocolversion": 70_016,
        "localservices": "0000000000000c09",
        "localservicesnames": ["NETWORK", "WITNESS", "NETWORK_LIMITED", "P2P_V2"],
        "localrelay": true,
        "timeoffset": 0,
        "networkactive": true,
        "connections": peers,
        "connections_in": 0,
        "connections_out": peers,
        "networks": [],
        "relayfee": 0.000_001,
        "incrementalfee": 0.000_001,
        "localaddresses": [],
        "warnings": [],
    })
}

pub(super) fn get_peer_info(node: &Shared) -> Value {
    let height = node.state.lock().height();
    let peers = (0..node.peer_count()).map(|id| {
        json!({
            "id": id,
            "addr": format!("192.0.2.{}:8333", id % 254 + 1),
            "network": "ipv4",
            "inbound": false,
            "subver": "/Satoshi:31.0.0/",
            "version": 70_016,
            "startingheight": height,
            "synced_headers": height,
            "synced_blocks": height,
            "pingtime": 0.05,
            "connection_type": "outbound-full-relay",
        })
    });
    peers.collect()
}

pub(super) fn get_mempool_info(node: &Shared) -> Value {
    let state = node.state.lock();
    let bytes: u64 = state.mempool().iter().map(|tx| tx.weight.div_ceil(4)).sum();
    let fees: u64 = state.mempool().iter().map(|tx| tx.fee).sum();
    json!({
        "loaded": true,
        "size": state.mempool().len(),
        "bytes": bytes,
        "usage": bytes,
        "total_fee": bitcoin::Amount::from_sat(fees).to_btc(),
        "maxmempool": 300_000_000,
        "mempoolminfee": 0.000_001,
        "minrelaytxfee": 0.000_001,
        "unbroadcastcount": 0,
    })
}

pub(super) fn get_zmq_notifications(node: &Shared) -> Value {
    let Some(address) = node.zmq.endpoint() else { return json!([]) };
    let topics = ["pubhashblock", "pubrawblock"];
    topics.iter().map(|topic| json!({ "type": topic, "address": address, "hwm": 100_000 })).collect()
}

pub(super) fn set_mock_time(node: &Shared, params: &Params) -> Result<Value, RpcError> {
    let time = u32::try_from(params.integer(0, "timestamp")?);
    let time = time.map_err(|_| RpcError::new(INVALID_PARAMETER, "Mocktime must be in the range [0, 4294967295]"))?;
    node.state.lock().set_time((time > 0).then_some(time));
    Ok(Value::Null)
}
