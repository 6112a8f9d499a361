//! What an owner hands over, in types that have been checked.

use std::fmt;

use serde::{Deserialize, Serialize};
use warppool_network::clock::NtpServer;
use warppool_network::{Addressing, Hostname, Wifi};

use crate::{Fault, SshKey, TimeZone, Url};

/// What reading the partition came to. Sent to PID 1 in postcard; at most some 200 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// No settings file and no reset file: nothing to do.
    Nothing,
    /// An erasure that a power cut ended: [`crate::finish`] is to be called again, with nothing to report.
    Remains,
    /// Something is asked for.
    Asked {
        settings: Option<Box<HandOver>>,
        /// A reset file is there. It comes before the settings: they are meant for the device after it.
        factory_reset: bool,
    },
    /// The settings file has faults and nothing of it is applied; a reset file still counts.
    Faulty { faults: Vec<Fault>, factory_reset: bool },
    /// This is no FAT file system that can be read; what to do.
    Unreadable(String),
}

/// The content of `warppool.toml`. What is `None` or empty was not mentioned, and stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Of the file, SHA-256: the same file is not applied twice, should the partition refuse to be written to.
    pub digest: [u8; 32],
    pub hostname: Option<Hostname>,
    pub timezone: Option<TimeZone>,
    pub ntp: Option<Vec<NtpServer>>,
    /// The next installation may be of an older version.
    pub allow_downgrade: bool,
    /// The wired network; empty is DHCP.
    pub network: Option<Addressing>,
    pub wifi: Option<Wifi>,
    pub nodes: Vec<NodeAccess>,
    pub chain: Option<Chain>,
    /// Looks like a Bitcoin address; the pool checks it.
    pub payout_address: Option<String>,
    pub ssh_keys: Vec<SshKey>,
}

impl HandOver {
    /// Whether the file sets anything at all; the example as it is shipped does not.
    pub fn asks_for_something(&self) -> bool {
        *self != Self { digest: self.digest, ..Self::default() }
    }
}

/// A Bitcoin node the pool is to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAccess {
    /// Letters, digits, `-` and `_`; unlike every other node's.
    pub name: String,
    /// Of its RPC, without user and password.
    pub url: Url,
    pub user: String,
    pub password: Secret,
    /// zmqpubhashblock, `tcp://host:port`.
    pub zmq: Option<Url>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chain {
    Mainnet,
    Testnet4,
    Signet,
    Regtest,
}

impl Chain {
    pub const ALL: [Self; 4] = [Self::Mainnet, Self::Testnet4, Self::Signet, Self::Regtest];

    /// As the pool's configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }
}

/// A text that nobody should see; its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
