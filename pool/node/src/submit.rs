//! What a node says of a block: when it is handed over, and later; and of its tip.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::RpcError;
use crate::error::{code, printable};
use crate::rpc::{Patience, Reply, Rpc};
use crate::template::compact;

const GET_HEADER: &str = "getblockheader";

/// submitblock's answer. None of them is the last word: the chain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitAnswer {
    Accepted,
    /// The node had it already, and it is valid.
    Duplicate,
    /// The node had it already, and has not validated it to the end.
    DuplicateInconclusive,
    /// The node had it already, and it is invalid.
    DuplicateInvalid,
    /// Not invalid as far as was checked: a valid block that is not on the best chain is answered so too.
    Inconclusive,
    /// Invalid, with the node's reason.
    Rejected(String),
}

impl SubmitAnswer {
    fn from_result(result: Option<&str>) -> Self {
        match result {
            None => Self::Accepted,
            Some("duplicate") => Self::Duplicate,
            Some("duplicate-inconclusive") => Self::DuplicateInconclusive,
            Some("duplicate-invalid") => Self::DuplicateInvalid,
            Some("inconclusive") => Self::Inconclusive,
            Some(reason) => Self::Rejected(printable(reason)),
        }
    }

    /// Whether the node has the block and does not hold it for invalid.
    pub fn is_held(&self) -> bool {
        !matches!(self, Self::DuplicateInvalid | Self::Rejected(_))
    }
}

/// Where a block stands in a node's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStatus {
    /// In the best chain; the tip has one confirmation.
    Confirmed {
        confirmations: u32,
        height: u32,
    },
    /// Known, but not in the best chain.
    SideChain {
        height: u32,
    },
    Unknown,
}

/// A node's tip, as far as a block on it needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TipHeader {
    pub height: u32,
    /// Of it and the ten blocks before: the next block's time has to be later. Seconds since 1970.
    pub median_time: u32,
    /// The compact target that this block met.
    pub bits: u32,
}

#[derive(Deserialize)]
struct Header<'a> {
    confirmations: i64,
    height: u32,
    mediantime: Option<u32>,
    #[serde(borrow)]
    bits: Option<Cow<'a, str>>,
}

pub(crate) async fn submit(rpc: &Rpc, block_hex: &str, patience: Patience) -> Result<SubmitAnswer, RpcError> {
    let answer = rpc.call("submitblock", &[block_hex], patience).await.and_then(|reply| {
        let result: Option<String> = reply.result()?;
        Ok(SubmitAnswer::from_result(result.as_deref()))
    });
    match answer {
        // "Block decode failed": an answer about this block, not about the node.
        Err(RpcError::Rpc { code: code::DESERIALIZATION, message, .. }) => Ok(SubmitAnswer::Rejected(message)),
        other => other,
    }
}

pub(crate) async fn status(rpc: &Rpc, hash: &str, patience: Patience) -> Result<BlockStatus, RpcError> {
    let Some(reply) = header(rpc, hash, patience).await? else { return Ok(BlockStatus::Unknown) };
    let Header { confirmations, height, .. } = reply.value()?;
    Ok(match u32::try_from(confirmations) {
        Ok(confirmations @ 1..) => BlockStatus::Confirmed { confirmations, height },
        _ => BlockStatus::SideChain { height },
    })
}

/// `None` when the block is not the node's tip.
pub(crate) async fn tip(rpc: &Rpc, hash: &str, patience: Patience) -> Result<Option<TipHeader>, RpcError> {
    let Some(reply) = header(rpc, hash, patience).await? else { return Ok(None) };
    let Header { confirmations, height, mediantime, bits } = reply.value()?;
    if confirmations != 1 {
        return Ok(None);
    }
    let missing =
        |field| RpcError::Malformed { method: GET_HEADER, reason: format!("its {field} is missing or wrong") };
    Ok(Some(TipHeader {
        height,
        median_time: mediantime.ok_or_else(|| missing("mediantime"))?,
        bits: bits.as_deref().and_then(compact).ok_or_else(|| missing("bits"))?,
    }))
}

/// `None` when the node does not know the block.
async fn header(rpc: &Rpc, hash: &str, patience: Patience) -> Result<Option<Reply>, RpcError> {
    let answer = rpc.call(GET_HEADER, &json!([hash, true]), patience).await;
    // Core says so with an HTTP status of its own or, to a JSON-RPC 2.0 request, within a good answer.
    match answer.and_then(|reply| reply.result::<IgnoredAny>().map(|_| reply)) {
        Ok(reply) => Ok(Some(reply)),
        Err(RpcError::Rpc { code: code::INVALID_ADDRESS_OR_KEY, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_submitblock_is_told_apart() {
        for (result, answer, held) in [
            (None, SubmitAnswer::Accepted, true),
            (Some("duplicate"), SubmitAnswer::Duplicate, true),
            (Some("duplicate-inconclusive"), SubmitAnswer::DuplicateInconclusive, true),
            (Some("duplicate-invalid"), SubmitAnswer::DuplicateInvalid, false),
            (Some("inconclusive"), SubmitAnswer::Inconclusive, true),
            (Some("high-hash"), SubmitAnswer::Rejected("high-hash".into()), false),
            (Some(""), SubmitAnswer::Rejected(String::new()), false),
        ] {
            assert_eq!(SubmitAnswer::from_result(result), answer);
            assert_eq!(answer.is_held(), held, "{answer:?}");
        }
    }
}
