//! Ports that PID 1 opens and the pool serves: those below 1024 need root, and a miner that connects while the pool starts anew
//! waits in the queue instead of being turned away.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use crate::console::say;
use crate::sys;

/// The web page, for this machine alone until there are accounts.
const HTTP: (&str, SocketAddr) = ("http", SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 80));
/// Miners by Stratum V1; IPv6's any address takes IPv4 as well.
const STRATUM: (&str, SocketAddr) = ("stratum", SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 3333));

pub type Sockets = BTreeMap<String, Arc<OwnedFd>>;

/// Opens them all. One that cannot be opened is told and left to the pool.
pub fn open() -> Sockets {
    let mut sockets = Sockets::new();
    for (name, address) in [HTTP, STRATUM] {
        // A kernel without IPv6.
        let fallback = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        let bound = TcpListener::bind(address)
            .or_else(|why| if address.is_ipv6() { TcpListener::bind(fallback) } else { Err(why) });
        match bound {
            Ok(listener) => drop(sockets.insert(name.to_owned(), Arc::new(listener.into()))),
            Err(why) => say!("sockets: {name} cannot listen on {address}: {why}"),
        }
    }
    sockets
}

/// Takes over those that the program before us had open.
pub fn adopt(left: &[(String, RawFd)]) -> Sockets {
    left.iter().filter_map(|(name, fd)| Some((name.clone(), Arc::new(sys::adopt(*fd)?)))).collect()
}

/// For the program after us.
pub fn descriptors(sockets: &Sockets) -> Vec<(String, RawFd)> {
    sockets.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())).collect()
}
