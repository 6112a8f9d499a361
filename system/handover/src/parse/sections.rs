//! The sections of the file, one function each.

use std::net::IpAddr;

use toml::de::DeTable;
use warppool_network::clock::NtpServer;
use warppool_network::{Addressing, Country, Hostname, Net4, Net6, Passphrase, Ssid, Static4, Static6, Wifi};

use super::reader::{At, Reader, Section, has};
use crate::values::{node_name, one_line, payout_address};
use crate::{Chain, HandOver, NodeAccess, Secret, SshKey, TimeZone, Url, ValueError};

pub(super) fn read(reader: &mut Reader<'_>, root: &DeTable<'_>, zone_exists: &dyn Fn(&TimeZone) -> bool) -> HandOver {
    let mut settings = HandOver::default();
    let sections = reader.sections(root);
    let nodes = sections.iter().filter(|section| section.name == "node").count();
    for section in &sections {
        match section.name {
            "device" => device(reader, section, zone_exists, &mut settings),
            "network" => settings.network = Some(addressing(reader, section)),
            "wifi" => settings.wifi = wifi(reader, section),
            "node" => node(reader, section, nodes, &mut settings.nodes),
            "mining" => mining(reader, section, &mut settings),
            _ => ssh(reader, section, &mut settings),
        }
    }
    settings
}

fn device(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    zone_exists: &dyn Fn(&TimeZone) -> bool,
    settings: &mut HandOver,
) {
    settings.hostname = reader.value(section, "hostname", str::parse::<Hostname>).map(|it| it.value);
    let zone = |text: &str| match text.parse::<TimeZone>() {
        Ok(zone) if !zone_exists(&zone) => Err(ValueError::TimeZone(zone.to_string())),
        other => other,
    };
    settings.timezone = reader.value(section, "timezone", zone).map(|it| it.value);
    settings.ntp = reader.list(section, "ntp", str::parse::<NtpServer>);
    settings.allow_downgrade = reader.flag(section, "allow_downgrade");
}

/// The keys of a fixed address, in `[network]` and `[wifi]` alike.
fn addressing(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Addressing {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| "this is not an IP address");
    let net = reader.value(section, "address", str::parse::<Net4>);
    let gateway = reader.value(section, "gateway", |text| match address(text)? {
        IpAddr::V4(gateway) => Ok(gateway),
        IpAddr::V6(_) => Err("this is an IPv6 address, which belongs into gateway6"),
    });
    let net6 = reader.value(section, "address6", str::parse::<Net6>);
    let gateway6 = reader.value(section, "gateway6", |text| match address(text)? {
        IpAddr::V6(gateway) => Ok(gateway),
        IpAddr::V4(_) => Err("this is an IPv4 address, which belongs into gateway"),
    });
    let dns = reader.list(section, "dns", address);
    for (gateway, needs) in [("gateway", "address"), ("gateway6", "address6")] {
        if has(section, gateway) && !has(section, needs) {
            let key = format!("{}.{gateway}", section.name);
            reader.fault(
                section.at,
                &key,
                format!("a {gateway} is of use only with an {needs}"),
                format!("write {needs} too, or leave both out for DHCP"),
            );
        }
    }
    // Without an address by DHCP nobody tells the name servers.
    if net.is_some() && dns.is_none() && !has(section, "dns") {
        let key = format!("{}.dns", section.name);
        let remedy = "write dns = [\"…\"] with your router's address, or dns = [] for none";
        reader.fault(section.at, &key, "with a fixed address, name servers have to be said", remedy);
    }
    let v4 = net.and_then(|At { value: net, at }| {
        let fixed = Static4::new(net, gateway.map(|it| it.value));
        fixed.map_err(|why| reader.fault(at, &format!("{}.gateway", section.name), why, GATEWAY)).ok()
    });
    let v6 = net6.and_then(|At { value: net, at }| {
        let fixed = Static6::new(net, gateway6.map(|it| it.value));
        fixed.map_err(|why| reader.fault(at, &format!("{}.gateway6", section.name), why, GATEWAY)).ok()
    });
    Addressing { v4, v6, dns: dns.unwrap_or_default() }
}

const GATEWAY: &str = "the gateway is your router's address, the address a free one of the same network";

fn wifi(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Wifi> {
    for needed in ["ssid", "country"] {
        if !has(section, needed) {
            let problem = match needed {
                "ssid" => "the network's name is missing",
                _ => "the country is missing; which channels may be used depends on it",
            };
            let example = super::keys::find("wifi", needed).map_or("", |key| key.example);
            reader.fault(section.at, &format!("wifi.{needed}"), problem, format!("write it as in: {example}"));
        }
    }
    // A backslash and a letter between quotation marks may have become one: no network's name holds it on purpose.
    let ssid = reader.exact(section, "ssid", |text| match text.parse::<Ssid>() {
        Ok(_) if text.chars().any(char::is_control) => Err(ValueError::Invisible.to_string()),
        other => other.map_err(|why| why.to_string()),
    });
    let passphrase = reader.exact(section, "password", str::parse::<Passphrase>).map(|it| it.value);
    let country = reader.value(section, "country", str::parse::<Country>);
    let hidden = reader.flag(section, "hidden");
    let addressing = addressing(reader, section);
    Some(Wifi { ssid: ssid?.value, passphrase, country: country?.value, hidden, addressing })
}

fn node(reader: &mut Reader<'_>, section: &Section<'_, '_>, of: usize, nodes: &mut Vec<NodeAccess>) {
    for needed in ["url", "user", "password"] {
        if !has(section, needed) {
            let example = super::keys::find("node", needed).map_or("", |key| key.example);
            let problem = "this is missing; a node answers only who has it";
            reader.fault(section.at, &format!("node.{needed}"), problem, format!("write it as in: {example}"));
        }
    }
    let name = reader.value(section, "name", node_name);
    let url = reader.value(section, "url", Url::rpc);
    let user = reader.exact(section, "user", one_line);
    let password = reader.exact(section, "password", one_line);
    let zmq = reader.value(section, "zmq", Url::zmq).map(|it| it.value);
    let at = name.as_ref().map_or(section.at, |it| it.at);
    let number = nodes.len() + 1;
    let otherwise = if of == 1 { "node".to_owned() } else { format!("node-{number}") };
    let name = name.map_or(otherwise, |it| it.value);
    if nodes.iter().any(|other| other.name == name) {
        reader.fault(at, "node.name", format!("another node is called {name} too"), "give each node its own name");
    }
    if let (Some(url), Some(user), Some(password)) = (url, user, password) {
        let (user, password) = (user.value, Secret::new(password.value));
        nodes.push(NodeAccess { name, url: url.value, user, password, zmq });
    }
}

fn mining(reader: &mut Reader<'_>, section: &Section<'_, '_>, settings: &mut HandOver) {
    settings.payout_address = reader.value(section, "payout_address", payout_address).map(|it| it.value);
    let chain = |text: &str| {
        let found = Chain::ALL.into_iter().find(|chain| chain.name() == text);
        found.ok_or_else(|| ValueError::Chain(text.chars().take(32).collect()))
    };
    settings.chain = reader.value(section, "chain", chain).map(|it| it.value);
}

fn ssh(reader: &mut Reader<'_>, section: &Section<'_, '_>, settings: &mut HandOver) {
    settings.ssh_keys = reader.list(section, "keys", str::parse::<SshKey>).unwrap_or_default();
    let single = reader.value(section, "key", str::parse::<SshKey>).map(|it| it.value);
    settings.ssh_keys.extend(single);
}
