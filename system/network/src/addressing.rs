//! Fixed addresses, or none: then DHCP, and router advertisements for IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How an interface gets its addresses. The default takes what the network gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Addressing {
    /// A fixed address; without one, DHCP.
    pub v4: Option<Static4>,
    /// A fixed address beside those of router advertisements; without one, those and what a DHCP server for IPv6 gives.
    pub v6: Option<Static6>,
    /// Name servers; they come before those the network gives.
    pub dns: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    #[error("`{0}` is not an address with its network's length, as in 192.168.1.20/24")]
    Shape4(String),
    #[error("`{0}` is not an address with its network's length, as in fd00::20/64")]
    Shape6(String),
    #[error("a network length of /{length} is outside {low} to {high}")]
    Prefix { length: u8, low: u8, high: u8 },
    #[error("{0} cannot be the address of one device")]
    Unusable(IpAddr),
    #[error("{0} is the name of the network itself, not of a device in it")]
    Network(Ipv4Addr),
    #[error("{0} is the broadcast address of its network, not of a device in it")]
    Broadcast(Ipv4Addr),
    #[error("the gateway {gateway} is not in the network {network}")]
    GatewayElsewhere { gateway: IpAddr, network: String },
    #[error("the gateway {0} is the device's own address")]
    GatewayIsSelf(IpAddr),
}

/// An IPv4 address of a device with the length of its network, 8 to 31 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Net4 {
    address: Ipv4Addr,
    prefix: u8,
}

impl Net4 {
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, AddressError> {
        if !(8..=31).contains(&prefix) {
            return Err(AddressError::Prefix { length: prefix, low: 8, high: 31 });
        }
        let first = address.octets()[0];
        if address.is_loopback() || address.is_multicast() || first == 0 || first >= 240 {
            return Err(AddressError::Unusable(address.into()));
        }
        // A /31 has two addresses and both are devices (RFC 3021).
        let host = address.to_bits() & !mask4(prefix);
        match (prefix, host) {
            (31, _) => {}
            (_, 0) => return Err(AddressError::Network(address)),
            (_, host) if host == !mask4(prefix) => return Err(AddressError::Broadcast(address)),
            _ => {}
        }
        Ok(Self { address, prefix })
    }

    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn contains(self, other: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ other.to_bits()) & mask4(self.prefix) == 0
    }
}

/// `prefix` ones, then zeros; `prefix` is 8 to 31.
fn mask4(prefix: u8) -> u32 {
    u32::MAX << (32 - prefix)
}

impl FromStr for Net4 {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shape = || AddressError::Shape4(shortened(text));
        let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
        Self::new(address.parse().map_err(|_| shape())?, prefix.parse().map_err(|_| shape())?)
    }
}

/// An IPv6 address of a device with the length of its network, 16 to 127 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Net6 {
    address: Ipv6Addr,
    prefix: u8,
}

impl Net6 {
    pub fn new(address: Ipv6Addr, prefix: u8) -> Result<Self, AddressError> {
        if !(16..=127).contains(&prefix) {
            return Err(AddressError::Prefix { length: prefix, low: 16, high: 127 });
        }
        // Link-local addresses the kernel makes itself, one an interface.
        let unusable = address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_unicast_link_local()
            || address.to_ipv4_mapped().is_some();
        if unusable { Err(AddressError::Unusable(address.into())) } else { Ok(Self { address, prefix }) }
    }

    pub fn address(self) -> Ipv6Addr {
        self.address
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub fn contains(self, other: Ipv6Addr) -> bool {
        (self.address.to_bits() ^ other.to_bits()) >> (128 - self.prefix) == 0
    }
}

impl FromStr for Net6 {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shape = || AddressError::Shape6(shortened(text));
        let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
        Self::new(address.parse().map_err(|_| shape())?, prefix.parse().map_err(|_| shape())?)
    }
}

/// What is not an address may be anything, and is repeated in a message only so far.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A fixed IPv4 address, and the router beyond the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawStatic<Net4, Ipv4Addr>", into = "RawStatic<Net4, Ipv4Addr>")]
pub struct Static4 {
    net: Net4,
    gateway: Option<Ipv4Addr>,
}

impl Static4 {
    pub fn new(net: Net4, gateway: Option<Ipv4Addr>) -> Result<Self, AddressError> {
        if let Some(gateway) = gateway {
            check_gateway(gateway.into(), net.address.into(), net.contains(gateway), &net)?;
        }
        Ok(Self { net, gateway })
    }

    pub fn net(self) -> Net4 {
        self.net
    }

    pub fn gateway(self) -> Option<Ipv4Addr> {
        self.gateway
    }
}

/// A fixed IPv6 address, and the router beyond the network; without one, the routers that announce themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawStatic<Net6, Ipv6Addr>", into = "RawStatic<Net6, Ipv6Addr>")]
pub struct Static6 {
    net: Net6,
    gateway: Option<Ipv6Addr>,
}

impl Static6 {
    pub fn new(net: Net6, gateway: Option<Ipv6Addr>) -> Result<Self, AddressError> {
        if let Some(gateway) = gateway {
            // Routers are mostly known by their link-local address.
            let near = net.contains(gateway) || gateway.is_unicast_link_local();
            check_gateway(gateway.into(), net.address.into(), near, &net)?;
        }
        Ok(Self { net, gateway })
    }

    pub fn net(self) -> Net6 {
        self.net
    }

    pub fn gateway(self) -> Option<Ipv6Addr> {
        self.gateway
    }
}

fn check_gateway(gateway: IpAddr, own: IpAddr, near: bool, net: &impl fmt::Display) -> Result<(), AddressError> {
    if gateway == own {
        return Err(AddressError::GatewayIsSelf(gateway));
    }
    if !near {
        return Err(AddressError::GatewayElsewhere { gateway, network: net.to_string() });
    }
    Ok(())
}

/// A fixed address as it is written down; what is read has to pass the checks of `new` again.
#[derive(Serialize, Deserialize)]
struct RawStatic<N, G> {
    address: N,
    gateway: Option<G>,
}

macro_rules! written_as_text {
    ($net:ident, $fixed:ident, $address:ident) => {
        impl fmt::Display for $net {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address, self.prefix)
            }
        }

        impl TryFrom<String> for $net {
            type Error = AddressError;

            fn try_from(text: String) -> Result<Self, AddressError> {
                text.parse()
            }
        }

        impl From<$net> for String {
            fn from(net: $net) -> Self {
                net.to_string()
            }
        }

        impl TryFrom<RawStatic<$net, $address>> for $fixed {
            type Error = AddressError;

            fn try_from(raw: RawStatic<$net, $address>) -> Result<Self, AddressError> {
                Self::new(raw.address, raw.gateway)
            }
        }

        impl From<$fixed> for RawStatic<$net, $address> {
            fn from(fixed: $fixed) -> Self {
                Self { address: fixed.net, gateway: fixed.gateway }
            }
        }
    };
}
written_as_text!(Net4, Static4, Ipv4Addr);
written_as_text!(Net6, Static6, Ipv6Addr);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused4(address: &str, gateway: Option<&str>, said: &str) {
        let fixed = address
            .parse::<Net4>()
            .and_then(|net| Static4::new(net, gateway.map(|gateway| gateway.parse().expect("an address"))));
        let why = fixed.expect_err("is refused").to_string();
        assert!(why.contains(said), "{why}");
    }

    #[track_caller]
    fn refused6(address: &str, gateway: Option<&str>, said: &str) {
        let fixed = address
            .parse::<Net6>()
            .and_then(|net| Static6::new(net, gateway.map(|gateway| gateway.parse().expect("an address"))));
        let why = fixed.expect_err("is refused").to_string();
        assert!(why.contains(said), "{why}");
    }

    #[test]
    fn an_address_no_device_can_have_is_refused() {
        refused4("192.168.1.20", None, "as in 192.168.1.20/24");
        refused4("192.168.1.20/255.255.255.0", None, "as in");
        refused4("192.168.1.20/33", None, "outside 8 to 31");
        refused4("192.168.1.0/24", None, "network itself");
        refused4("192.168.1.255/24", None, "broadcast");
        refused4("127.0.0.2/8", None, "one device");
        refused4("224.0.0.5/24", None, "one device");
        refused4("0.1.2.3/8", None, "one device");
        refused6("fd00::20", None, "as in fd00::20/64");
        refused6("fd00::20/128", None, "outside 16 to 127");
        refused6("fe80::1/64", None, "one device");
        refused6("::1/64", None, "one device");
        refused6("::ffff:1.2.3.4/96", None, "one device");
    }

    #[test]
    fn a_gateway_is_another_device_in_the_same_network() {
        refused4("192.168.1.20/24", Some("192.168.2.1"), "not in the network 192.168.1.20/24");
        refused4("192.168.1.20/24", Some("192.168.1.20"), "own address");
        refused6("fd00::20/64", Some("fd00:0:0:1::1"), "not in the network");
        for (address, gateway) in [("192.168.1.20/23", "192.168.0.1"), ("10.0.0.1/31", "10.0.0.0")] {
            let net = address.parse::<Net4>().expect("a network");
            assert!(Static4::new(net, gateway.parse().ok()).is_ok(), "{address} {gateway}");
        }
        for (address, gateway) in [("fd00::20/64", "fd00::1"), ("2001:db8::2/127", "fe80::1")] {
            let net = address.parse::<Net6>().expect("a network");
            assert!(Static6::new(net, gateway.parse().ok()).is_ok(), "{address} {gateway}");
        }
    }

    #[test]
    fn what_was_written_down_is_checked_again_when_it_is_read() {
        let fixed = Addressing {
            v4: Some(Static4::new("10.1.2.3/8".parse().expect("a network"), "10.0.0.1".parse().ok()).expect("fits")),
            v6: Some(Static6::new("fd00::20/64".parse().expect("a network"), None).expect("fits")),
            dns: vec!["9.9.9.9".parse().expect("an address")],
        };
        let text = toml::to_string(&fixed).expect("can be written");
        assert_eq!(toml::from_str::<Addressing>(&text).expect("can be read"), fixed);
        let bent = text.replace("10.0.0.1", "11.0.0.1");
        assert!(
            toml::from_str::<Addressing>(&bent).expect_err("is refused").to_string().contains("not in the network")
        );
        let wire = postcard::to_stdvec(&fixed).expect("can be sent");
        assert_eq!(postcard::from_bytes::<Addressing>(&wire).expect("can be received"), fixed);
    }
}
