//! Where to listen: `:3333` for every address of the machine, `127.0.0.1:3333`, `[::1]:3333` or `localhost:3333` for one.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// An address to listen on. Port 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Listen {
    /// Every address of the machine, IPv4 and IPv6.
    Any(u16),
    Addr(SocketAddr),
    /// A name, looked up when the socket is bound.
    Host(String, u16),
}

/// Why a text is no [`Listen`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address to listen on (host:port, or :port for every address)")]
pub struct ParseListenError(String);

impl Listen {
    pub fn port(&self) -> u16 {
        match self {
            Self::Any(port) | Self::Host(_, port) => *port,
            Self::Addr(addr) => addr.port(),
        }
    }

    /// Whether only this machine can connect. A name counts as such only when it is `localhost`.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Any(_) => false,
            Self::Addr(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Host(host, _) => host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether a socket on `self` and one on `other` would want the same address.
    pub fn collides(&self, other: &Self) -> bool {
        let wide = |listen: &Self| match listen {
            Self::Any(_) => true,
            Self::Addr(addr) => addr.ip().is_unspecified(),
            Self::Host(..) => false,
        };
        self.port() != 0 && self.port() == other.port() && (self == other || wide(self) || wide(other))
    }

    /// The addresses to bind, in the order to try. For [`Listen::Any`] the first is `[::]`, meant for a dual-stack socket, the
    /// second `0.0.0.0` for machines without IPv6: bind the first that works. Looks names up, which may block.
    pub fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Any(port) => Ok(vec![
                SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port),
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port),
            ]),
            Self::Addr(addr) => Ok(vec![*addr]),
            Self::Host(host, port) => Ok((host.as_str(), *port).to_socket_addrs()?.collect()),
        }
    }
}

impl FromStr for Listen {
    type Err = ParseListenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let err = || ParseListenError(text.to_owned());
        if let Ok(addr) = text.parse() {
            return Ok(Self::Addr(addr));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(err)?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(err());
        }
        let port = port.parse().map_err(|_| err())?;
        match host {
            "" | "*" => Ok(Self::Any(port)),
            _ if is_host_name(host) => Ok(Self::Host(host.to_owned(), port)),
            _ => Err(err()),
        }
    }
}

/// Letters, digits, dots and hyphens; not something that looks like a mistyped IPv4 address.
fn is_host_name(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
        && host.bytes().any(|b| b.is_ascii_alphabetic())
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(port) => write!(f, ":{port}"),
            Self::Addr(addr) => write!(f, "{addr}"),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

super::serde_as_text!(Listen);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(text: &str, loopback: bool, first: &str) {
        let listen: Listen = text.parse().unwrap();
        assert_eq!(listen.is_loopback(), loopback, "{text}");
        assert_eq!(listen.candidates().unwrap()[0], first.parse().unwrap(), "{text}");
        assert_eq!(listen.to_string().parse::<Listen>().unwrap(), listen, "{text} survives printing");
    }

    #[test]
    fn every_form_an_operator_writes_is_understood() {
        case(":3333", false, "[::]:3333");
        case("*:3333", false, "[::]:3333");
        case("0.0.0.0:3333", false, "0.0.0.0:3333");
        case("127.0.0.1:0", true, "127.0.0.1:0");
        case("[::1]:80", true, "[::1]:80");
        case("[::ffff:127.0.0.1]:80", true, "[::ffff:127.0.0.1]:80");
        case("192.168.1.2:65535", false, "192.168.1.2:65535");
    }

    #[test]
    fn a_bare_port_falls_back_to_ipv4_where_there_is_no_ipv6() {
        let candidates = ":3333".parse::<Listen>().unwrap().candidates().unwrap();
        assert_eq!(candidates, ["[::]:3333".parse().unwrap(), "0.0.0.0:3333".parse::<SocketAddr>().unwrap()]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "3333",
            ":",
            ":65536",
            ":-1",
            ":+80",
            "300.1.1.1:80",
            "::1:80",
            "host",
            "a b:80",
            "-x:1",
            "a..b:1",
            "x:80:80",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn two_listeners_collide_only_on_the_same_port_and_an_overlapping_address() {
        #[track_caller]
        fn case(a: &str, b: &str, collide: bool) {
            let (a, b): (Listen, Listen) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(a.collides(&b), collide, "{a} {b}");
            assert_eq!(b.collides(&a), collide, "{b} {a}");
        }
        case(":3333", "127.0.0.1:3333", true);
        case("0.0.0.0:3333", "127.0.0.1:3333", true);
        case("127.0.0.1:3333", "127.0.0.1:3333", true);
        case("127.0.0.1:3333", "127.0.0.2:3333", false);
        case(":3333", ":3334", false);
        case("127.0.0.1:0", "127.0.0.1:0", false);
    }
}
