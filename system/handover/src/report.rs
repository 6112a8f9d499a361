//! What the owner finds on the card afterwards. Plain text with Windows' line ends, which every editor shows.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use warppool_network::Addressing;

use crate::{Fault, HandOver, SETTINGS_FILE, TAKEN_FILE};

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of this device's software.
    pub version: String,
    /// As in `warppool.local`.
    pub name: String,
    /// Addresses so far, without their network's length; empty before there is one.
    pub addresses: Vec<String>,
    pub standing: Standing,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// There was nothing to take over.
    Nothing,
    /// These settings are in force.
    Taken(Box<HandOver>),
    /// Nothing was taken over.
    Faulty(Vec<Fault>),
    /// The device was reset to its state at flashing.
    Reset,
}

impl Report {
    /// The text of the result file.
    pub fn text(&self) -> String {
        let mut text = format!("WarpPool {}\n\n", self.version);
        match &self.standing {
            Standing::Nothing => {
                let _ = write!(
                    text,
                    "There was no {SETTINGS_FILE} here. To set this device up with a file, copy\nwarppool.example.toml to \
                     {SETTINGS_FILE}, fill it in, and start the device again.\n"
                );
            }
            Standing::Taken(settings) => {
                let _ = write!(text, "{SETTINGS_FILE} was taken over and erased. This is in force now:\n\n");
                for line in settings.redacted().lines() {
                    let _ = writeln!(text, "    {line}");
                }
                let _ = write!(text, "\nThe same stands in {TAKEN_FILE}: add the passwords to use it again.\n");
            }
            Standing::Faulty(faults) => {
                let _ = write!(
                    text,
                    "NOTHING was taken over, because {SETTINGS_FILE} has faults:\n\n{}\nCorrect them and start the device \
                     again. Until then the file, with its passwords, stays here.\n",
                    faults.iter().fold(String::new(), |list, fault| format!("{list}  - {fault}\n"))
                );
            }
            Standing::Reset => text.push_str("The device was reset. All settings and statistics are gone.\n"),
        }
        let _ = write!(text, "\nMiners find it at:  {}:3333\n", self.name);
        for address in &self.addresses {
            let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            let _ = writeln!(text, "or by address:      {address}:3333");
        }
        text.replace('\n', "\r\n")
    }
}

impl HandOver {
    /// The settings as a file again, every secret left out.
    pub fn redacted(&self) -> String {
        let mut file = File(String::new());
        if self.hostname.is_some() || self.timezone.is_some() || self.ntp.is_some() || self.allow_downgrade {
            file.section("[device]");
            file.text("hostname", self.hostname.as_ref());
            file.text("timezone", self.timezone.as_ref());
            if let Some(servers) = &self.ntp {
                file.list("ntp", servers);
            }
            file.flag("allow_downgrade", self.allow_downgrade);
        }
        if let Some(network) = &self.network {
            file.section("[network]");
            file.addressing(network);
        }
        if let Some(wifi) = &self.wifi {
            file.section("[wifi]");
            file.text("ssid", Some(wifi.ssid.as_str()));
            file.left_out("password", wifi.passphrase.is_some());
            file.text("country", Some(wifi.country.as_str()));
            file.flag("hidden", wifi.hidden);
            file.addressing(&wifi.addressing);
        }
        for node in &self.nodes {
            file.section("[[node]]");
            file.text("name", Some(&node.name));
            file.text("url", Some(&node.url));
            file.text("user", Some(&node.user));
            file.left_out("password", true);
            file.text("zmq", node.zmq.as_ref());
        }
        if self.payout_address.is_some() || self.chain.is_some() {
            file.section("[mining]");
            file.text("payout_address", self.payout_address.as_ref());
            file.text("chain", self.chain.map(crate::Chain::name));
        }
        if !self.ssh_keys.is_empty() {
            file.section("[ssh]");
            file.list("keys", &self.ssh_keys);
        }
        file.0
    }
}

/// TOML as a person would write it.
struct File(String);

impl File {
    fn section(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        let _ = writeln!(self.0, "{header}");
    }

    fn text(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            let _ = writeln!(self.0, "{key} = {}", quoted(&value.to_string()));
        }
    }

    fn list(&mut self, key: &str, values: &[impl ToString]) {
        let values: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
        let _ = writeln!(self.0, "{key} = [{}]", values.join(", "));
    }

    fn flag(&mut self, key: &str, value: bool) {
        if value {
            let _ = writeln!(self.0, "{key} = true");
        }
    }

    fn left_out(&mut self, key: &str, there: bool) {
        if there {
            let _ = writeln!(self.0, "# {key} = \"…\"");
        }
    }

    fn addressing(&mut self, addressing: &Addressing) {
        self.text("address", addressing.v4.map(warppool_network::Static4::net));
        self.text("gateway", addressing.v4.and_then(warppool_network::Static4::gateway));
        self.text("address6", addressing.v6.map(warppool_network::Static6::net));
        self.text("gateway6", addressing.v6.and_then(warppool_network::Static6::gateway));
        if !addressing.dns.is_empty() || addressing.v4.is_some() {
            self.list("dns", &addressing.dns);
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
