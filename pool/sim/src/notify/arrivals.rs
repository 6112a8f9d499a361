//! The receiving side of every measurement here, of the pool and of the bare loop alike: when each connection first
//! hears of another previous block. A line is looked at only as far as its previous hash.

use std::time::Instant;

use memchr::{memchr, memmem};

use crate::load::swarm::{Connection, Visitor};

pub(crate) type PrevHash = [u8; 64];

/// The previous hash of a `mining.notify` as it is written, and where it stands; `None` of any other line.
pub(crate) fn prev_hash(line: &[u8]) -> Option<(usize, &PrevHash)> {
    memmem::find(line, b"\"mining.notify\"")?;
    let mut at = memmem::find(line, b"\"params\"")? + b"\"params\"".len();
    // Two quotes around the job id, one in front of the hash.
    for _ in 0..3 {
        at += memchr(b'"', &line[at..])? + 1;
    }
    let hash = line.get(at..at + 64)?;
    (line.get(at + 64) == Some(&b'"')).then_some((at, hash.try_into().ok()?))
}

/// The block hash as nodes show it, as it stands in the notify of the next job: bytes reversed, then every four of them.
pub(crate) fn as_in_notify(block_hash: &str) -> Option<PrevHash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(block_hash, &mut hash).ok()?;
    hash.reverse();
    hash.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    hex::encode(hash).into_bytes().try_into().ok()
}

/// What each connection works on and since when.
#[derive(Debug)]
pub(crate) struct Arrivals {
    current: Vec<Option<(PrevHash, Instant)>>,
    /// Connections that changed their previous hash since [`Arrivals::arm`].
    pub(crate) changed: usize,
}

impl Arrivals {
    /// For so many connections; what they work on already is in `starting`.
    pub(crate) fn new(starting: impl Iterator<Item = Option<PrevHash>>) -> Self {
        let now = Instant::now();
        Self { current: starting.map(|hash| hash.map(|hash| (hash, now))).collect(), changed: 0 }
    }

    pub(crate) fn arm(&mut self) {
        self.changed = 0;
    }

    /// When each connection heard of this one, as far as it has and works on it still.
    pub(crate) fn of(&self, hash: &PrevHash) -> Vec<Instant> {
        let heard = self.current.iter().flatten().filter(|(current, _)| current.eq_ignore_ascii_case(hash));
        heard.map(|(_, at)| *at).collect()
    }
}

impl Visitor for Arrivals {
    fn line(&mut self, connection: &mut Connection, line: &[u8], at: Instant) {
        let Some((_, hash)) = prev_hash(line) else { return };
        let current = &mut self.current[connection.index];
        if current.as_ref().is_none_or(|(current, _)| current != hash) {
            *current = Some((*hash, at));
            self.changed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_hash_is_found_in_every_style_of_notify_and_nowhere_else() {
        let hash = "ab".repeat(32);
        let found = [
            format!(r#"{{"id":null,"method":"mining.notify","params":["1","{hash}","00","00",[],"","","",true]}}"#),
            format!(r#"{{"params": ["a-b", "{hash}", "00"], "id": null, "method": "mining.notify"}}"#),
        ];
        for line in found {
            let (at, is) = prev_hash(line.as_bytes()).unwrap();
            assert_eq!((&line[at..at + 64], is.as_slice()), (&*hash, hash.as_bytes()), "{line}");
        }
        let not_found = [
            String::new(),
            format!(r#"{{"method":"mining.set_difficulty","params":["1","{hash}"]}}"#),
            r#"{"method":"mining.notify"}"#.into(),
            r#"{"method":"mining.notify","params":["1","abc","00"]}"#.into(),
            format!(r#"{{"method":"mining.notify","params":["1","{hash}"#),
            format!(r#"{{"method":"mining.notify","params":["1","{hash}00","00"]}}"#),
        ];
        for line in not_found {
            assert_eq!(prev_hash(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_block_hash_is_turned_into_the_order_of_a_notify() {
        let shown = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let sent = "1c1d1e1f18191a1b14151617101112130c0d0e0f08090a0b0405060700010203";
        assert_eq!(as_in_notify(shown).unwrap(), sent.as_bytes());
        for broken in ["", "00", &"zz".repeat(32)] {
            assert_eq!(as_in_notify(broken), None, "{broken}");
        }
    }
}
