//! Block news by ZMQ: the frames of Core's `hashblock`, and a subscriber that never gives up.

mod subscriber;

pub(crate) use subscriber::{follow, remedy};
use warppool_work::Hash;

/// The topic, and the prefix subscribed to.
pub(crate) const TOPIC: &str = "hashblock";

/// A new tip, as Core's `zmqpubhashblock` announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashBlock {
    /// Internal byte order (Core sends display order).
    pub hash: Hash,
    /// Counts announcements since the node started, and wraps.
    pub sequence: u32,
}

/// Why a message is not a block's announcement.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZmqError {
    #[error("{0} frames instead of topic, hash and sequence")]
    Frames(usize),
    #[error("its topic is not hashblock")]
    Topic,
    #[error("its hash has {0} bytes instead of 32")]
    Hash(usize),
    #[error("its sequence has {0} bytes instead of 4")]
    Sequence(usize),
}

/// Reads one message's frames.
pub fn parse_hashblock(frames: &[impl AsRef<[u8]>]) -> Result<HashBlock, ZmqError> {
    let [topic, hash, sequence] = frames else { return Err(ZmqError::Frames(frames.len())) };
    if topic.as_ref() != TOPIC.as_bytes() {
        return Err(ZmqError::Topic);
    }
    let mut hash: Hash = hash.as_ref().try_into().map_err(|_| ZmqError::Hash(hash.as_ref().len()))?;
    hash.reverse();
    let sequence = sequence.as_ref().try_into().map_err(|_| ZmqError::Sequence(sequence.as_ref().len()))?;
    Ok(HashBlock { hash, sequence: u32::from_le_bytes(sequence) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(frames: &[&[u8]], first: u8, sequence: u32) {
        let mut hash = [0; 32];
        hash[0] = first;
        assert_eq!(parse_hashblock(frames), Ok(HashBlock { hash, sequence }));
    }

    #[track_caller]
    fn bad(frames: &[&[u8]], error: &ZmqError) {
        assert_eq!(parse_hashblock(frames).as_ref(), Err(error));
    }

    #[test]
    fn only_a_whole_announcement_is_one() {
        let mut hash = [0_u8; 32];
        hash[31] = 7;
        good(&[b"hashblock", &hash, &[1, 2, 0, 0]], 7, 0x201);
        good(&[b"hashblock", &hash, &[0xff; 4]], 7, u32::MAX);
        bad(&[], &ZmqError::Frames(0));
        bad(&[b"hashblock", &hash], &ZmqError::Frames(2));
        bad(&[b"hashblock", &hash, &[0; 4], b""], &ZmqError::Frames(4));
        bad(&[b"rawblock", &hash, &[0; 4]], &ZmqError::Topic);
        bad(&[b"hashblock2", &hash, &[0; 4]], &ZmqError::Topic);
        bad(&[b"hashblock", &hash[1..], &[0; 4]], &ZmqError::Hash(31));
        bad(&[b"hashblock", b"", &[0; 4]], &ZmqError::Hash(0));
        bad(&[b"hashblock", &hash, &[0; 3]], &ZmqError::Sequence(3));
    }
}
