//! Where to ask for the time.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Lease;

const PORT: u16 = 123;
/// Asked when nothing else is configured, after those the network's own DHCP server names.
const DEFAULTS: [&str; 3] = ["0.pool.ntp.org", "1.pool.ntp.org", "time.cloudflare.com"];
/// More than this are not asked.
const MAX_SERVERS: usize = 8;

/// A time server: a name or an address, with a port unless it is the usual 123.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NtpServer {
    host: String,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time server's name or address, as in pool.ntp.org, 192.168.1.1 or ntp.example:1123")]
pub struct ServerError(String);

impl NtpServer {
    /// A name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<IpAddr> for NtpServer {
    fn from(address: IpAddr) -> Self {
        Self { host: address.to_string(), port: PORT }
    }
}

impl FromStr for NtpServer {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let wrong = || ServerError(text.chars().take(64).collect());
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => {
                let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
                let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) };
                (address.to_string(), port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (text.to_owned(), None),
            },
        };
        let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| wrong()))?;
        if port == 0 || !(host.contains(':') || is_name(&host)) {
            return Err(wrong());
        }
        Ok(Self { host, port })
    }
}

/// A name of the domain name system, not fully qualified ones with a last dot either way.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

impl fmt::Display for NtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (_, PORT) => f.write_str(&self.host),
            (true, port) => write!(f, "[{}]:{port}", self.host),
            (false, port) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl TryFrom<String> for NtpServer {
    type Error = ServerError;

    fn try_from(text: String) -> Result<Self, ServerError> {
        text.parse()
    }
}

impl From<NtpServer> for String {
    fn from(server: NtpServer) -> Self {
        server.to_string()
    }
}

/// Who is asked: the configured servers alone when there are any; else those of the network and, because a home
/// router's word is often wrong or missing, well-known ones.
pub fn servers(configured: &[NtpServer], leases: &[Lease]) -> Vec<NtpServer> {
    if !configured.is_empty() {
        return configured.iter().take(MAX_SERVERS).cloned().collect();
    }
    let given = leases.iter().flat_map(|lease| &lease.ntp).map(|address| NtpServer::from(*address));
    let known = DEFAULTS.iter().map(|name| NtpServer { host: (*name).to_owned(), port: PORT });
    let mut all: Vec<NtpServer> = Vec::new();
    for server in given.take(MAX_SERVERS - DEFAULTS.len()).chain(known) {
        if !all.contains(&server) {
            all.push(server);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;

    #[test]
    fn a_server_is_a_name_or_an_address_with_or_without_a_port() {
        let cases = [
            ("pool.ntp.org", "pool.ntp.org", 123),
            ("ntp.example:1123", "ntp.example", 1123),
            ("192.168.1.1", "192.168.1.1", 123),
            ("192.168.1.1:124", "192.168.1.1", 124),
            ("fd00::1", "fd00::1", 123),
            ("[fd00::1]", "fd00::1", 123),
            ("[fd00::1]:124", "fd00::1", 124),
        ];
        for (text, host, port) in cases {
            let server: NtpServer = text.parse().expect(text);
            assert_eq!((server.host(), server.port()), (host, port));
            assert_eq!(server.to_string().parse::<NtpServer>(), Ok(server));
        }
    }

    #[test]
    fn what_cannot_be_a_server_is_refused() {
        let long = "a.".repeat(200);
        for text in ["", "a b", "ntp://x", "x:", "x:0", "x:99999", "[fd00::1", "[x]:1", "..", "-a", long.as_str()] {
            assert!(text.parse::<NtpServer>().is_err(), "{text}");
        }
    }

    #[test]
    fn configured_servers_are_asked_alone_else_the_networks_first() {
        let lease = Lease::parse("eth0", Family::V4, "ntp=192.168.1.1 192.168.1.1\n");
        let own: NtpServer = "ntp.example".parse().expect("a name");
        assert_eq!(servers(std::slice::from_ref(&own), std::slice::from_ref(&lease)), [own]);
        let asked: Vec<String> = servers(&[], &[lease]).iter().map(ToString::to_string).collect();
        assert_eq!(asked, ["192.168.1.1", "0.pool.ntp.org", "1.pool.ntp.org", "time.cloudflare.com"]);
    }
}
