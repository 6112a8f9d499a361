//! The header of the PROXY protocol, version 2: how a load balancer tells whom it stands for.
//!
//! Only named proxies are believed. Version 1, the one in text, is refused: it cannot be told from a miner's line reliably.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header of version 2 begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes up to the addresses.
const FIXED: usize = 16;
/// Most bytes of addresses and extensions.
const MOST: usize = 4096;

/// A header read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The proxy speaks for itself (a health check).
    Local,
    /// The proxy speaks for this client. `None` where the client's address is no IP address, or not told.
    Proxied(Option<SocketAddr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    #[error("the connection does not begin with a PROXY header of version 2; turn on `send-proxy-v2` in the proxy")]
    NoHeader,
    #[error("the PROXY header has version {0}; only version 2 is understood")]
    Version(u8),
    #[error("the PROXY header has the unknown command {0}")]
    Command(u8),
    #[error("the PROXY header has the unknown address family or transport {0:#04x}")]
    Family(u8),
    #[error("the PROXY header is for a datagram socket")]
    NotStream,
    #[error("the PROXY header has {0} bytes of addresses, more than the {MOST} allowed")]
    TooLong(usize),
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
}

/// Reads a header from the first bytes of a connection. Gives the header and its length, or `None` when more bytes are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let signed = bytes.len().min(SIGNATURE.len());
    if bytes[..signed] != SIGNATURE[..signed] {
        return Err(ProxyError::NoHeader);
    }
    let Some((&fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let [version_command, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    if version_command >> 4 != 2 {
        return Err(ProxyError::Version(version_command >> 4));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MOST {
        return Err(ProxyError::TooLong(length));
    }
    let Some(addresses) = rest.get(..length) else { return Ok(None) };
    let header = match version_command & 0xf {
        0 => Header::Local,
        1 => Header::Proxied(source(family, addresses)?),
        command => return Err(ProxyError::Command(command)),
    };
    Ok(Some((header, FIXED + length)))
}

/// Source address, from source and destination address followed by source and destination port.
fn source(family: u8, addresses: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    match family {
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses else { return Err(ProxyError::TooShort) };
            let address = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
            Ok(Some(SocketAddr::new(address, u16::from_be_bytes([high, low]))))
        }
        0x21 => {
            let (Some(address), Some([high, low, ..])) = (addresses.first_chunk::<16>(), addresses.get(32..36)) else {
                return Err(ProxyError::TooShort);
            };
            let address = IpAddr::V6(Ipv6Addr::from(*address)).to_canonical();
            Ok(Some(SocketAddr::new(address, u16::from_be_bytes([*high, *low]))))
        }
        // Unspecified, or a Unix socket: the connection is let in under the proxy's own address.
        0x00 | 0x31 => Ok(None),
        0x12 | 0x22 | 0x32 => Err(ProxyError::NotStream),
        other => Err(ProxyError::Family(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version_command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = (addresses.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, addresses].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xc0, 0x01, 0x0d, 0x05];

    fn v6() -> Vec<u8> {
        let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&address.octets()[..], &[0; 16], &[0xc0, 0x01, 0x0d, 0x05]].concat()
    }

    #[test]
    fn headers_of_version_2_give_the_client() {
        let case =
            |bytes: Vec<u8>, expected| assert_eq!(parse(&bytes), Ok(Some((expected, bytes.len()))), "{bytes:x?}");
        case(header(0x21, 0x11, &V4), Header::Proxied(Some("192.0.2.7:49153".parse().unwrap())));
        case(header(0x21, 0x21, &v6()), Header::Proxied(Some("[2001:db8::7]:49153".parse().unwrap())));
        // Extensions after the addresses are skipped.
        case(
            header(0x21, 0x11, &[&V4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
            Header::Proxied(Some("192.0.2.7:49153".parse().unwrap())),
        );
        case(header(0x20, 0x00, &[]), Header::Local);
        case(header(0x20, 0x11, &V4), Header::Local);
        case(header(0x21, 0x00, &[]), Header::Proxied(None));
        case(header(0x21, 0x31, &[0; 216]), Header::Proxied(None));
        let with_line = [header(0x21, 0x11, &V4), b"{}\n".to_vec()].concat();
        assert_eq!(parse(&with_line).unwrap().unwrap().1, with_line.len() - 3, "the rest is the miner's");
    }

    #[test]
    fn an_unfinished_header_wants_more() {
        let whole = header(0x21, 0x11, &V4);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Ok(None), "{length} bytes");
        }
    }

    #[test]
    fn what_is_no_header_of_version_2_is_refused() {
        let case = |bytes: &[u8], error| assert_eq!(parse(bytes), Err(error), "{bytes:x?}");
        case(b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 3333\r\n", ProxyError::NoHeader);
        case(b"{\"id\":1", ProxyError::NoHeader);
        case(b"\r\n\r\n\0\r\nQUIT\r", ProxyError::NoHeader);
        case(&header(0x11, 0x11, &V4), ProxyError::Version(1));
        case(&header(0x22, 0x11, &V4), ProxyError::Command(2));
        case(&header(0x21, 0x12, &V4), ProxyError::NotStream);
        case(&header(0x21, 0x41, &V4), ProxyError::Family(0x41));
        case(&header(0x21, 0x11, &V4[..9]), ProxyError::TooShort);
        case(&header(0x21, 0x21, &v6()[..35]), ProxyError::TooShort);
        case(&header(0x21, 0x11, &[0; MOST + 1]), ProxyError::TooLong(MOST + 1));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), signed: bool) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
