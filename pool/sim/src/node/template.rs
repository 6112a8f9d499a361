//! The answer to getblocktemplate, rendered once for each state of chain and mempool.
//! Four thousand transactions are some four megabytes of JSON: only `curtime` is filled in when somebody asks.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::{BlockHash, CompactTarget, Network, Target, Txid};
use bytes::Bytes;

use super::assemble::commitment_script;
use super::chain::State;
use super::transactions::PoolTx;
use super::validate::{MAX_SIGOPS, MAX_WEIGHT};

/// All a template says, taken from the state under its lock and rendered outside of it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    tip: BlockHash,
    sequence: u64,
    height: u32,
    subsidy: u64,
    bits: CompactTarget,
    chain: Network,
    minimum_time: u32,
    transactions: Vec<Arc<PoolTx>>,
}

impl Snapshot {
    pub(crate) fn take(state: &State) -> Self {
        let tip = state.tip();
        Self {
            tip,
            sequence: state.sequence(),
            height: state.height() + 1,
            subsidy: state.subsidy(state.height() + 1),
            bits: state.bits(),
            chain: state.chain(),
            minimum_time: state.minimum_time(&tip),
            transactions: state.select(),
        }
    }

    pub(crate) fn render(&self) -> Rendered {
        let signet = self.chain == Network::Signet;
        let rules = if signet { r#""csv","!segwit","taproot","!signet""# } else { r#""csv","!segwit","taproot""# };
        let challenge = if signet { r#","signet_challenge":"51""# } else { "" };
        let fees: u64 = self.transactions.iter().map(|tx| tx.fee).sum();
        let value = self.subsidy + fees;
        let target = hex::encode(Target::from_compact(self.bits).to_be_bytes());
        let longpollid = format!("{}{}", self.tip, self.sequence);
        let commitment = commitment_script(self.transactions.iter().map(AsRef::as_ref));

        let intro = format!(
            r#"{{"capabilities":["proposal"],"version":536870912,"rules":[{rules}],"vbavailable":{{}},"vbrequired":0,"previousblockhash":"{}","transactions":["#,
            self.tip
        );
        let middle = format!(
            r#"],"coinbaseaux":{{}},"coinbasevalue":{value},"longpollid":"{longpollid}","target":"{target}","mintime":{},"mutable":["time","transactions","prevblock"],"noncerange":"00000000ffffffff","sigoplimit":{MAX_SIGOPS},"sizelimit":{MAX_WEIGHT},"weightlimit":{MAX_WEIGHT},"curtime":"#,
            self.minimum_time
        );
        let tail = format!(
            r#","bits":"{:08x}","height":{}{challenge},"default_witness_commitment":"{}"}}"#,
            self.bits.to_consensus(),
            self.height,
            commitment.to_hex_string(),
        );
        Rendered {
            sequence: self.sequence,
            longpollid,
            minimum_time: self.minimum_time,
            before_curtime: [intro.into(), self.render_transactions().into(), middle.into()],
            after_curtime: tail.into(),
        }
    }

    fn render_transactions(&self) -> String {
        let bytes: usize = self.transactions.iter().map(|tx| tx.json.len() + 16).sum();
        let mut json = String::with_capacity(bytes);
        let mut places: HashMap<Txid, usize> = HashMap::with_capacity(self.transactions.len());
        for (place, tx) in (1..).zip(&self.transactions) {
            if place > 1 {
                json.push(',');
            }
            json.push_str(&tx.json);
            let parents = tx.tx.input.iter().filter_map(|input| places.get(&input.previous_output.txid));
            let parents: Vec<String> = parents.map(ToString::to_string).collect();
            json.push_str(&parents.join(","));
            json.push_str("]}");
            places.insert(tx.txid, place);
        }
        json
    }
}

/// A template but for its `curtime`.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) sequence: u64,
    pub(crate) longpollid: String,
    minimum_time: u32,
    before_curtime: [Bytes; 3],
    after_curtime: Bytes,
}

impl Rendered {
    /// The JSON object in pieces, as of `now`.
    pub(crate) fn at(&self, now: u32) -> Vec<Bytes> {
        let curtime = now.max(self.minimum_time).to_string();
        let mut pieces = self.before_curtime.to_vec();
        pieces.extend([curtime.into(), self.after_curtime.clone()]);
        pieces
    }
}
