//! How a value stands in the database: a schema byte, a checksum over key and value, then the postcard bytes.
//!
//! LMDB has no checksums, so each value has its own; a damaged value is told from one of a later release. Fields are only
//! ever appended to a record (the release before ignores what it does not know); anything else takes a new schema byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The schema this release writes.
pub(crate) const SCHEMA: u8 = 1;
/// Schema byte and checksum.
pub(crate) const HEADER: usize = 5;

/// Why a value is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("it was written by a later release (schema {0})")]
    UnknownSchema(u8),
    #[error("its checksum does not fit")]
    Checksum,
    #[error("it is malformed: {0}")]
    Malformed(String),
}

pub(crate) fn encode<T: Serialize>(key: &[u8], value: &T) -> Vec<u8> {
    let framed = postcard::to_extend(value, vec![0; HEADER]);
    let mut bytes = framed.expect("writing to memory cannot fail and every sequence has a known length");
    bytes[0] = SCHEMA;
    let sum = checksum(key, &bytes);
    bytes[1..HEADER].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, Undecodable> {
    from_body(body(key, bytes)?)
}

/// The postcard bytes of a value whose checksum fits and whose schema is known.
pub(crate) fn body<'a>(key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], Undecodable> {
    if !is_whole(key, bytes) {
        return Err(Undecodable::Checksum);
    }
    if bytes[0] != SCHEMA {
        return Err(Undecodable::UnknownSchema(bytes[0]));
    }
    Ok(&bytes[HEADER..])
}

/// Whether key and value are as they were written, by whichever release.
pub(crate) fn is_whole(key: &[u8], bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && checksum(key, bytes).to_le_bytes() == bytes[1..HEADER]
}

/// Postcard never allocates more than a small multiple of the bytes it is given, whatever lengths stand in them.
pub(crate) fn from_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Undecodable> {
    postcard::from_bytes(body).map_err(|error| Undecodable::Malformed(error.to_string()))
}

fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(&bytes[..1]);
    hasher.update(&bytes[HEADER..]);
    hasher.finalize()
}

/// A sound value as a release with another schema writes it.
#[cfg(test)]
pub(crate) fn with_schema(key: &[u8], schema: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = [&[schema, 0, 0, 0, 0], body].concat();
    let sum = checksum(key, &bytes);
    bytes[1..HEADER].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_key_or_value_is_noticed() {
        let value = encode(b"key", &("a value".to_owned(), 17_u64));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode::<(String, u64)>(b"key", &flipped), Err(Undecodable::Checksum), "bit {bit}");
        }
        assert_eq!(decode::<(String, u64)>(b"kez", &value), Err(Undecodable::Checksum));
        assert_eq!(decode::<(String, u64)>(b"key", &[]), Err(Undecodable::Checksum));
    }

    #[test]
    fn a_value_of_a_later_release_is_told_from_a_damaged_one() {
        let value = with_schema(b"key", SCHEMA + 1, &[1]);
        assert_eq!(decode::<u64>(b"key", &value), Err(Undecodable::UnknownSchema(SCHEMA + 1)));
    }

    #[test]
    fn fields_appended_by_the_next_release_are_ignored() {
        let value = encode(b"key", &(1_u64, "new field".to_owned()));
        assert_eq!(decode::<u64>(b"key", &value), Ok(1));
    }

    #[test]
    fn a_length_of_gigabytes_in_a_few_bytes_is_an_error_and_costs_nothing() {
        let mut body = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
        body.push(0);
        assert!(from_body::<Vec<u64>>(&body).is_err());
        assert!(from_body::<String>(&body).is_err());
    }
}
