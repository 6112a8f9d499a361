//! The methods a pool lives on: getblocktemplate with its long poll, submitblock, generatetoaddress, getmininginfo.

use std::sync::Arc;

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Block, Network, consensus};
use serde_json::{Value, json};

use super::{
    Answer, CLIENT_IN_INITIAL_DOWNLOAD, CLIENT_NOT_CONNECTED, DESERIALIZATION_ERROR, INVALID_ADDRESS_OR_KEY,
    INVALID_PARAMETER, MISC_ERROR, Params, RpcError, parse_hash,
};
use crate::node::shared::Shared;

/// Blocks one call of generatetoaddress makes at most.
const GENERATED: i64 = 10_000;

pub(super) async fn get_block_template(node: &Arc<Shared>, params: &Params) -> Result<Answer, RpcError> {
    let request = params.object(0, "template_request")?;
    match request.get("mode") {
        None | Some(Value::Null) => {}
        Some(Value::String(mode)) if mode == "template" => {}
        Some(Value::String(mode)) if mode == "proposal" => return propose(node, request),
        Some(_) => return Err(RpcError::new(INVALID_PARAMETER, "Invalid mode")),
    }
    serving(node)?;
    let watched = match request.get("longpollid") {
        Some(Value::String(id)) => {
            // Core reads it as a hash and a number, and knows at once when the hash is not the tip.
            parse_hash(id.get(..64).unwrap_or(id), "longpollid")?;
            Some(id.as_str())
        }
        _ => None,
    };
    let rendered = node.template(watched).await.ok_or_else(|| RpcError::new(CLIENT_NOT_CONNECTED, "Shutting down"))?;
    let rules: Vec<&str> = match request.get("rules") {
        Some(Value::Array(rules)) => rules.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if node.options.chain == Network::Signet && !rules.contains(&"signet") {
        let message = "getblocktemplate must be called with the signet rule set \
                       (call with {\"rules\": [\"segwit\", \"signet\"]})";
        return Err(RpcError::new(INVALID_PARAMETER, message));
    }
    if !rules.contains(&"segwit") {
        let message = "getblocktemplate must be called with the segwit rule set (call with {\"rules\": [\"segwit\"]})";
        return Err(RpcError::new(INVALID_PARAMETER, message));
    }
    let pieces = rendered.at(node.state.lock().now());
    let Some(broken) = node.faults.borrow().template.clone() else { return Ok(Answer::Rendered(pieces)) };
    let mut template = serde_json::from_slice(&pieces.concat()).map_err(|_| RpcError::parse())?;
    broken.apply(&mut template);
    Ok(template.into())
}

/// Whether Core would give a template at all.
fn serving(node: &Shared) -> Result<(), RpcError> {
    let faults = node.faults.borrow();
    if faults.no_peers {
        return Err(RpcError::new(CLIENT_NOT_CONNECTED, "Bitcoin Core is not connected!"));
    }
    if faults.initial_download {
        let message = "Bitcoin Core is in initial sync and waiting for blocks...";
        return Err(RpcError::new(CLIENT_IN_INITIAL_DOWNLOAD, message));
    }
    Ok(())
}

/// Mode "proposal" (BIP23): the judgement of a block without proof of work.
fn propose(node: &Shared, request: &Value) -> Result<Answer, RpcError> {
    let data = request.get("data").and_then(Value::as_str);
    let data = data.ok_or_else(|| RpcError::new(super::TYPE_ERROR, "Missing data String key for proposal"))?;
    let block = decode(data)?;
    let state = node.state.lock();
    if let Some(entry) = state.entry(&block.block_hash()) {
        let answer = match (entry.failed(), entry.stored()) {
            (true, _) => "duplicate-invalid",
            (_, true) => "duplicate",
            _ => "duplicate-inconclusive",
        };
        return Ok(json!(answer).into());
    }
    Ok(json!(crate::node::validate::validate_proposal(&state, &block).err()).into())
}

fn decode(data: &str) -> Result<Block, RpcError> {
    let failed = || RpcError::new(DESERIALIZATION_ERROR, "Block decode failed");
    let bytes = hex::decode(data).map_err(|_| failed())?;
    // Core takes no notice of what follows a block.
    let (block, _) = consensus::encode::deserialize_partial(&bytes).map_err(|_| failed())?;
    Ok(block)
}

pub(super) async fn submit_block(node: &Arc<Shared>, params: &Params) -> Result<Answer, RpcError> {
    let data = params.string(0, "hexdata")?.to_owned();
    let node = Arc::clone(node);
    let answer = tokio::task::spawn_blocking(move || decode(&data).map(|block| node.submit(block)));
    let answer = answer.await.map_err(|error| RpcError::new(MISC_ERROR, error.to_string()))??;
    Ok(json!(answer).into())
}

pub(super) async fn generate_to_address(node: &Arc<Shared>, params: &Params) -> Result<Answer, RpcError> {
    let count = params.integer(0, "nblocks")?;
    if !(0..=GENERATED).contains(&count) {
        return Err(RpcError::new(INVALID_PARAMETER, format!("nblocks must be between 0 and {GENERATED}")));
    }
    let address = params.string(1, "address")?.parse::<Address<NetworkUnchecked>>();
    let address = address.ok().and_then(|address| address.require_network(node.options.chain).ok());
    let address = address.ok_or_else(|| RpcError::new(INVALID_ADDRESS_OR_KEY, "Error: Invalid address"))?;
    let script = address.script_pubkey();
    let node = Arc::clone(node);
    let hashes = tokio::task::spawn_blocking(move || (0..count).map(|_| node.extend(&script)).collect::<Vec<_>>());
    let hashes = hashes.await.map_err(|error| RpcError::new(MISC_ERROR, error.to_string()))?;
    Ok(json!(hashes.iter().map(ToString::to_string).collect::<Vec<_>>()).into())
}

pub(super) fn get_mining_info(node: &Shared) -> Value {
    let state = node.state.lock();
    let tip = state.tip_entry().header;
    let next = state.bits();
    let target = bitcoin::Target::from_compact(next);
    json!({
        "blocks": state.height(),
        "bits": format!("{:08x}", tip.bits.to_consensus()),
        "difficulty": tip.difficulty_float(),
        "target": hex::encode(tip.target().to_be_bytes()),
        "networkhashps": target.to_work().log2().exp2() / 600.0,
        "pooledtx": state.mempool().len(),
        "blockmintxfee": 0.000_000_01,
        "chain": super::info::chain_name(node),
        "next": {
            "height": state.height() + 1,
            "bits": format!("{:08x}", next.to_consensus()),
            "difficulty": target.difficulty_float(),
            "target": hex::encode(target.to_be_bytes()),
        },
        "warnings": [],
    })
}
