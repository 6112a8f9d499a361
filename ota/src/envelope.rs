//! Bytes with a signature in front: bundle header, slot manifest and feed all come in one.
//!
//! The signature covers the raw bytes and is checked before anything of them is parsed; the length is capped before anything is
//! allocated for it.

use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, KeyId};
use crate::keys::{PrivateKey, SIGNATURE};
use crate::trust::{Distrust, Trust};

/// Bytes before the payload: magic 8, key id 8, payload length u64 big-endian 8, signature 64.
pub const HEAD: usize = 8 + 8 + 8 + SIGNATURE;

/// What is in an envelope; it cannot be taken for one of another kind, because the kind is signed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bundle,
    Slot,
    Feed,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Bundle => b"WPBUNDL1",
            Self::Slot => b"WPSLOT_1",
            Self::Feed => b"WPFEED_1",
        }
    }

    /// The longest payload that is read, bytes.
    pub fn longest(self) -> u64 {
        match self {
            Self::Bundle => 4 << 20,
            Self::Slot | Self::Feed => 1 << 20,
        }
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bundle => "update bundle",
            Self::Slot => "slot manifest",
            Self::Feed => "release feed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    #[error("this is not a WarpPool {}: it begins with other bytes", .0.name())]
    NotOurs(Kind),
    #[error("this {} is of a later format: install an earlier release first", .0.name())]
    LaterFormat(Kind),
    #[error("this {} claims {claimed} bytes, and at most {} are read: it is damaged or hostile", .kind.name(), .kind.longest())]
    TooLong { kind: Kind, claimed: u64 },
    #[error("this {} ends too early: it was cut on its way; get it again", .0.name())]
    Truncated(Kind),
    #[error("{} bytes stand behind this {}: it was changed on its way; get it again", .excess, .kind.name())]
    Excess { kind: Kind, excess: u64 },
    #[error(transparent)]
    Distrusted(#[from] Distrust),
    #[error("this {} is signed but cannot be read: it comes from a later release; install an earlier one first", .0.name())]
    Unreadable(Kind),
}

/// What stands before a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    kind: Kind,
    key: KeyId,
    length: u64,
    signature: [u8; SIGNATURE],
}

impl Head {
    /// Reads the first [`HEAD`] bytes; what it says is not to be believed before [`Head::verify`].
    pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (magic, rest) = bytes.split_at_checked(8).ok_or(EnvelopeError::Truncated(kind))?;
        if magic[..7] != kind.magic()[..7] {
            return Err(EnvelopeError::NotOurs(kind));
        }
        if magic[7] != kind.magic()[7] {
            return Err(EnvelopeError::LaterFormat(kind));
        }
        let cut = EnvelopeError::Truncated(kind);
        let (key, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let signature = *rest.first_chunk::<SIGNATURE>().ok_or(cut)?;
        let length = u64::from_be_bytes(*length);
        if length > kind.longest() {
            return Err(EnvelopeError::TooLong { kind, claimed: length });
        }
        Ok(Self { kind, key: KeyId(*key), length, signature })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of the payload, at most [`Kind::longest`].
    pub fn payload_len(&self) -> u64 {
        self.length
    }

    /// The key that is said to have signed it.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Whether a key that counts has signed this very payload.
    pub fn verify(&self, payload: &[u8], trust: &Trust) -> Result<(), EnvelopeError> {
        let key = trust.key(self.key)?;
        if payload.len() as u64 == self.length && key.verifies(&signed(self.kind, self.key, payload), &self.signature) {
            Ok(())
        } else {
            Err(Distrust::BadSignature.into())
        }
    }
}

/// What the signature is over: everything but itself.
fn signed(kind: Kind, key: KeyId, payload: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(kind.magic());
    hash.update(key.0);
    hash.update((payload.len() as u64).to_be_bytes());
    hash.update(payload);
    Digest(hash.finalize().into())
}

/// Puts a payload into a signed envelope. The same payload and key give the same bytes.
pub fn seal(kind: Kind, key: &PrivateKey, payload: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    if payload.len() as u64 > kind.longest() {
        return Err(EnvelopeError::TooLong { kind, claimed: payload.len() as u64 });
    }
    let id = key.public().id();
    let mut sealed = Vec::with_capacity(HEAD + payload.len());
    sealed.extend_from_slice(kind.magic());
    sealed.extend_from_slice(&id.0);
    sealed.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    sealed.extend_from_slice(&key.sign(&signed(kind, id, payload)));
    sealed.extend_from_slice(payload);
    Ok(sealed)
}

/// The payload of an envelope that is a whole file, once its signature has been found good.
pub fn open<'a>(kind: Kind, file: &'a [u8], trust: &Trust) -> Result<&'a [u8], EnvelopeError> {
    let head = Head::parse(kind, file)?;
    let payload = &file[HEAD..];
    match (payload.len() as u64).checked_sub(head.length) {
        None => return Err(EnvelopeError::Truncated(kind)),
        Some(0) => {}
        Some(excess) => return Err(EnvelopeError::Excess { kind, excess }),
    }
    head.verify(payload, trust)?;
    Ok(payload)
}

/// The payload of an envelope of any kind, whoever signed it: for showing to people what a file claims to be.
pub(crate) fn unverified(file: &[u8]) -> Option<(Head, &[u8])> {
    let head = [Kind::Bundle, Kind::Slot, Kind::Feed].into_iter().find_map(|kind| Head::parse(kind, file).ok())?;
    let payload = file[HEAD..].get(..head.length as usize)?;
    Some((head, payload))
}

/// Reads a payload. Bytes after what this release knows are passed over: later releases append fields.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(kind: Kind, payload: &[u8]) -> Result<T, EnvelopeError> {
    postcard::from_bytes(payload).map_err(|_| EnvelopeError::Unreadable(kind))
}

pub(crate) fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data has a postcard form")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{key, trust};

    #[test]
    fn what_was_sealed_is_opened_and_is_the_same_every_time() {
        for payload in [&b""[..], b"x", &vec![7; 100_000]] {
            let sealed = seal(Kind::Feed, &key(), payload).unwrap();
            assert_eq!(sealed, seal(Kind::Feed, &key(), payload).unwrap());
            assert_eq!(open(Kind::Feed, &sealed, &trust()).unwrap(), payload);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let sealed = seal(Kind::Bundle, &key(), b"payload").unwrap();
        assert_eq!(&sealed[..8], b"WPBUNDL1");
        assert_eq!(sealed[8..16], key().public().id().0);
        assert_eq!(sealed[16..24], [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(&sealed[HEAD..], b"payload");
        let over: Vec<u8> = [&sealed[..24], b"payload"].concat();
        assert!(key().public().verifies(&Digest::of(&over), sealed[24..HEAD].try_into().unwrap()));
    }

    #[test]
    fn lengths_beyond_the_cap_are_refused_before_anything_is_allocated() {
        let sealed = seal(Kind::Bundle, &key(), b"payload").unwrap();
        let longest = Kind::Bundle.longest();
        for claimed in [longest + 1, u64::from(u32::MAX), (1 << 32) + 7, 1 << 63, u64::MAX] {
            let mut bytes = sealed.clone();
            bytes[16..24].copy_from_slice(&claimed.to_be_bytes());
            assert_eq!(Head::parse(Kind::Bundle, &bytes), Err(EnvelopeError::TooLong { kind: Kind::Bundle, claimed }));
        }
        assert!(seal(Kind::Slot, &key(), &vec![0; (Kind::Slot.longest() + 1) as usize]).is_err());
    }

    #[test]
    fn an_envelope_of_another_kind_or_format_is_told_apart() {
        let sealed = seal(Kind::Feed, &key(), b"payload").unwrap();
        assert_eq!(open(Kind::Bundle, &sealed, &trust()), Err(EnvelopeError::NotOurs(Kind::Bundle)));
        let mut later = sealed.clone();
        later[7] = b'2';
        assert_eq!(open(Kind::Feed, &later, &trust()), Err(EnvelopeError::LaterFormat(Kind::Feed)));
        let mut relabelled = sealed;
        relabelled[..8].copy_from_slice(b"WPBUNDL1");
        assert_eq!(open(Kind::Bundle, &relabelled, &trust()), Err(Distrust::BadSignature.into()));
    }

    #[test]
    fn another_key_and_a_revoked_key_are_refused_by_name() {
        let other = PrivateKey::generate();
        let foreign = seal(Kind::Feed, &other, b"payload").unwrap();
        let id = other.public().id();
        assert_eq!(open(Kind::Feed, &foreign, &trust()), Err(Distrust::UnknownKey(id).into()));
        let mut revoking = trust();
        revoking.revoked.push(key().public().id());
        let ours = seal(Kind::Feed, &key(), b"payload").unwrap();
        assert!(matches!(open(Kind::Feed, &ours, &revoking), Err(EnvelopeError::Distrusted(Distrust::RevokedKey(_)))));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_and_no_cut_goes_unnoticed(
            payload in prop::collection::vec(any::<u8>(), 0..300), place in any::<prop::sample::Index>(), bit in 0..8u8, longer in any::<u8>(),
        ) {
            let sealed = seal(Kind::Slot, &key(), &payload).unwrap();
            let place = place.index(sealed.len());
            let mut flipped = sealed.clone();
            flipped[place] ^= 1 << bit;
            prop_assert!(open(Kind::Slot, &flipped, &trust()).is_err());
            prop_assert!(open(Kind::Slot, &sealed[..place], &trust()).is_err());
            prop_assert!(open(Kind::Slot, &[&sealed[..], &[longer]].concat(), &trust()).is_err());
        }

        #[test]
        fn random_bytes_are_never_opened(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(open(Kind::Bundle, &bytes, &trust()).is_err());
            let _ = open(Kind::Bundle, &[&b"WPBUNDL1"[..], &bytes].concat(), &trust());
        }
    }
}
