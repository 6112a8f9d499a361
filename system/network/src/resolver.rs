//! The content of resolv.conf.

use std::fmt::Write;
use std::net::IpAddr;

use crate::{Lease, Network};

/// musl asks no more than three name servers.
const MAX_SERVERS: usize = 3;

/// The content of `/etc/resolv.conf`: configured name servers first, then those the network gave. A link-local server
/// is left out, because it is found only with the interface it belongs to, which this file cannot say to musl for every
/// network.
pub fn resolv_conf(network: &Network, leases: &[Lease]) -> String {
    let fixed = network.ethernet.dns.iter().chain(network.wifi.iter().flat_map(|wifi| &wifi.addressing.dns));
    let given = leases.iter().flat_map(|lease| &lease.dns);
    let mut servers: Vec<IpAddr> = Vec::new();
    for server in fixed.chain(given) {
        let local = matches!(server, IpAddr::V6(address) if address.is_unicast_link_local());
        if !local && !server.is_unspecified() && !servers.contains(server) && servers.len() < MAX_SERVERS {
            servers.push(*server);
        }
    }
    let mut text = String::from("# Written by warppool; changes are lost.\noptions timeout:2 attempts:2\n");
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;

    #[test]
    fn configured_servers_come_first_and_none_twice() {
        let mut network = Network::default();
        network.ethernet.dns = vec!["9.9.9.9".parse().expect("an address")];
        let leases = [
            Lease::parse("eth0", Family::V4, "dns=192.168.1.1 9.9.9.9\n"),
            Lease::parse("eth0", Family::V6, "dns=fe80::1 :: fd00::1 fd00::2\n"),
        ];
        let text = resolv_conf(&network, &leases);
        let servers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
        assert_eq!(servers, ["9.9.9.9", "192.168.1.1", "fd00::1"]);
    }
}
