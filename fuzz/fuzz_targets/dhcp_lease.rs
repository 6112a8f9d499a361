//! What a DHCP server gave, as the script writes it down: only what has its type is taken, in bounds, and what is made of it for
//! the resolver holds name servers and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_network::{Family, Lease, Network, resolv_conf};

/// What the module takes of a list, and musl of name servers.
const MOST: usize = 8;
const SERVERS: usize = 3;

fuzz_target!(|text: &str| {
    for (family, bits) in [(Family::V4, 32), (Family::V6, 128)] {
        let lease = Lease::parse("eth0", family, text);
        assert_eq!(lease, Lease::parse("eth0", family, text));
        assert!([&lease.routers, &lease.dns, &lease.ntp].iter().all(|list| list.len() <= MOST));
        assert!(lease.prefix.is_none_or(|prefix| prefix <= bits));
        assert!(lease.prefix.is_none() || lease.address.is_some() || text.contains('/'));
        if let Some(domain) = &lease.domain {
            assert!(!domain.is_empty() && domain.len() <= 253 && !domain.contains(char::is_whitespace));
        }
        let resolver = resolv_conf(&Network::default(), &[lease]);
        let servers: Vec<&str> = resolver.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
        assert!(servers.len() <= SERVERS && servers.iter().all(|server| server.parse::<std::net::IpAddr>().is_ok()));
        let others = resolver.lines().filter(|line| !line.starts_with("nameserver "));
        assert!(others.eq(resolv_conf(&Network::default(), &[]).lines()), "{resolver}");
    }
});
