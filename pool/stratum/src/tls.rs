//! The certificate miners see, exchangeable while the server runs, and the TLS it is offered with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What goes wrong with certificates. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error("cannot read {path}: {source}; check the path and that the pool's user may read it")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the certificate file is damaged: {0}; it must hold PEM blocks `BEGIN CERTIFICATE`")]
    Certificate(pem::Error),
    #[error("the certificate file holds no certificate; it must hold PEM blocks `BEGIN CERTIFICATE`")]
    NoCertificate,
    #[error(
        "the key file holds no usable private key: {0}; it must hold one PEM block `BEGIN PRIVATE KEY`, not encrypted"
    )]
    Key(pem::Error),
    #[error(
        "certificate and key do not go together or cannot be used: {0}; give the key this certificate was made with"
    )]
    Unusable(rustls::Error),
}

/// Which versions of TLS are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 (ECDHE and AEAD only) and 1.3: some firmware speaks 1.2 alone.
    #[default]
    From12,
    /// 1.3 only.
    Only13,
}

/// A certificate with its key. Clones are the same: what one replaces, all listeners offer to the next miner.
#[derive(Clone)]
pub struct TlsIdentity {
    current: Arc<Current>,
    versions: TlsVersions,
}

struct Current(ArcSwap<CertifiedKey>);

impl TlsIdentity {
    /// `certificate` is the chain, the server's own first; `key` its private key; both PEM.
    pub fn from_pem(certificate: &[u8], key: &[u8], versions: TlsVersions) -> Result<Self, TlsError> {
        let certified = certified_key(certificate, key)?;
        Ok(Self { current: Arc::new(Current(ArcSwap::from_pointee(certified))), versions })
    }

    pub fn from_files(certificate: &Path, key: &Path, versions: TlsVersions) -> Result<Self, TlsError> {
        Self::from_pem(&read(certificate)?, &read(key)?, versions)
    }

    /// Offers another certificate from now on. Nobody connected notices. On an error the old one stays.
    pub fn replace_pem(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.current.0.store(Arc::new(certified_key(certificate, key)?));
        Ok(())
    }

    /// As [`TlsIdentity::replace_pem`], from files.
    pub fn replace_files(&self, certificate: &Path, key: &Path) -> Result<(), TlsError> {
        self.replace_pem(&read(certificate)?, &read(key)?)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let versions: &[_] = match self.versions {
            TlsVersions::From12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersions::Only13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        // A miner connects once and stays: tickets would only cost it memory.
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("versions", &self.versions).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

fn certified_key(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Unusable)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["warppool.local".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_exchanged_for_all_who_share_it_and_a_bad_one_changes_nothing() {
        let ((first, first_key), (second, second_key)) = (pem(), pem());
        let identity = TlsIdentity::from_pem(first.as_bytes(), first_key.as_bytes(), TlsVersions::From12).unwrap();
        let shared = identity.clone();
        let offered = || shared.current.0.load().cert[0].as_ref().to_vec();
        let before = offered();
        assert!(identity.replace_pem(second.as_bytes(), first_key.as_bytes()).is_err());
        assert_eq!(offered(), before);
        identity.replace_pem(second.as_bytes(), second_key.as_bytes()).unwrap();
        assert_ne!(offered(), before);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told() {
        let ((certificate, key), (_, other_key)) = (pem(), pem());
        let case = |certificate: &str, key: &str, expected: &str| {
            let error = TlsIdentity::from_pem(certificate.as_bytes(), key.as_bytes(), TlsVersions::Only13).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        case("", &key, "holds no certificate");
        case(&key, &key, "holds no certificate");
        case(&certificate.replace('M', "!"), &key, "damaged");
        case(&certificate, "", "no usable private key");
        case(&certificate, &certificate, "no usable private key");
        case(&certificate, &other_key, "do not go together");
        let missing = TlsIdentity::from_files(Path::new("/nowhere/cert.pem"), Path::new("x"), TlsVersions::From12);
        assert!(missing.unwrap_err().to_string().contains("/nowhere/cert.pem"));
    }
}
