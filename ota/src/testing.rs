//! What several tests share: one key, and an image that trusts it.

use std::sync::LazyLock;

use crate::keys::PrivateKey;
use crate::trust::{Trust, TrustedKey};
use crate::version::Version;

static KEY: LazyLock<PrivateKey> = LazyLock::new(PrivateKey::generate);

pub fn key() -> PrivateKey {
    KEY.clone()
}

pub fn trust() -> Trust {
    Trust {
        product: "warppool".into(),
        hardware: "rpi5".into(),
        minimum_version: Version::new(0, 1, 0),
        feed: String::new(),
        revoked: vec![],
        keys: vec![TrustedKey { name: "test".into(), public: key().public() }],
    }
}
