//! A range of addresses: `10.0.0.0/8`, `fd00::/8`, or a single address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A range of IP addresses. An IPv4 peer seen through an IPv6 socket (`::ffff:a.b.c.d`) is matched as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// Why a text is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IP address or a range of them, as in 192.168.1.2 or 10.0.0.0/8")]
pub struct ParseNetworkError(String);

impl Network {
    /// As the servers take it.
    pub fn net(self) -> IpNet {
        self.0
    }

    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.contains(&addr.to_canonical())
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let addr = text.parse::<IpAddr>().map(|addr| IpNet::from(addr.to_canonical()));
        addr.or_else(|_| text.parse::<IpNet>()).map(Self).map_err(|_| ParseNetworkError(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

super::serde_as_text!(Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(network: &str, addr: &str, contains: bool) {
        let network: Network = network.parse().unwrap();
        assert_eq!(network.contains(addr.parse().unwrap()), contains, "{network} {addr}");
        assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        case("10.0.0.0/8", "10.255.0.1", true);
        case("10.0.0.0/8", "11.0.0.1", false);
        case("10.1.2.3/8", "10.9.9.9", true);
        case("10.0.0.0/8", "::ffff:10.1.1.1", true);
        case("::ffff:192.168.1.2", "192.168.1.2", true);
        case("192.168.1.2", "192.168.1.3", false);
        case("fd00::/8", "fd12::1", true);
        case("fd00::/8", "10.0.0.1", false);
        case("0.0.0.0/0", "8.8.8.8", true);
        case("0.0.0.0/0", "2001:db8::1", false);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0", "host/8", "fd00::/129", "10.0.0.0/8 "] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }
}
