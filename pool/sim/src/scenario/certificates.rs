//! Certificates for the pool's TLS port, good and expired.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

/// A certificate for 127.0.0.1 and its key, as files.
pub(super) struct Certificate {
    pub(super) file: PathBuf,
    pub(super) key: PathBuf,
    pub(super) pem: String,
}

impl Certificate {
    /// Writes `NAME.pem` and `NAME.key`; `expired` lies some years back.
    pub(super) fn write(dir: &Path, name: &str, expired: bool) -> Result<Self> {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let (file, key_path) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&file, &pem)?;
        std::fs::write(&key_path, key.serialize_pem())?;
        Ok(Self { file, key: key_path, pem })
    }

    /// Puts this one where another stands.
    pub(super) fn replace(&self, other: &Self) -> Result<()> {
        std::fs::copy(&self.file, &other.file)?;
        std::fs::copy(&self.key, &other.key)?;
        Ok(())
    }
}
