//! The methods that look blocks up: by hash, by height, as a header, whole.

use bitcoin::{Block, BlockHash, consensus};
use serde_json::{Map, Value, json};

use super::{INVALID_ADDRESS_OR_KEY, INVALID_PARAMETER, MISC_ERROR, Params, RpcError, wrong_type};
use crate::node::chain::{Entry, State};
use crate::node::shared::Shared;
use crate::node::validate::stripped_size;

pub(super) fn get_best_block_hash(node: &Shared) -> Value {
    json!(node.state.lock().tip().to_string())
}

pub(super) fn get_block_count(node: &Shared) -> Value {
    json!(node.state.lock().height())
}

pub(super) fn get_block_hash(node: &Shared, params: &Params) -> Result<Value, RpcError> {
    let height = params.integer(0, "height")?;
    let hash = u32::try_from(height).ok().and_then(|height| node.state.lock().hash_at(height));
    let hash = hash.ok_or_else(|| RpcError::new(INVALID_PARAMETER, "Block height out of range"))?;
    Ok(json!(hash.to_string()))
}

pub(super) fn get_block_header(node: &Shared, params: &Params) -> Result<Value, RpcError> {
    let hash = params.hash(0, "blockhash")?;
    let verbose = match params.get(1, "verbose") {
        None => true,
        Some(Value::Bool(verbose)) => *verbose,
        Some(other) => return Err(wrong_type(other, 1, "verbose", "bool")),
    };
    let state = node.state.lock();
    let entry = find(&state, &hash)?;
    if verbose {
        Ok(header_json(&state, &hash, entry).into())
    } else {
        Ok(json!(consensus::encode::serialize_hex(&entry.header)))
    }
}

pub(super) fn get_block(node: &Shared, params: &Params) -> Result<Value, RpcError> {
    let hash = params.hash(0, "blockhash")?;
    let verbosity = match params.get(1, "verbosity") {
        None | Some(Value::Bool(true)) => 1,
        Some(Value::Bool(false)) => 0,
        Some(other) => other.as_i64().ok_or_else(|| wrong_type(other, 1, "verbosity", "number"))?,
    };
    let state = node.state.lock();
    let entry = find(&state, &hash)?;
    let Some(body) = &entry.body else {
        let pruned = entry.stored();
        let message =
            if pruned { "Block not available (pruned data)" } else { "Block not available (not fully downloaded)" };
        return Err(RpcError::new(MISC_ERROR, message));
    };
    match verbosity {
        ..=0 => Ok(json!(hex::encode(body))),
        1 => {
            let block: Block = consensus::deserialize(body)
                .map_err(|error| RpcError::new(MISC_ERROR, format!("Can't read block from disk: {error}")))?;
            let mut fields = header_json(&state, &hash, entry);
            fields.insert("strippedsize".into(), json!(stripped_size(&block)));
            fields.insert("size".into(), json!(body.len()));
            fields.insert("weight".into(), json!(block.weight().to_wu()));
            let txids: Vec<String> = block.txdata.iter().map(|tx| tx.compute_txid().to_string()).collect();
            fields.insert("tx".into(), json!(txids));
            Ok(fields.into())
        }
        _ => Err(RpcError::new(INVALID_PARAMETER, "the simulated node knows verbosity 0 and 1")),
    }
}

fn find<'a>(state: &'a State, hash: &BlockHash) -> Result<&'a Entry, RpcError> {
    state.entry(hash).ok_or_else(|| RpcError::new(INVALID_ADDRESS_OR_KEY, "Block not found"))
}

/// A header as Core shows it; -1 confirmations where it is not in the best chain.
fn header_json(state: &State, hash: &BlockHash, entry: &Entry) -> Map<String, Value> {
    let header = &entry.header;
    let active = state.in_best_chain(hash);
    let confirmations = if active { i64::from(state.height() - entry.height) + 1 } else { -1 };
    let version = header.version.to_consensus();
    let fields = json!({
        "hash": hash.to_string(),
        "confirmations": confirmations,
        "height": entry.height,
        "version": version,
        "versionHex": format!("{version:08x}"),
        "merkleroot": header.merkle_root.to_string(),
        "time": header.time,
        "mediantime": state.median_time_past(hash),
        "nonce": header.nonce,
        "bits": format!("{:08x}", header.bits.to_consensus()),
        "target": hex::encode(header.target().to_be_bytes()),
        "difficulty": header.difficulty_float(),
        "chainwork": hex::encode(entry.work.to_be_bytes()),
        "nTx": entry.transactions,
    });
    let Value::Object(mut fields) = fields else { return Map::new() };
    if entry.height > 0 {
        fields.insert("previousblockhash".into(), json!(header.prev_blockhash.to_string()));
    }
    if let Some(next) = state.hash_at(entry.height + 1).filter(|_| active) {
        fields.insert("nextblockhash".into(), json!(next.to_string()));
    }
    fields
}
