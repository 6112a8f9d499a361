//! From settings to steps: what PID 1 does to bring each interface up. Pure; nothing here touches a system.

use std::fmt;
use std::path::PathBuf;

use crate::{Addressing, Hostname, Network, supplicant};

/// Where leases, Wi-Fi's configuration and its control socket lie; the user `net` owns it.
pub const RUN: &str = "/run/warppool/net";
/// What udhcpc and udhcpc6 call.
pub const SCRIPT: &str = "/usr/share/udhcpc/warppool.script";
pub const SCRIPT6: &str = "/usr/share/udhcpc/warppool6.script";

const BUSYBOX: &str = "/bin/busybox";
const WPA_SUPPLICANT: &str = "/usr/sbin/wpa_supplicant";
/// A cable is preferred over radio.
const METRIC_ETHERNET: u16 = 100;
const METRIC_WIFI: u16 = 600;

/// One step; they are carried out in order, and a failed one is told, not fatal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes a value below `/proc/sys`. A kernel without that file (IPv6 left out) is no fault.
    Sysctl { path: PathBuf, value: &'static str },
    /// Writes a file that only its owner, the user `net`, can read.
    File { path: PathBuf, content: Private },
    /// Runs a program as root to its end.
    Run(Vec<String>),
    /// Keeps a program running as the user `net`.
    Keep(Helper),
}

/// A program that is started again when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// For the log.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it is allowed beyond its user, as ambient capabilities.
    pub capabilities: &'static [Capability],
    /// It talks to a server that another network would not have: it is to be started anew when the cable is plugged in
    /// again.
    pub renew_on_carrier: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    NetAdmin,
    NetRaw,
    NetBindService,
}

/// Content that holds secrets; its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Private(pub String);

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Loopback,
    Ethernet,
    Wifi,
}

impl Kind {
    /// By the kernel's names; `None` for tunnels and the like, which are left alone.
    pub fn of(interface: &str) -> Option<Self> {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| interface.starts_with(prefix));
        match interface {
            "lo" => Some(Self::Loopback),
            // They become a path and a line of a file.
            _ if interface.len() > 15 || !interface.bytes().all(|byte| byte.is_ascii_alphanumeric()) => None,
            _ if starts(&["eth", "en", "usb"]) => Some(Self::Ethernet),
            _ if starts(&["wl"]) => Some(Self::Wifi),
            _ => None,
        }
    }
}

/// The steps for each interface. A fixed wired address goes to the first wired interface by name, further ones ask by
/// DHCP: the address must not stand on the network twice. When an interface appears later, plan for all and take its
/// steps.
pub fn plan(network: &Network, hostname: &Hostname, interfaces: &[String]) -> Vec<(String, Vec<Step>)> {
    let mut names: Vec<&String> = interfaces.iter().collect();
    names.sort();
    names.dedup();
    let first = names.iter().find(|name| Kind::of(name) == Some(Kind::Ethernet)).copied();
    let given = Addressing::default();
    let mut plans = Vec::new();
    for name in names {
        let steps = match (Kind::of(name), &network.wifi) {
            (Some(Kind::Loopback), _) => vec![link_up(name)],
            (Some(Kind::Ethernet), _) => {
                let addressing = if Some(name) == first { &network.ethernet } else { &given };
                let mut steps = ipv6(name);
                steps.push(link_up(name));
                steps.extend(addresses(name, addressing, hostname, METRIC_ETHERNET));
                steps
            }
            (Some(Kind::Wifi), Some(wifi)) => {
                let mut steps = ipv6(name);
                steps.push(Step::File { path: wifi_file(name), content: Private(supplicant::configuration(wifi)) });
                steps.push(link_up(name));
                steps.push(Step::Keep(join(name)));
                steps.extend(addresses(name, &wifi.addressing, hostname, METRIC_WIFI));
                steps
            }
            (Some(Kind::Wifi), None) | (None, _) => continue,
        };
        plans.push((name.clone(), steps));
    }
    plans
}

fn run(command: &str) -> Step {
    let words = std::iter::once(BUSYBOX).chain(command.split(' '));
    Step::Run(words.map(str::to_owned).collect())
}

fn link_up(interface: &str) -> Step {
    run(&format!("ip link set dev {interface} up"))
}

/// Before the link goes up: addresses from router advertisements, made from the MAC so that a firewall's rule for the
/// device keeps holding, and none that change daily.
fn ipv6(interface: &str) -> Vec<Step> {
    [("accept_ra", "1"), ("autoconf", "1"), ("addr_gen_mode", "0"), ("use_tempaddr", "0")]
        .map(|(key, value)| Step::Sysctl { path: format!("/proc/sys/net/ipv6/conf/{interface}/{key}").into(), value })
        .into()
}

fn addresses(interface: &str, addressing: &Addressing, hostname: &Hostname, metric: u16) -> Vec<Step> {
    let mut steps = Vec::new();
    match addressing.v4 {
        Some(fixed) => {
            steps.push(run(&format!("ip addr replace {} broadcast + dev {interface}", fixed.net())));
            if let Some(gateway) = fixed.gateway() {
                steps.push(run(&format!("ip route replace default via {gateway} dev {interface} metric {metric}")));
            }
        }
        None => steps.push(Step::Keep(dhcp4(interface, hostname))),
    }
    match addressing.v6 {
        Some(fixed) => {
            steps.push(run(&format!("ip -6 addr replace {} dev {interface}", fixed.net())));
            if let Some(gateway) = fixed.gateway() {
                steps.push(run(&format!("ip -6 route replace default via {gateway} dev {interface} metric {metric}")));
            }
        }
        None => steps.push(Step::Keep(dhcp6(interface))),
    }
    steps
}

/// Asks five times, two seconds apart, then every ten seconds: a router that boots beside us after a power cut takes a
/// while.
fn dhcp4(interface: &str, hostname: &Hostname) -> Helper {
    let hostname = format!("hostname:{hostname}");
    let command =
        [BUSYBOX, "udhcpc", "-f", "-i", interface, "-s", SCRIPT, "-t", "5", "-T", "2", "-A", "10", "-x", &hostname];
    Helper {
        name: format!("dhcp {interface}"),
        command: command.map(str::to_owned).into(),
        // It listens on port 68.
        capabilities: &[Capability::NetAdmin, Capability::NetRaw, Capability::NetBindService],
        renew_on_carrier: true,
    }
}

/// Most home networks have no server for this: it asks seldom, and nobody waits for it.
fn dhcp6(interface: &str) -> Helper {
    let command =
        [BUSYBOX, "udhcpc6", "-f", "-i", interface, "-s", SCRIPT6, "-O", "dns", "-t", "3", "-T", "3", "-A", "120"];
    Helper {
        name: format!("dhcp6 {interface}"),
        command: command.map(str::to_owned).into(),
        // It listens on port 546.
        capabilities: &[Capability::NetAdmin, Capability::NetRaw, Capability::NetBindService],
        renew_on_carrier: true,
    }
}

fn wifi_file(interface: &str) -> PathBuf {
    format!("{RUN}/{interface}.conf").into()
}

fn join(interface: &str) -> Helper {
    let file = wifi_file(interface).display().to_string();
    let command = [WPA_SUPPLICANT, "-D", "nl80211", "-i", interface, "-c", &file];
    Helper {
        name: format!("wifi {interface}"),
        command: command.map(str::to_owned).into(),
        capabilities: &[Capability::NetAdmin, Capability::NetRaw],
        renew_on_carrier: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Static4, Static6, Wifi};

    fn lines(steps: &[Step]) -> Vec<String> {
        let line = |step: &Step| match step {
            Step::Sysctl { path, value } => format!("{} = {value}", path.display()),
            Step::File { path, .. } => format!("file {}", path.display()),
            Step::Run(command) => command[1..].join(" "),
            Step::Keep(helper) => format!("keep {}", helper.command.join(" ")),
        };
        steps.iter().map(line).collect()
    }

    fn steps_of(network: &Network, interfaces: &[&str]) -> Vec<(String, Vec<String>)> {
        let names: Vec<String> = interfaces.iter().map(|name| (*name).to_owned()).collect();
        let plans = plan(network, &Hostname::default(), &names);
        plans.into_iter().map(|(name, steps)| (name, lines(&steps))).collect()
    }

    fn fixed() -> Addressing {
        Addressing {
            v4: Some(
                Static4::new("192.168.1.20/24".parse().expect("a network"), "192.168.1.1".parse().ok()).expect("fits"),
            ),
            v6: Some(Static6::new("fd00::20/64".parse().expect("a network"), "fe80::1".parse().ok()).expect("fits")),
            dns: vec!["192.168.1.1".parse().expect("an address")],
        }
    }

    #[test]
    fn without_settings_a_cable_asks_for_addresses_and_radio_stays_off() {
        let plans = steps_of(&Network::default(), &["lo", "sit0", "wlan0", "eth0"]);
        assert_eq!(plans.len(), 2);
        let (name, steps) = &plans[0];
        assert_eq!(name, "eth0");
        let want = [
            "/proc/sys/net/ipv6/conf/eth0/accept_ra = 1",
            "/proc/sys/net/ipv6/conf/eth0/autoconf = 1",
            "/proc/sys/net/ipv6/conf/eth0/addr_gen_mode = 0",
            "/proc/sys/net/ipv6/conf/eth0/use_tempaddr = 0",
            "ip link set dev eth0 up",
            "keep /bin/busybox udhcpc -f -i eth0 -s /usr/share/udhcpc/warppool.script -t 5 -T 2 -A 10 -x hostname:warppool",
            "keep /bin/busybox udhcpc6 -f -i eth0 -s /usr/share/udhcpc/warppool6.script -O dns -t 3 -T 3 -A 120",
        ];
        assert_eq!(steps, &want);
        assert_eq!(plans[1], ("lo".to_owned(), vec!["ip link set dev lo up".to_owned()]));
    }

    #[test]
    fn a_fixed_address_asks_nobody_and_stands_on_one_interface() {
        let network = Network { ethernet: fixed(), wifi: None };
        let plans = steps_of(&network, &["eth1", "eth0"]);
        let want = [
            "ip addr replace 192.168.1.20/24 broadcast + dev eth0",
            "ip route replace default via 192.168.1.1 dev eth0 metric 100",
            "ip -6 addr replace fd00::20/64 dev eth0",
            "ip -6 route replace default via fe80::1 dev eth0 metric 100",
        ];
        assert_eq!(plans[0].1[5..], want);
        assert!(plans[1].1.iter().any(|line| line.starts_with("keep") && line.contains("udhcpc -f -i eth1")));
        assert!(!plans[1].1.iter().any(|line| line.contains("192.168.1.20")));
    }

    #[test]
    fn radio_joins_its_network_and_is_second_to_a_cable() {
        let wifi = Wifi {
            ssid: "Home".parse().expect("a name"),
            passphrase: Some("correct horse".parse().expect("long enough")),
            country: "DE".parse().expect("a country"),
            hidden: false,
            addressing: fixed(),
        };
        let network = Network { ethernet: Addressing::default(), wifi: Some(wifi) };
        let (_, steps) = steps_of(&network, &["wlan0"]).remove(0);
        assert_eq!(steps[4], "file /run/warppool/net/wlan0.conf");
        assert_eq!(steps[6], "keep /usr/sbin/wpa_supplicant -D nl80211 -i wlan0 -c /run/warppool/net/wlan0.conf");
        assert!(steps[8].ends_with("metric 600"), "{}", steps[8]);
        let shown = format!("{:?}", plan(&network, &Hostname::default(), &["wlan0".to_owned()]));
        assert!(!shown.contains("horse"), "a plan in the log would tell the password");
    }

    #[test]
    fn a_name_that_is_no_interface_makes_no_steps() {
        for name in ["eth0/../..", "eth0;reboot", "wl\nx", "eth0123456789abc", ""] {
            assert_eq!(Kind::of(name), None, "{name:?}");
        }
    }
}
