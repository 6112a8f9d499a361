//! The interfaces as they are now, for whoever asks how the appliance is.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use warppool_protocol::{Interface, Link};

use crate::plan::Kind;
use crate::supplicant;

/// Wired and wireless interfaces, by name, with their addresses as the kernel has them. Loopback and tunnels are left
/// out, and link-local addresses: nobody would type them.
pub fn interfaces() -> Vec<Interface> {
    let mut addresses = addresses();
    let mut found: Vec<Interface> = names()
        .into_iter()
        .filter_map(|name| match Kind::of(&name)? {
            Kind::Loopback => None,
            kind => Some(describe(name, kind, &mut addresses)),
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn names() -> Vec<String> {
    let Ok(folder) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn describe(name: String, kind: Kind, addresses: &mut BTreeMap<String, Vec<String>>) -> Interface {
    let fact = |file: &str| {
        let path = Path::new("/sys/class/net").join(&name).join(file);
        fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    // Some drivers never say more than "unknown", and run.
    let up = matches!(fact("operstate").as_str(), "up" | "unknown") && fact("carrier") == "1";
    let radio = if kind == Kind::Wifi { supplicant::status(&name) } else { None };
    let link = match radio {
        Some(status) if status.connected => Link::WiFi { ssid: status.ssid.unwrap_or_default() },
        _ if up => Link::Up,
        _ => Link::Down,
    };
    Interface { link, mac: fact("address"), addresses: addresses.remove(&name).unwrap_or_default(), name }
}

/// Each interface's addresses with their network's length.
fn addresses() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Ok(all) = getifaddrs() else { return found };
    for entry in all {
        let (Some(address), Some(mask)) = (entry.address, entry.netmask) else { continue };
        let (address, bits) = if let (Some(address), Some(mask)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
            (IpAddr::V4(address.ip()), mask.ip().to_bits().count_ones())
        } else if let (Some(address), Some(mask)) = (address.as_sockaddr_in6(), mask.as_sockaddr_in6()) {
            (IpAddr::V6(address.ip()), mask.ip().to_bits().count_ones())
        } else {
            continue;
        };
        if !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
            found.entry(entry.interface_name).or_default().push(format!("{address}/{bits}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address_and_is_not_among_the_interfaces() {
        assert!(addresses().get("lo").is_none_or(|list| list.contains(&"127.0.0.1/8".to_owned())));
        assert!(interfaces().iter().all(|interface| interface.name != "lo"));
    }
}
