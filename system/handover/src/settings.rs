//! What PID 1 keeps of how the appliance is set up: `/data/system/system.toml`. It holds the Wi-Fi password: 0600,
//! root.

use serde::{Deserialize, Serialize};
use warppool_network::clock::NtpServer;
use warppool_network::{Hostname, Network};
use warppool_protocol::Channel;

use crate::{SshKey, TimeZone};

/// The whole file. What is missing has its default; keys of a newer version are passed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemSettings {
    pub device: Device,
    pub network: Network,
    pub ssh: Ssh,
    pub updates: Updates,
    /// Pins and patterns of LED and button; theirs to read.
    pub panel: toml::Table,
    pub handover: Applied,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    pub hostname: Hostname,
    /// UTC where none is set.
    pub timezone: Option<TimeZone>,
    /// Empty: those of the network and well-known ones.
    pub ntp: Vec<NtpServer>,
    /// The next installation may be of an older version; taken back once it was.
    pub allow_downgrade: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ssh {
    /// SSH runs only when there are some.
    pub keys: Vec<SshKey>,
}

/// How updates are looked for and installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Updates {
    pub automatic: Automatic,
    /// The window of [`Automatic::Window`] in hours of local time, 0 to 23; it may span midnight.
    pub from_hour: u8,
    pub until_hour: u8,
    pub channel: UpdateChannel,
    /// How often the feed is asked.
    pub every_hours: u16,
    /// Another feed than the image's.
    pub feed: Option<String>,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            automatic: Automatic::Off,
            from_hour: 2,
            until_hour: 5,
            channel: UpdateChannel::Stable,
            every_hours: 24,
            feed: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Automatic {
    #[default]
    Off,
    Window,
    AtOnce,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateChannel {
    #[default]
    Stable,
    Beta,
}

impl Updates {
    /// As the protocol between pool and PID 1 has it.
    pub fn automatic(&self) -> warppool_protocol::Automatic {
        match self.automatic {
            Automatic::Off => warppool_protocol::Automatic::Off,
            Automatic::Window => {
                warppool_protocol::Automatic::Window { from: self.from_hour % 24, until: self.until_hour % 24 }
            }
            Automatic::AtOnce => warppool_protocol::Automatic::AtOnce,
        }
    }

    pub fn channel(&self) -> Channel {
        match self.channel {
            UpdateChannel::Stable => Channel::Stable,
            UpdateChannel::Beta => Channel::Beta,
        }
    }

    /// Takes what the pool asked for. A window's hours beyond 23 count from midnight again; an interval is at least an
    /// hour.
    pub fn set(&mut self, automatic: warppool_protocol::Automatic, channel: Channel, every_hours: u16) {
        self.automatic = match automatic {
            warppool_protocol::Automatic::Off => Automatic::Off,
            warppool_protocol::Automatic::Window { from, until } => {
                (self.from_hour, self.until_hour) = (from % 24, until % 24);
                Automatic::Window
            }
            warppool_protocol::Automatic::AtOnce => Automatic::AtOnce,
        };
        self.channel = match channel {
            Channel::Stable => UpdateChannel::Stable,
            Channel::Beta => UpdateChannel::Beta,
        };
        self.every_hours = every_hours.max(1);
    }
}

/// Which hand-over was taken over last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// SHA-256 of the file, hexadecimal.
    pub sha256: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("system.toml cannot be read: {0}; its settings are left at their defaults")]
pub struct SettingsError(toml::de::Error);

impl SystemSettings {
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(SettingsError)
    }

    /// The file's content; [`SystemSettings::parse`] gives the same again.
    pub fn to_toml(&self) -> String {
        let settings = toml::to_string(self).expect("settings are tables of texts, numbers and lists");
        format!("# Written by warppool. Holds secrets.\n{settings}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_written() {
        let mut settings = SystemSettings::default();
        settings.device.hostname = "pool-2".parse().expect("a name");
        settings.device.timezone = Some("Europe/Berlin".parse().expect("a zone"));
        settings.network.ethernet.dns = vec!["9.9.9.9".parse().expect("an address")];
        settings.network.wifi = Some(warppool_network::Wifi {
            ssid: "Home \"2\"".parse().expect("a name"),
            passphrase: Some("corr\\ect \"horse\"".parse().expect("a password")),
            country: "DE".parse().expect("a country"),
            hidden: true,
            addressing: warppool_network::Addressing::default(),
        });
        settings.panel.insert("led".into(), toml::Value::Integer(17));
        settings.updates.set(warppool_protocol::Automatic::Window { from: 22, until: 28 }, Channel::Beta, 0);
        let text = settings.to_toml();
        assert_eq!(SystemSettings::parse(&text).expect(&text), settings);
        assert_eq!(settings.updates.automatic(), warppool_protocol::Automatic::Window { from: 22, until: 4 });
        assert_eq!((settings.updates.channel(), settings.updates.every_hours), (Channel::Beta, 1));
    }

    #[test]
    fn an_empty_file_is_the_default_and_a_newer_ones_keys_are_passed_over() {
        assert_eq!(SystemSettings::parse("").expect("empty"), SystemSettings::default());
        let newer = "future = 1\n[device]\nhostname = \"x\"\ncolour = \"red\"\n";
        assert_eq!(SystemSettings::parse(newer).expect("newer").device.hostname.as_str(), "x");
    }

    #[test]
    fn what_does_not_pass_the_checks_is_not_read() {
        for text in ["[device]\nhostname = \"a b\"\n", "[ssh]\nkeys = [\"x\"]\n", "[updates]\nautomatic = \"x\"\n", "["]
        {
            assert!(SystemSettings::parse(text).is_err(), "{text}");
        }
    }
}
