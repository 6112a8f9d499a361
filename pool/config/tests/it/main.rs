//! The crate from outside: files in, a configuration or findings out.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod arbitrary;
mod defaults;
mod faults;
mod order;
mod reload;
mod secrets;

use std::path::{Path, PathBuf};

use warppool_config::{ConfigErrors, Finding, Loaded, Overrides, Place, parse};

/// A mainnet address (BIP173's example).
const MAINNET: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
/// The same key's hash on test networks and on regtest.
const TESTNET: &str = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx";

fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

fn read(text: &str) -> Result<Loaded, ConfigErrors> {
    parse(Path::new("/etc/w/config.toml"), text.as_bytes(), None, &Overrides::default(), env(&[]))
}

#[track_caller]
fn faults(text: &str) -> Vec<Finding> {
    read(text).expect_err(text).0
}

fn line(finding: &Finding) -> usize {
    match finding.place {
        Place::File { line, .. } => line,
        _ => 0,
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
