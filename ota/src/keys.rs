//! The keys that sign releases: ECDSA over P-256, the private one in a PEM file that only its owner may read.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, KeyId};

/// Bytes of a signature: r and s, 32 bytes each, big-endian.
pub const SIGNATURE: usize = 64;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("the key {path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("the key {0} is there already and is not overwritten: move it away first, releases may depend on it")]
    Exists(PathBuf),
    #[error("the key {0} is not a P-256 private key in PKCS#8 PEM: make one with `warppool ota keygen`")]
    NotAPrivateKey(PathBuf),
    #[error("the key {0} can be read by others: take that right away (chmod 600)")]
    TooOpen(PathBuf),
    #[error("{0:?} is not a P-256 public key in SEC1 form, base64")]
    NotAPublicKey(String),
}

/// Signs releases. Its Debug shows the key id only.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// Reads a PKCS#8 PEM file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let io = |error| KeyError::Io { path: path.into(), error };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            if std::fs::metadata(path).map_err(io)?.permissions().mode() & 0o077 != 0 {
                return Err(KeyError::TooOpen(path.into()));
            }
        }
        let pem = std::fs::read_to_string(path).map_err(io)?;
        Self::from_pem(&pem).ok_or_else(|| KeyError::NotAPrivateKey(path.into()))
    }

    pub fn from_pem(pem: &str) -> Option<Self> {
        p256::SecretKey::from_pkcs8_pem(pem).ok().map(|key| Self(key.into()))
    }

    /// Writes a new PKCS#8 PEM file with mode 0600; an existing file is left as it is and is an error.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let io = |error| KeyError::Io { path: path.into(), error };
        let pem =
            p256::SecretKey::from(self.0.clone()).to_pkcs8_pem(LineEnding::LF).expect("a P-256 key has a PKCS#8 form");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists(path.into()),
            _ => io(error),
        })?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// Signs a hash, deterministically by RFC 6979: the same bytes and key give the same signature.
    pub fn sign(&self, digest: &Digest) -> [u8; SIGNATURE] {
        let signature: Signature = self.0.sign_prehash(&digest.0).expect("a SHA-256 can always be signed");
        signature.to_bytes().into()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}

/// Verifies what its private half signed. As text it is base64 of the compressed SEC1 form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// 33 bytes.
    pub fn sec1(&self) -> Vec<u8> {
        self.0.to_sec1_point(true).as_bytes().to_vec()
    }

    pub fn id(&self) -> KeyId {
        KeyId::of(&self.sec1())
    }

    pub fn verifies(&self, digest: &Digest, signature: &[u8; SIGNATURE]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.0.verify_prehash(&digest.0, &signature).is_ok())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        let decoded = STANDARD.decode(text.trim()).ok();
        match decoded.and_then(|sec1| VerifyingKey::from_sec1_bytes(&sec1).ok()) {
            Some(key) => Ok(Self(key)),
            None => Err(KeyError::NotAPublicKey(text)),
        }
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.sec1()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_verified_by_its_own_key_and_bytes_only() {
        let (key, other) = (PrivateKey::generate(), PrivateKey::generate());
        let (digest, another) = (Digest::of(b"release"), Digest::of(b"releasf"));
        let signature = key.sign(&digest);
        assert_eq!(signature, key.sign(&digest), "signing is deterministic");
        assert!(key.public().verifies(&digest, &signature));
        assert!(!key.public().verifies(&another, &signature));
        assert!(!other.public().verifies(&digest, &signature));
        assert!(!key.public().verifies(&digest, &[0; SIGNATURE]));
    }

    #[test]
    fn a_signature_is_that_of_rfc_6979() {
        // A.2.5, ECDSA with P-256 and SHA-256, message "sample".
        let mut secret = [0; 32];
        let hex = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
        for (byte, digits) in secret.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        }
        let key = PrivateKey(SigningKey::from_slice(&secret).unwrap());
        let signature = key.sign(&Digest::of(b"sample"));
        let halves = [&signature[..32], &signature[32..]].map(|half| Digest(half.try_into().unwrap()).to_string());
        assert_eq!(halves[0], "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
        assert_eq!(halves[1], "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
    }

    #[test]
    fn a_key_file_is_private_is_read_back_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release.pem");
        let key = PrivateKey::generate();
        key.write_new(&path).unwrap();
        assert_eq!(PrivateKey::read(&path).unwrap().public(), key.public());
        assert!(matches!(PrivateKey::generate().write_new(&path), Err(KeyError::Exists(_))));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(PrivateKey::read(&path), Err(KeyError::TooOpen(_))));
        }
    }

    #[test]
    fn a_public_key_is_read_as_it_is_shown() {
        let key = PrivateKey::generate().public();
        assert_eq!(PublicKey::try_from(key.to_string()).unwrap(), key);
        for text in ["", "AAAA", "not base64", &STANDARD.encode([2; 33])[..40]] {
            assert!(PublicKey::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(!format!("{:?}", PrivateKey::generate()).is_empty());
    }
}
