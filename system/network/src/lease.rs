//! What a DHCP server gave, as our udhcpc script writes it down: `key=value` lines in a small file. The file comes from
//! an unprivileged child and the network: it is read with a bound, and only what has its type is taken.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The longest lease file, bytes.
const MAX_FILE: u64 = 8192;
/// The most addresses taken of a list.
const MAX_LIST: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

/// What an interface was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub interface: String,
    pub family: Family,
    pub address: Option<IpAddr>,
    /// Of the address's network, bits.
    pub prefix: Option<u8>,
    pub routers: Vec<IpAddr>,
    pub dns: Vec<IpAddr>,
    pub ntp: Vec<IpAddr>,
    pub domain: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    #[error("cannot read {path}: {why}")]
    Io { path: PathBuf, why: std::io::Error },
    #[error("{0} is not a lease: it is longer than {MAX_FILE} bytes, or no text")]
    Shape(PathBuf),
}

impl Lease {
    /// The file in `folder` where the script writes an interface's lease.
    pub fn path(folder: &Path, interface: &str, family: Family) -> PathBuf {
        let ending = match family {
            Family::V4 => "lease",
            Family::V6 => "lease6",
        };
        folder.join(format!("{interface}.{ending}"))
    }

    /// Reads an interface's lease; `None` where there is none.
    pub fn read(folder: &Path, interface: &str, family: Family) -> Result<Option<Self>, LeaseError> {
        let path = Self::path(folder, interface, family);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(LeaseError::Io { path, why }),
        };
        let mut bytes = Vec::new();
        if let Err(why) = file.take(MAX_FILE + 1).read_to_end(&mut bytes) {
            return Err(LeaseError::Io { path, why });
        }
        match String::from_utf8(bytes) {
            Ok(text) if text.len() as u64 <= MAX_FILE => Ok(Some(Self::parse(interface, family, &text))),
            _ => Err(LeaseError::Shape(path)),
        }
    }

    /// Reads the text of a lease. Lines and values that are not understood are passed over: what a server says wrongly
    /// must not cost the address that it also gave.
    pub fn parse(interface: &str, family: Family, text: &str) -> Self {
        let mut lease = Self {
            interface: interface.to_owned(),
            family,
            address: None,
            prefix: None,
            routers: Vec::new(),
            dns: Vec::new(),
            ntp: Vec::new(),
            domain: None,
        };
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "address" => {
                    let (address, prefix) = value.split_once('/').map_or((value, None), |(it, rest)| (it, Some(rest)));
                    lease.address = address.parse().ok();
                    lease.prefix = prefix.and_then(|prefix| prefix.parse().ok()).filter(|it| *it <= lease.longest());
                }
                "router" => lease.routers = addresses(value),
                "dns" => lease.dns = addresses(value),
                "ntp" => lease.ntp = addresses(value),
                "domain" => lease.domain = domain(value),
                _ => {}
            }
        }
        lease
    }

    fn longest(&self) -> u8 {
        match self.family {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

fn addresses(list: &str) -> Vec<IpAddr> {
    list.split_ascii_whitespace().filter_map(|word| word.parse().ok()).take(MAX_LIST).collect()
}

fn domain(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!text.is_empty() && text.len() <= 253 && text.bytes().all(fits)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOME: &str = "address=192.168.1.20/24\nrouter=192.168.1.1\ndns=192.168.1.1 9.9.9.9\nntp=192.168.1.1\n\
                        domain=fritz.box\nlease=864000\n";

    #[test]
    fn a_lease_of_a_home_router_is_read() {
        let lease = Lease::parse("eth0", Family::V4, HOME);
        assert_eq!(lease.address, "192.168.1.20".parse().ok());
        assert_eq!(lease.prefix, Some(24));
        assert_eq!(lease.routers, ["192.168.1.1".parse::<IpAddr>().expect("an address")]);
        assert_eq!(lease.dns.len(), 2);
        assert_eq!(lease.ntp.len(), 1);
        assert_eq!(lease.domain.as_deref(), Some("fritz.box"));
    }

    type Holds = fn(&Lease) -> bool;

    #[test]
    fn what_has_not_its_type_is_passed_over() {
        let many = format!("dns={}\n", "1.1.1.1 ".repeat(100));
        let cases: [(&str, Holds); 5] = [
            ("address=300.1.1.1/24\n", |lease| lease.address.is_none()),
            ("address=10.0.0.2/77\n", |lease| lease.address.is_some() && lease.prefix.is_none()),
            ("dns=10.0.0.1 $(reboot) 10.0.0.2\n", |lease| lease.dns.len() == 2),
            ("domain=a b;c\n", |lease| lease.domain.is_none()),
            (many.as_str(), |lease| lease.dns.len() == MAX_LIST),
        ];
        for (text, holds) in cases {
            assert!(holds(&Lease::parse("eth0", Family::V4, text)), "{text}");
        }
    }

    #[test]
    fn a_lease_file_is_read_with_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Lease::read(folder.path(), "eth0", Family::V4).expect("no file is no error").is_none());
        std::fs::write(Lease::path(folder.path(), "eth0", Family::V4), HOME).expect("written");
        let lease = Lease::read(folder.path(), "eth0", Family::V4).expect("is read").expect("is there");
        assert_eq!(lease, Lease::parse("eth0", Family::V4, HOME));
        std::fs::write(Lease::path(folder.path(), "eth0", Family::V6), "x".repeat(9000)).expect("written");
        assert!(matches!(Lease::read(folder.path(), "eth0", Family::V6), Err(LeaseError::Shape(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_some_lease(text in "\\PC{0,200}|(address|dns|ntp)=[0-9./: ]{0,60}\n") {
            let lease = Lease::parse("eth0", Family::V6, &text);
            prop_assert!(lease.dns.len() <= MAX_LIST);
        }
    }
}
