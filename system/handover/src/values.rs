//! Values of the hand-over file that the network's own types do not cover, each checked when it is read.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    #[error("`{0}` is not the name of a time zone: region and city, with a slash between")]
    TimeZone(String),
    #[error("this is a private key; nobody but you should have it: take the line of the file that ends in .pub")]
    PrivateKey,
    #[error("this is not one line of an OpenSSH public key: kind, key and perhaps a comment")]
    SshShape,
    #[error("SSH keys of the kind `{0}` are not accepted; ed25519, ecdsa and rsa are")]
    SshKind(String),
    #[error("the key is not whole: it was cut off, or a character got lost")]
    SshBroken,
    #[error("`{0}` is not an address of the form {1}://host:port")]
    Url(String, &'static str),
    #[error("user and password do not stand in the address; they have keys of their own")]
    UrlCredentials,
    #[error("a Bitcoin node speaks http, not https")]
    UrlHttps,
    #[error("`{0}` does not look like a Bitcoin address")]
    Payout(String),
    #[error("a name has 1 to 32 letters, digits, hyphens and underscores")]
    NodeName,
    #[error("this has {0} bytes; at most {1} are taken")]
    TooLong(usize, usize),
    #[error("this is empty")]
    Empty,
    #[error("this holds a line break, a tab or another invisible sign")]
    Invisible,
    #[error("`{0}` is none of mainnet, testnet4, signet, regtest")]
    Chain(String),
}

/// What is repeated of a wrong value in a message.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    plain.take(48).collect()
}

/// A time zone's name in the IANA database, as in `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZone(String);

impl TimeZone {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is such a zone below `folder` (`/usr/share/zoneinfo`). The name cannot lead out of it.
    pub fn exists_in(&self, folder: &Path) -> bool {
        folder.join(&self.0).is_file()
    }
}

impl FromStr for TimeZone {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
        };
        if text.len() <= 64 && text.split('/').count() <= 3 && text.split('/').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::TimeZone(shown(text)))
        }
    }
}

/// One line of `authorized_keys` without options: kind, key in base64, comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshKey(String);

impl SshKey {
    const MAX: usize = 2048;
    const KINDS: [&'static str; 7] = [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the owner calls it.
    pub fn comment(&self) -> &str {
        self.0.splitn(3, ' ').nth(2).unwrap_or_default()
    }
}

impl FromStr for SshKey {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(ValueError::PrivateKey);
        }
        if text.len() > Self::MAX {
            return Err(ValueError::TooLong(text.len(), Self::MAX));
        }
        let mut words = text.split_ascii_whitespace();
        let (Some(kind), Some(key)) = (words.next(), words.next()) else { return Err(ValueError::SshShape) };
        if text.chars().any(char::is_control) {
            return Err(ValueError::Invisible);
        }
        if !Self::KINDS.contains(&kind) {
            return Err(ValueError::SshKind(shown(kind)));
        }
        // The key says its kind once more inside (RFC 4253, 6.6), so that a truncated or pasted-over one is noticed
        // here and not when nobody can log in.
        let blob = STANDARD.decode(key).map_err(|_| ValueError::SshBroken)?;
        if !whole(&blob, kind.as_bytes()) {
            return Err(ValueError::SshBroken);
        }
        let comment: Vec<&str> = words.collect();
        let line = [kind, key, &comment.join(" ")].join(" ");
        Ok(Self(line.trim_end().to_owned()))
    }
}

/// A key is a run of fields, each behind its length as u32 big-endian; the first is its kind.
fn whole(mut blob: &[u8], kind: &[u8]) -> bool {
    let mut fields = 0;
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if rest.len() < length || (fields == 0 && &rest[..length] != kind) {
            return false;
        }
        blob = &rest[length..];
        fields += 1;
    }
    blob.is_empty() && fields >= 2
}

/// `scheme://host:port` and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Url(String);

impl Url {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A node's RPC, `http://host:port`; the pool knows each chain's usual port.
    pub fn rpc(text: &str) -> Result<Self, ValueError> {
        if text.starts_with("https://") {
            return Err(ValueError::UrlHttps);
        }
        Self::parse(text, "http", false)
    }

    /// A node's zmqpubhashblock, `tcp://host:port`.
    pub fn zmq(text: &str) -> Result<Self, ValueError> {
        Self::parse(text, "tcp", true)
    }

    fn parse(text: &str, scheme: &'static str, port_needed: bool) -> Result<Self, ValueError> {
        let wrong = || ValueError::Url(shown(text), scheme);
        let rest = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(ValueError::UrlCredentials);
        }
        let authority: http::uri::Authority = rest.parse().map_err(|_| wrong())?;
        let port = authority.port_u16().filter(|port| *port > 0);
        let host = authority.host();
        let named = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte));
        let port_said = authority.as_str().len() > host.len();
        if host.is_empty() || !named(host) || port_said != port.is_some() || (port_needed && !port_said) {
            return Err(wrong());
        }
        Ok(Self(format!("{scheme}://{authority}")))
    }
}

/// Checks that a text looks like a Bitcoin address, so that a miner's name or a cut-off one is told at once. Whether it
/// is one, its checksum and its chain, is for the pool to say.
pub(crate) fn payout_address(text: &str) -> Result<String, ValueError> {
    let segwit = ["bc1", "tb1", "bcrt1"].iter().any(|start| text.to_ascii_lowercase().starts_with(start));
    let one_case =
        !text.bytes().any(|byte| byte.is_ascii_uppercase()) || !text.bytes().any(|byte| byte.is_ascii_lowercase());
    let base58 = |byte: u8| byte.is_ascii_alphanumeric() && !b"0OIl".contains(&byte);
    let fits = if segwit {
        (26..=90).contains(&text.len()) && one_case && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    } else {
        (26..=35).contains(&text.len()) && text.starts_with(['1', '3', 'm', 'n', '2']) && text.bytes().all(base58)
    };
    if fits { Ok(text.to_owned()) } else { Err(ValueError::Payout(shown(text))) }
}

pub(crate) fn node_name(text: &str) -> Result<String, ValueError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=32).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(ValueError::NodeName)
    }
}

/// A user's name or a password: one line, at most 256 bytes.
pub(crate) fn one_line(text: &str) -> Result<String, ValueError> {
    match text.len() {
        0 => Err(ValueError::Empty),
        length if length > 256 => Err(ValueError::TooLong(length, 256)),
        _ if text.chars().any(char::is_control) => Err(ValueError::Invisible),
        _ => Ok(text.to_owned()),
    }
}

macro_rules! a_checked_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    )*};
}
a_checked_text!(TimeZone, SshKey);

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHnC6uJZ0P0aCcpGtMdYyOoGxSAsBSLpjmJzPgfm1sN1 me@laptop";

    #[test]
    fn a_time_zone_cannot_lead_out_of_its_folder() {
        for zone in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert!(zone.parse::<TimeZone>().is_ok(), "{zone}");
        }
        for zone in ["", "/etc/passwd", "../x", "Europe/../x", "Europe/", "Berlin, Germany", "+2", "a/b/c/d"] {
            assert!(zone.parse::<TimeZone>().is_err(), "{zone}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("Europe")).expect("made");
        std::fs::write(folder.path().join("Europe/Berlin"), "TZif").expect("written");
        let exists = |zone: &str| zone.parse::<TimeZone>().expect(zone).exists_in(folder.path());
        assert!(exists("Europe/Berlin") && !exists("Europe/Bonn") && !exists("Europe"));
    }

    #[test]
    fn a_public_key_is_whole_and_on_one_line() {
        let key: SshKey = KEY.parse().expect("a key");
        assert_eq!(key.comment(), "me@laptop");
        assert_eq!(format!("  {KEY}\n").parse::<SshKey>(), Ok(key));
        let cut = &KEY[..60];
        let other = KEY.replace("ssh-ed25519 ", "ssh-rsa ");
        let cases = [
            ("-----BEGIN OPENSSH PRIVATE KEY-----", ValueError::PrivateKey),
            ("ssh-ed25519", ValueError::SshShape),
            ("ssh-dss AAAA", ValueError::SshKind("ssh-dss".into())),
            ("command=\"x\" ssh-rsa AAAA", ValueError::SshKind("command=\"x\"".into())),
            (cut, ValueError::SshBroken),
            (other.as_str(), ValueError::SshBroken),
            (&format!("{KEY}\nssh-ed25519 AAAA"), ValueError::Invisible),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<SshKey>(), Err(want), "{text}");
        }
    }

    #[test]
    fn an_address_of_a_node_has_its_scheme_and_nothing_beside_host_and_port() {
        for text in ["http://192.168.1.10:8332", "http://umbrel.local:8332/", "http://[fd00::5]:8332", "http://node"] {
            assert!(Url::rpc(text).is_ok(), "{text}");
        }
        assert_eq!(Url::rpc("http://node:8332/").expect("fits").as_str(), "http://node:8332");
        for text in
            ["node:8332", "http://", "http://:8332", "http://node:0", "http://node:99999", "http://a b", "http://n/w"]
        {
            assert!(matches!(Url::rpc(text), Err(ValueError::Url(..))), "{text}");
        }
        assert_eq!(Url::rpc("https://node:8332"), Err(ValueError::UrlHttps));
        assert_eq!(Url::rpc("http://me:secret@node:8332"), Err(ValueError::UrlCredentials));
        assert!(Url::zmq("tcp://192.168.1.10:28332").is_ok());
        assert!(Url::zmq("tcp://192.168.1.10").is_err() && Url::zmq("http://192.168.1.10:1").is_err());
    }

    #[test]
    fn a_payout_address_has_the_shape_of_one() {
        let cases = [
            ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", true),
            ("BC1QAR0SRRR7XFKVY5L643LYDNW9RE59GTZZWF5MDQ", true),
            ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdQ", false),
            ("1BoatSLRHtKNngkdXEeobR76b53LETtpyT", true),
            ("1BoatSLRHtKNngkdXEeobR76b53LETtpy0", false),
            ("rig1", false),
            ("", false),
            ("bc1q", false),
        ];
        for (text, fits) in cases {
            assert_eq!(payout_address(text).is_ok(), fits, "{text}");
        }
    }
}
