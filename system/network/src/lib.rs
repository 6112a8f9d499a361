//! Network, Wi-Fi, clock and name service of the appliance.
//!
//! What is to be set up is a value ([`Network`]); how is a list of steps that PID 1 carries out ([`plan`]); what the
//! network answered is read back from a file with a type ([`Lease`]). Clock and names are the work of two unprivileged
//! children: [`clock::serve`] and [`names::serve`].

mod addressing;
pub mod clock;
mod hostname;
#[cfg(target_os = "linux")]
mod interfaces;
mod lease;
pub mod names;
pub mod plan;
mod resolver;
pub mod supplicant;
mod wifi;

pub use addressing::{AddressError, Addressing, Net4, Net6, Static4, Static6};
pub use hostname::{Hostname, HostnameError};
#[cfg(target_os = "linux")]
pub use interfaces::interfaces;
pub use lease::{Family, Lease, LeaseError};
pub use resolver::resolv_conf;
pub use wifi::{Country, Passphrase, Ssid, Wifi, WifiError};

use serde::{Deserialize, Serialize};

/// How the appliance gets onto the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Every wired interface.
    pub ethernet: Addressing,
    pub wifi: Option<Wifi>,
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
