//! The keys of the one database: a letter for the kind, then big-endian numbers, so that a range of keys is a span of time.
//!
//! Keeping all kinds in one tree makes a commit touch few pages, which is what wears out a memory card.

use std::ops::Range;

use crate::{Resolution, WorkerId};

/// The names of the single records.
pub(crate) mod meta {
    pub(crate) const FORMAT: &[u8] = b"mformat";
    pub(crate) const CHECKPOINT: &[u8] = b"mcheckpoint";
    pub(crate) const NEXT_WORKER: &[u8] = b"mnext-worker";
    pub(crate) const BESTS: &[u8] = b"mbests";
}

const META: u8 = b'm';
const WORKER: u8 = b'w';
const RAW: u8 = b'r';
const FIVE: u8 = b'f';
const HOUR: u8 = b'h';
const DAY: u8 = b'd';
const BLOCK: u8 = b'b';
const SETTING: u8 = b's';
const AUDIT: u8 = b'a';
const NOTIFY: u8 = b'n';

/// Longest name of a setting: an LMDB key has at most 511 bytes.
pub(crate) const MAX_SETTING_NAME: usize = 400;

/// A key taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Meta(Vec<u8>),
    Worker(WorkerId),
    Raw { bucket: u64, seq: u64 },
    Tier(Resolution, u64),
    Block { height: u32, hash: [u8; 32] },
    Setting(String),
    Audit { at_ms: u64, seq: u32 },
    Notify { at_ms: u64, height: u32 },
}

impl Key {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Meta(name) => name.clone(),
            Self::Worker(id) => join(WORKER, &[&id.0.to_be_bytes()]),
            Self::Raw { bucket, seq } => join(RAW, &[&bucket.to_be_bytes(), &seq.to_be_bytes()]),
            Self::Tier(tier, bucket) => join(letter(*tier), &[&bucket.to_be_bytes()]),
            Self::Block { height, hash } => join(BLOCK, &[&height.to_be_bytes(), hash]),
            Self::Setting(name) => join(SETTING, &[name.as_bytes()]),
            Self::Audit { at_ms, seq } => join(AUDIT, &[&at_ms.to_be_bytes(), &seq.to_be_bytes()]),
            Self::Notify { at_ms, height } => join(NOTIFY, &[&at_ms.to_be_bytes(), &height.to_be_bytes()]),
        }
    }

    /// `None` for a key this release does not know.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        Some(match kind {
            META => Self::Meta(bytes.to_vec()),
            WORKER => Self::Worker(WorkerId(u32::from_be_bytes(rest.try_into().ok()?))),
            RAW => {
                let (bucket, seq) = rest.split_first_chunk()?;
                Self::Raw { bucket: u64::from_be_bytes(*bucket), seq: u64::from_be_bytes(seq.try_into().ok()?) }
            }
            FIVE | HOUR | DAY => {
                let tier = Resolution::ALL.into_iter().find(|tier| letter(*tier) == kind)?;
                Self::Tier(tier, u64::from_be_bytes(rest.try_into().ok()?))
            }
            BLOCK => {
                let (height, hash) = rest.split_first_chunk()?;
                Self::Block { height: u32::from_be_bytes(*height), hash: hash.try_into().ok()? }
            }
            SETTING => Self::Setting(String::from_utf8(rest.to_vec()).ok()?),
            AUDIT => {
                let (at_ms, seq) = rest.split_first_chunk()?;
                Self::Audit { at_ms: u64::from_be_bytes(*at_ms), seq: u32::from_be_bytes(seq.try_into().ok()?) }
            }
            NOTIFY => {
                let (at_ms, height) = rest.split_first_chunk()?;
                Self::Notify { at_ms: u64::from_be_bytes(*at_ms), height: u32::from_be_bytes(height.try_into().ok()?) }
            }
            _ => return None,
        })
    }
}

fn letter(tier: Resolution) -> u8 {
    match tier {
        Resolution::FiveMinutes => FIVE,
        Resolution::Hour => HOUR,
        Resolution::Day => DAY,
    }
}

fn join(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// All keys of a kind.
fn all(kind: u8) -> Range<Vec<u8>> {
    vec![kind]..vec![kind + 1]
}

fn span(kind: u8, time: Range<u64>) -> Range<Vec<u8>> {
    join(kind, &[&time.start.to_be_bytes()])..join(kind, &[&time.end.to_be_bytes()])
}

pub(crate) fn workers() -> Range<Vec<u8>> {
    all(WORKER)
}

pub(crate) fn blocks() -> Range<Vec<u8>> {
    all(BLOCK)
}

pub(crate) fn settings() -> Range<Vec<u8>> {
    all(SETTING)
}

/// Raw chunks by the start of their bucket.
pub(crate) fn raw(buckets: Range<u64>) -> Range<Vec<u8>> {
    span(RAW, buckets)
}

pub(crate) fn tier(tier: Resolution, buckets: Range<u64>) -> Range<Vec<u8>> {
    span(letter(tier), buckets)
}

pub(crate) fn audit(time: Range<u64>) -> Range<Vec<u8>> {
    span(AUDIT, time)
}

pub(crate) fn notify(time: Range<u64>) -> Range<Vec<u8>> {
    span(NOTIFY, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<Key> {
        vec![
            Key::Meta(meta::CHECKPOINT.to_vec()),
            Key::Worker(WorkerId(258)),
            Key::Raw { bucket: 1, seq: 2 },
            Key::Tier(Resolution::FiveMinutes, 3),
            Key::Tier(Resolution::Hour, 4),
            Key::Tier(Resolution::Day, 5),
            Key::Block { height: 900_000, hash: [7; 32] },
            Key::Setting("accounts".into()),
            Key::Audit { at_ms: 8, seq: 9 },
            Key::Notify { at_ms: 10, height: 11 },
        ]
    }

    #[test]
    fn keys_are_read_back_as_written() {
        for key in keys() {
            assert_eq!(Key::parse(&key.bytes()), Some(key));
        }
    }

    #[test]
    fn a_key_cut_short_or_of_an_unknown_kind_is_none() {
        for key in keys() {
            let bytes = key.bytes();
            let cut = &bytes[..bytes.len() - 1];
            assert_ne!(Key::parse(cut), Some(key));
        }
        assert_eq!(Key::parse(b""), None);
        assert_eq!(Key::parse(b"zzz"), None);
    }

    #[test]
    fn keys_of_later_times_sort_later() {
        let earlier = Key::Tier(Resolution::Hour, 255).bytes();
        let later = Key::Tier(Resolution::Hour, 256).bytes();
        assert!(earlier < later);
        let range = tier(Resolution::Hour, 255..256);
        assert!(range.contains(&earlier) && !range.contains(&later));
        assert!(workers().contains(&Key::Worker(WorkerId(u32::MAX)).bytes()));
    }
}
