//! Whom this image believes: `trust.toml`, which lies in the image itself. A key counts only once its image runs.

use serde::{Deserialize, Serialize};

use crate::digest::KeyId;
use crate::keys::PublicKey;
use crate::version::Version;

/// Where it lies in the image.
pub const PATH: &str = "/etc/warppool/trust.toml";

/// `/etc/warppool/trust.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    pub product: String,
    pub hardware: String,
    /// Nothing older is ever installed or gone back to, not even with the owner's permission.
    pub minimum_version: Version,
    /// Where the release feed is looked for; empty is nowhere.
    #[serde(default)]
    pub feed: String,
    /// Keys that once counted and no longer do.
    #[serde(default, with = "key_ids")]
    pub revoked: Vec<KeyId>,
    /// The key that signs now and the one that will take its turn.
    pub keys: Vec<TrustedKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    pub name: String,
    pub public: PublicKey,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} cannot be used: {error}")]
pub struct BadToml {
    path: &'static str,
    error: String,
}

impl BadToml {
    pub(crate) fn new(path: &'static str, error: &impl ToString) -> Self {
        Self { path, error: error.to_string() }
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    #[error("it is signed by the key {0}, which this system does not know: get the file from where you got WarpPool")]
    UnknownKey(KeyId),
    #[error("it is signed by the key {0}, which is no longer valid: get a newer release")]
    RevokedKey(KeyId),
    #[error("its signature is wrong: it was damaged or changed on its way; get it again")]
    BadSignature,
}

impl Trust {
    pub fn parse(text: &str) -> Result<Self, BadToml> {
        let trust: Self = toml::from_str(text).map_err(|error| BadToml::new(PATH, &error))?;
        if trust.keys.iter().all(|key| trust.revoked.contains(&key.public.id())) {
            return Err(BadToml::new(PATH, &"it holds no key that counts, so no update could ever be installed"));
        }
        Ok(trust)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings, lists and tables have a TOML form")
    }

    /// The key of this id, if it counts.
    pub fn key(&self, id: KeyId) -> Result<&PublicKey, Distrust> {
        if self.revoked.contains(&id) {
            return Err(Distrust::RevokedKey(id));
        }
        let known = self.keys.iter().map(|key| &key.public).find(|key| key.id() == id);
        known.ok_or(Distrust::UnknownKey(id))
    }
}

mod key_ids {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::digest::KeyId;

    pub fn serialize<S: Serializer>(ids: &[KeyId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(ToString::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyId>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;

    fn trust() -> Trust {
        let key = |name: &str| TrustedKey { name: name.into(), public: PrivateKey::generate().public() };
        Trust {
            product: "warppool".into(),
            hardware: "rpi5".into(),
            minimum_version: Version::new(0, 1, 0),
            feed: "https://example.org/feed".into(),
            revoked: vec![],
            keys: vec![key("release 1"), key("release 2")],
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let mut trust = trust();
        assert_eq!(Trust::parse(&trust.to_toml()), Ok(trust.clone()));
        trust.revoked = vec![trust.keys[0].public.id()];
        assert_eq!(Trust::parse(&trust.to_toml()), Ok(trust));
    }

    #[test]
    fn a_revoked_key_does_not_count_even_if_it_stands_in_the_list() {
        let mut trust = trust();
        let ids: Vec<KeyId> = trust.keys.iter().map(|key| key.public.id()).collect();
        trust.revoked.push(ids[0]);
        assert_eq!(trust.key(ids[0]), Err(Distrust::RevokedKey(ids[0])));
        assert_eq!(trust.key(ids[1]), Ok(&trust.keys[1].public));
        assert_eq!(trust.key(KeyId([9; 8])), Err(Distrust::UnknownKey(KeyId([9; 8]))));
    }

    #[test]
    fn a_file_without_a_key_that_counts_is_refused() {
        let mut trust = trust();
        trust.revoked = trust.keys.iter().map(|key| key.public.id()).collect();
        assert!(Trust::parse(&trust.to_toml()).unwrap_err().to_string().contains("no key that counts"));
        assert!(Trust::parse("product = 1").is_err());
    }
}
