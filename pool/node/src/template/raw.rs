//! The fields of getblocktemplate that the pool uses, borrowed from the answer's text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// More transactions than fit into a block; the list is given up beyond.
const MOST_TRANSACTIONS: usize = 20_000;
const MOST_RULES: usize = 64;

#[derive(Debug, Deserialize)]
pub(crate) struct RawTemplate<'a> {
    pub(super) version: i64,
    #[serde(borrow, default, deserialize_with = "rules")]
    pub(super) rules: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) previousblockhash: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) transactions: RawTransactions<'a>,
    pub(super) coinbasevalue: i64,
    #[serde(borrow, default)]
    pub(super) longpollid: Option<&'a str>,
    #[serde(borrow, default)]
    pub(super) target: Option<Cow<'a, str>>,
    pub(super) mintime: i64,
    pub(super) curtime: i64,
    pub(super) sigoplimit: i64,
    pub(super) weightlimit: i64,
    #[serde(borrow)]
    pub(super) bits: Cow<'a, str>,
    pub(super) height: i64,
    #[serde(borrow, default)]
    pub(super) signet_challenge: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) default_witness_commitment: Option<Cow<'a, str>>,
}

/// Hex is taken as bytes: that spares the check for UTF-8 over megabytes, and hex digits are checked anyway.
#[derive(Debug, Deserialize)]
pub(super) struct RawTx<'a> {
    #[serde(borrow)]
    pub(super) data: &'a [u8],
    #[serde(borrow)]
    pub(super) txid: &'a [u8],
    /// The wtxid.
    #[serde(borrow)]
    pub(super) hash: &'a [u8],
    pub(super) fee: i64,
    pub(super) sigops: i64,
    pub(super) weight: i64,
}

/// At most [`MOST_TRANSACTIONS`].
#[derive(Debug)]
pub(super) struct RawTransactions<'a>(Vec<RawTx<'a>>);

impl<'a> RawTransactions<'a> {
    pub(super) fn as_slice(&self) -> &[RawTx<'a>] {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawTransactions<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Bounded::<RawTx<'a>, MOST_TRANSACTIONS>::new("transactions")).map(Self)
    }
}

fn rules<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Cow<'a, str>>, D::Error> {
    let rules: Vec<BorrowedText<'a>> =
        deserializer.deserialize_seq(Bounded::<BorrowedText<'a>, MOST_RULES>::new("rules"))?;
    Ok(rules.into_iter().map(|rule| rule.0).collect())
}

/// `Cow` alone copies; only as a field that says `borrow` it borrows.
#[derive(Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

/// A list that may not be longer than `MOST`.
struct Bounded<T, const MOST: usize> {
    of: &'static str,
    items: Vec<T>,
}

impl<T, const MOST: usize> Bounded<T, MOST> {
    fn new(of: &'static str) -> Self {
        Self { of, items: Vec::new() }
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Bounded<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} {}", self.of)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Vec<T>, A::Error> {
        while let Some(item) = seq.next_element()? {
            if self.items.len() == MOST {
                return Err(A::Error::custom(format_args!("more than {MOST} {}", self.of)));
            }
            self.items.push(item);
        }
        Ok(self.items)
    }
}
