//! A wireless network and what it takes to join it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Addressing;

/// A wireless network to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wifi {
    pub ssid: Ssid,
    /// `None`: an open network.
    pub passphrase: Option<Passphrase>,
    pub country: Country,
    /// The network does not announce its name, and has to be asked for by it.
    #[serde(default)]
    pub hidden: bool,
    #[serde(default)]
    pub addressing: Addressing,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WifiError {
    #[error("a network's name has 1 to 32 bytes, this has {0}")]
    SsidLength(usize),
    #[error("a Wi-Fi password has 8 to 63 characters (or is a key of 64 hexadecimal digits), this has {0}")]
    PassphraseLength(usize),
    #[error("a Wi-Fi password has letters, digits and signs of plain ASCII only; character {0} is none")]
    PassphraseCharacter(usize),
    #[error("a Wi-Fi password of 64 characters is a key in hexadecimal digits; character {0} is none")]
    KeyCharacter(usize),
    #[error("`{0}` is not a country's code of two letters, as in DE")]
    Country(String),
}

/// The name of a wireless network: 1 to 32 bytes, here of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ssid(String);

impl Ssid {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ssid {
    type Err = WifiError;

    fn from_str(text: &str) -> Result<Self, WifiError> {
        if (1..=32).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(WifiError::SsidLength(text.len())) }
    }
}

/// A WPA passphrase of 8 to 63 printable ASCII characters, or the key itself in 64 hexadecimal digits (IEEE 802.11,
/// J.4.1). Its `Debug` shows neither.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Passphrase(String);

impl Passphrase {
    /// The secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// It is the key itself, in 64 hexadecimal digits.
    pub fn is_key(&self) -> bool {
        self.0.len() == 64
    }
}

impl FromStr for Passphrase {
    type Err = WifiError;

    fn from_str(text: &str) -> Result<Self, WifiError> {
        // A length in characters: that is what the owner counts, and what is not ASCII is refused all the same.
        if let Some(at) = text.chars().position(|c| !(' '..='~').contains(&c)) {
            return Err(WifiError::PassphraseCharacter(at + 1));
        }
        match text.len() {
            8..=63 => Ok(Self(text.to_owned())),
            64 => match text.chars().position(|c| !c.is_ascii_hexdigit()) {
                None => Ok(Self(text.to_owned())),
                Some(at) => Err(WifiError::KeyCharacter(at + 1)),
            },
            length => Err(WifiError::PassphraseLength(length)),
        }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// The country whose rules for radio apply: two capital letters (ISO 3166-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country(String);

impl Country {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Country {
    type Err = WifiError;

    fn from_str(text: &str) -> Result<Self, WifiError> {
        if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(WifiError::Country(text.chars().take(16).collect()))
        }
    }
}

macro_rules! a_checked_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = WifiError;

            fn try_from(text: String) -> Result<Self, WifiError> {
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
a_checked_text!(Ssid, Passphrase, Country);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_name_is_counted_in_bytes() {
        assert!("x".repeat(32).parse::<Ssid>().is_ok());
        assert_eq!("\u{e4}".repeat(17).parse::<Ssid>(), Err(WifiError::SsidLength(34)));
        assert_eq!("".parse::<Ssid>(), Err(WifiError::SsidLength(0)));
    }

    #[test]
    fn a_password_is_a_passphrase_or_a_key() {
        let key = "0123456789abcdefABCDEF0123456789".repeat(2);
        let cases = [
            ("short", Err(WifiError::PassphraseLength(5))),
            ("long enough", Ok(false)),
            ("p\u{e4}ssw\u{f6}rter", Err(WifiError::PassphraseCharacter(2))),
            ("tab\tinside", Err(WifiError::PassphraseCharacter(4))),
            (key.as_str(), Ok(true)),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Passphrase>().map(|it| it.is_key()), want, "{text}");
        }
        assert_eq!("g".repeat(64).parse::<Passphrase>(), Err(WifiError::KeyCharacter(1)));
        assert_eq!("x".repeat(65).parse::<Passphrase>(), Err(WifiError::PassphraseLength(65)));
    }

    #[test]
    fn a_password_does_not_show_in_debug_output() {
        let passphrase: Passphrase = "correct horse".parse().expect("long enough");
        assert!(!format!("{passphrase:?}").contains("horse"));
    }

    #[test]
    fn a_country_has_two_letters() {
        assert_eq!("de".parse::<Country>().expect("two letters").as_str(), "DE");
        for wrong in ["", "D", "DEU", "4\u{fc}", "D1"] {
            assert!(wrong.parse::<Country>().is_err(), "{wrong}");
        }
    }
}
