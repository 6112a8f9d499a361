//! `warppool keys`: what the operator needs to make once.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rcgen::{CertificateParams, DnType, KeyPair};
use sha2::{Digest as _, Sha256};

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a certificate and key for Stratum over TLS, and print what to paste into a miner
    Tls {
        /// Names and addresses miners use for this machine
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Where cert.pem and key.pem are written; files already there are never overwritten
        #[arg(long, default_value = ".", value_name = "DIR")]
        out: PathBuf,
    },
    /// Make a user and password for Bitcoin Core: the line for bitcoin.conf and the one for secrets.toml
    Rpcauth {
        #[arg(default_value = "warppool")]
        user: String,
    },
}

pub fn run(command: &KeysCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeysCommand::Tls { names, out } => tls(names, out)?,
        KeysCommand::Rpcauth { user } => rpcauth(user)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn tls(names: &[String], out: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(names.to_vec()).context("a name is not one of a machine")?;
    params.distinguished_name.push(DnType::CommonName, "WarpPool");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let (certificate_path, key_path) = (out.join("cert.pem"), out.join("key.pem"));
    // The key first: with it refused, no certificate without a key is left behind.
    write_new(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
    write_new(&certificate_path, certificate.pem().as_bytes(), 0o644)?;
    println!("{}", certificate.pem());
    println!("SHA-256 fingerprint: {}", fingerprint(certificate.der()));
    println!();
    println!("Paste the certificate above into each miner, and put into config.toml:");
    println!();
    println!("[stratum]");
    println!("tls_listen = \":3334\"");
    println!("tls_cert_path = \"{}\"", std::path::absolute(&certificate_path)?.display());
    println!("tls_key_path = \"{}\"", std::path::absolute(&key_path)?.display());
    Ok(())
}

fn fingerprint(der: &[u8]) -> String {
    let pairs: Vec<String> = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options
        .open(path)
        .with_context(|| format!("{} is not written; if it is there already, move it away first", path.display()))?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

/// Core's own form: the password's HMAC-SHA-256 under a random salt.
fn rpcauth(user: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
        "the user name may have letters, digits, '-' and '_' only"
    );
    let (mut salt, mut password) = ([0; 16], [0; 32]);
    getrandom::fill(&mut salt)?;
    getrandom::fill(&mut password)?;
    let (salt, password) = (hex::encode(salt), hex::encode(password));
    println!("Put this line into bitcoin.conf and restart Bitcoin Core:");
    println!("{}", rpcauth_line(user, &salt, &password)?);
    println!();
    println!("Put these into secrets.toml beside config.toml (chmod 600):");
    println!("rpc_user = \"{user}\"");
    println!("rpc_pass = \"{password}\"");
    Ok(())
}

fn rpcauth_line(user: &str, salt: &str, password: &str) -> anyhow::Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt.as_bytes())?;
    mac.update(password.as_bytes());
    Ok(format!("rpcauth={user}:{salt}${}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rpcauth_line_is_the_one_core_computes() {
        // RFC 4231, test case 2, in Core's clothes: the salt is the key.
        let line = rpcauth_line("alice", "Jefe", "what do ya want for nothing?").unwrap();
        let mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(line, format!("rpcauth=alice:Jefe${mac}"));
    }

    #[test]
    fn a_key_that_is_there_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        tls(&["warppool.local".into(), "192.168.1.5".into()], dir.path()).unwrap();
        let before = std::fs::read(dir.path().join("key.pem")).unwrap();
        let refused = tls(&["warppool.local".into()], dir.path()).unwrap_err();
        assert!(format!("{refused:#}").contains("move it away"), "{refused:#}");
        assert_eq!(std::fs::read(dir.path().join("key.pem")).unwrap(), before);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(dir.path().join("key.pem")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
