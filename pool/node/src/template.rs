//! getblocktemplate's JSON to a [`Template`]: one pass over the text, hex decoded straight to its place.
//!
//! A transaction that stood in the template before is not decoded again but shared. Nothing in the text is believed
//! before it is checked: sizes are bounded first, sums do not overflow, and what does not fit names its field.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Transaction, consensus};
use warppool_work::hash::sha256d;
use warppool_work::{Chain, Hash, Target, Template, TemplateTx, witness_commitment};

use crate::TemplateError as Error;
use crate::error::printable;

mod raw;

pub(crate) use raw::RawTemplate;
use raw::RawTx;

/// Consensus limits: a node may offer less, never more.
const MAX_WEIGHT: u32 = 4_000_000;
const MAX_SIGOPS: u32 = 80_000;
const MAX_MONEY: u64 = 21_000_000 * 100_000_000;
/// The smallest transaction that is valid in a block weighs more than this.
const LEAST_TX_WEIGHT: u32 = 4 * 60;
/// Core's is a block hash and a counter.
const LONGEST_POLL_ID: usize = 256;
/// `OP_TRUE`: anybody may make this signet's blocks.
const OPEN_SIGNET: &str = "51";
/// `OP_RETURN`, push 36, and the four bytes of BIP141.
const COMMITMENT_HEAD: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
const COMMITMENT_LEN: usize = 38;

/// Turns one node's templates into the pool's; keeps the last one's transactions to share them.
#[derive(Debug)]
pub struct TemplateParser {
    chain: Chain,
    /// By wtxid.
    known: HashMap<Hash, Arc<TemplateTx>>,
    last: Option<(Hash, u32)>,
}

/// A template and what is needed to ask for the next.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub template: Template,
    /// To be sent back with the next long poll; `None` when the node offers none.
    pub long_poll_id: Option<String>,
    /// Transactions taken over from the template before, undecoded.
    pub shared: usize,
}

impl TemplateParser {
    pub fn new(chain: Chain) -> Self {
        Self { chain, known: HashMap::new(), last: None }
    }

    /// Parses the `result` of a getblocktemplate call. An error leaves the parser as it was.
    ///
    /// `max_time` is `u32::MAX`: where `bits` depends on time, the caller knows the previous block's time and narrows it.
    pub fn parse(&mut self, result: &[u8]) -> Result<Parsed, Error> {
        let raw: RawTemplate<'_> =
            serde_json::from_slice(result).map_err(|e| Error::Json(printable(&e.to_string())))?;
        self.convert(&raw)
    }

    pub(crate) fn convert(&mut self, raw: &RawTemplate<'_>) -> Result<Parsed, Error> {
        let segwit_rule = self.check_rules(raw)?;
        let height = ranged("height", raw.height, 1, u32::MAX - 1)?;
        let prev_hash = display_hash(raw.previousblockhash.as_bytes())
            .ok_or_else(|| field("previousblockhash", &raw.previousblockhash, "64 hex digits"))?;
        if let Some((tip, before)) = self.last
            && tip == prev_hash
            && before != height
        {
            return Err(Error::HeightChanged { height, before });
        }
        let version =
            i32::try_from(raw.version).map(|v| v as u32).or_else(|_| ranged("version", raw.version, 0, u32::MAX))?;
        let bits = check_bits(&raw.bits, raw.target.as_deref())?;
        let cur_time = ranged("curtime", raw.curtime, 0, u32::MAX)?;
        let min_time = ranged("mintime", raw.mintime, 0, cur_time)?;
        let weight_limit = ranged("weightlimit", raw.weightlimit, LEAST_TX_WEIGHT, MAX_WEIGHT)?;
        let sigop_limit = ranged("sigoplimit", raw.sigoplimit, 1, MAX_SIGOPS)?;
        let coinbase_value = ranged64("coinbasevalue", raw.coinbasevalue, MAX_MONEY)?;

        let Transactions { list, known, fees, shared } =
            self.transactions(raw.transactions.as_slice(), weight_limit, sigop_limit)?;
        let most = self.chain.subsidy(height) + fees;
        if coinbase_value > most {
            return Err(Error::CoinbaseValue { value: coinbase_value, most });
        }
        let commitment = raw.default_witness_commitment.as_deref();
        let witness_commitment = commitment.map(|hex| check_commitment(hex, &list)).transpose()?;

        self.known = known;
        self.last = Some((prev_hash, height));
        Ok(Parsed {
            template: Template {
                height,
                version,
                prev_hash,
                bits,
                min_time,
                max_time: u32::MAX,
                cur_time,
                coinbase_value,
                transactions: list,
                segwit: segwit_rule || witness_commitment.is_some(),
                witness_commitment,
                weight_limit,
                sigop_limit,
            },
            long_poll_id: raw.longpollid.filter(|id| id.len() <= LONGEST_POLL_ID).map(String::from),
            shared,
        })
    }

    /// Whether the rules name segwit.
    fn check_rules(&self, raw: &RawTemplate<'_>) -> Result<bool, Error> {
        let mut segwit = false;
        for rule in &raw.rules {
            // `!`: a block made without knowing the rule may be invalid.
            let (name, required) = rule.strip_prefix('!').map_or((&**rule, false), |name| (name, true));
            segwit |= name == "segwit";
            if required && !matches!(name, "segwit" | "signet" | "csv" | "taproot") {
                return Err(Error::UnknownRule(printable(name)));
            }
        }
        match raw.signet_challenge.as_deref() {
            Some(OPEN_SIGNET) => {}
            Some(challenge) => return Err(Error::SignedSignet(printable(challenge))),
            None if self.chain == Chain::Signet => {
                return Err(field("signet_challenge", "(absent)", "the challenge of a signet"));
            }
            None => {}
        }
        Ok(segwit)
    }

    fn transactions(&self, raw: &[RawTx<'_>], weight_limit: u32, sigop_limit: u32) -> Result<Transactions, Error> {
        let mut list = Vec::with_capacity(raw.len());
        let mut known = HashMap::with_capacity(raw.len());
        let (mut weight, mut sigops, mut fees, mut shared) = (0_u64, 0_u64, 0_u64, 0);
        for (index, tx) in raw.iter().enumerate() {
            let wtxid = display_hash(tx.hash).ok_or(Error::TransactionHex { index, field: "hash" })?;
            let txid = display_hash(tx.txid).ok_or(Error::TransactionHex { index, field: "txid" })?;
            let wrong = |what| Error::Transaction { index, what };
            let this = Numbers {
                fee: u64::try_from(tx.fee).ok().filter(|&f| f <= MAX_MONEY).ok_or(wrong("its fee is implausible"))?,
                sigops: u32::try_from(tx.sigops).map_err(|_| wrong("its sigops are negative or too many"))?,
                weight: u32::try_from(tx.weight).map_err(|_| wrong("its weight is negative or too large"))?,
            };
            weight += u64::from(this.weight);
            sigops += u64::from(this.sigops);
            fees += this.fee;
            if weight > weight_limit.into() {
                return Err(wrong("with it the transactions weigh more than weightlimit"));
            }
            if sigops > sigop_limit.into() {
                return Err(wrong("with it the transactions have more sigops than sigoplimit"));
            }
            if fees > MAX_MONEY {
                return Err(wrong("with it the fees are more than all bitcoin"));
            }
            let tx = if let Some(same) = self.known.get(&wtxid).filter(|old| this.fits(old, txid, tx.data)) {
                shared += 1;
                Arc::clone(same)
            } else {
                Arc::new(this.decode(index, txid, wtxid, tx.data)?)
            };
            if known.insert(wtxid, Arc::clone(&tx)).is_some() {
                return Err(wrong("it stands in the template twice"));
            }
            list.push(tx);
        }
        Ok(Transactions { list, known, fees, shared })
    }
}

struct Transactions {
    list: Vec<Arc<TemplateTx>>,
    known: HashMap<Hash, Arc<TemplateTx>>,
    fees: u64,
    shared: usize,
}

/// A transaction's figures, checked.
struct Numbers {
    fee: u64,
    sigops: u32,
    weight: u32,
}

impl Numbers {
    /// Whether `old` is this very transaction, as far as can be told without decoding it.
    fn fits(&self, old: &TemplateTx, txid: Hash, data: &[u8]) -> bool {
        old.txid == txid
            && old.data.len() * 2 == data.len()
            && (old.fee, old.sigops, old.weight) == (self.fee, self.sigops, self.weight)
    }

    fn decode(self, index: usize, txid: Hash, wtxid: Hash, hex: &[u8]) -> Result<TemplateTx, Error> {
        let bad_hex = Error::TransactionHex { index, field: "data" };
        // weight = 3 × (size without witness) + size: between one and four times the size. Bounds what is allocated.
        let size = hex.len() as u64 / 2;
        if size > self.weight.into() || size * 4 < self.weight.into() || self.weight < LEAST_TX_WEIGHT {
            return Err(Error::Transaction { index, what: "its weight does not fit its size" });
        }
        let Ok(data) = const_hex::decode(hex) else { return Err(bad_hex) };
        // const-hex takes a leading 0x, which no node sends.
        if data.len() * 2 != hex.len() {
            return Err(bad_hex);
        }
        let wrong = |what| Error::Transaction { index, what };
        let tx: Transaction = consensus::deserialize(&data).map_err(|_| wrong("its data is not a transaction"))?;
        if tx.compute_txid().to_byte_array() != txid {
            return Err(wrong("its txid is not that of its data"));
        }
        // It was read to its last byte, and there is but one way to write it.
        if sha256d(&data) != wtxid {
            return Err(wrong("its hash is not that of its data"));
        }
        Ok(TemplateTx { txid, wtxid, data: data.into(), fee: self.fee, sigops: self.sigops, weight: self.weight })
    }
}

/// 64 hex digits in display order, as a hash in internal order.
pub(crate) fn display_hash(hex: &[u8]) -> Option<Hash> {
    let mut hash = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    const_hex::decode_to_slice(hex, &mut hash).ok()?;
    hash.reverse();
    Some(hash)
}

/// The reverse of [`display_hash`].
pub(crate) fn hash_display(hash: &Hash) -> String {
    let mut reversed = *hash;
    reversed.reverse();
    const_hex::encode(reversed)
}

/// 8 hex digits, big-endian: a compact target as nodes write it.
pub(crate) fn compact(hex: &str) -> Option<u32> {
    // `from_str_radix` alone takes a sign.
    let digits = hex.len() == 8 && hex.bytes().all(|c| c.is_ascii_hexdigit());
    u32::from_str_radix(hex, 16).ok().filter(|_| digits)
}

/// The compact target, checked to be one, and to be what `target` spells out.
fn check_bits(bits: &str, target: Option<&str>) -> Result<u32, Error> {
    let value = compact(bits).ok_or_else(|| field("bits", bits, "8 hex digits"))?;
    let expanded = expand(value).ok_or_else(|| field("bits", bits, "the compact form of a target"))?;
    match target {
        Some(target) if !target.eq_ignore_ascii_case(&const_hex::encode(expanded)) => {
            Err(field("target", target, "the target that bits stands for"))
        }
        _ => Ok(value),
    }
}

/// Big-endian; `None` for zero, negative or more than 256 bits.
fn expand(bits: u32) -> Option<[u8; 32]> {
    let mut target = Target::from_compact(bits).ok()?.to_le_bytes();
    target.reverse();
    Some(target)
}

/// The commitment's script, checked to commit to these transactions.
fn check_commitment(hex: &str, transactions: &[Arc<TemplateTx>]) -> Result<Vec<u8>, Error> {
    let expected = |expected| field("default_witness_commitment", hex, expected);
    let script = Some(hex)
        .filter(|h| h.len() == COMMITMENT_LEN * 2)
        .and_then(|h| const_hex::decode(h).ok())
        .filter(|script| script.len() == COMMITMENT_LEN && script.starts_with(&COMMITMENT_HEAD))
        .ok_or_else(|| expected("the script of a witness commitment"))?;
    if script != witness_commitment(transactions) {
        return Err(expected("the commitment to the template's transactions"));
    }
    Ok(script)
}

fn field(field: &'static str, value: &str, expected: &'static str) -> Error {
    Error::Field { field, value: printable(value), expected }
}

fn ranged(field: &'static str, value: i64, least: u32, most: u32) -> Result<u32, Error> {
    u32::try_from(value).ok().filter(|v| (least..=most).contains(v)).ok_or(Error::Range {
        field,
        value: value.into(),
        least: least.into(),
        most: most.into(),
    })
}

fn ranged64(field: &'static str, value: i64, most: u64) -> Result<u64, Error> {
    u64::try_from(value).ok().filter(|&v| v <= most).ok_or(Error::Range {
        field,
        value: value.into(),
        least: 0,
        most: most.into(),
    })
}

#[cfg(test)]
mod tests;
