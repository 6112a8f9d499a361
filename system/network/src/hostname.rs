//! The name of the device: one label, as RFC 1123 allows it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host name of one label, in lower case: 1 to 63 letters, digits and hyphens (RFC 1123, 2.1). `warppool` unless said
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostnameError {
    #[error("a host name has 1 to 63 characters, this has {0}")]
    Length(usize),
    #[error("{0:?} cannot stand in a host name: letters a to z, digits and hyphens can")]
    Character(char),
    #[error("a host name does not begin or end with a hyphen")]
    Hyphen,
    #[error("this is a name with dots; only its first part is wanted, the rest (\".local\") comes by itself")]
    Dotted,
    #[error("every computer calls itself \"localhost\"; choose another name")]
    Localhost,
}

impl Hostname {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Hostname {
    fn default() -> Self {
        Self("warppool".to_owned())
    }
}

impl FromStr for Hostname {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        if let Some(wrong) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(if wrong == '.' { HostnameError::Dotted } else { HostnameError::Character(wrong) });
        }
        if text.is_empty() || text.len() > 63 {
            return Err(HostnameError::Length(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(HostnameError::Hyphen);
        }
        let name = text.to_ascii_lowercase();
        if name == "localhost" { Err(HostnameError::Localhost) } else { Ok(Self(name)) }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Hostname {
    type Error = HostnameError;

    fn try_from(text: String) -> Result<Self, HostnameError> {
        text.parse()
    }
}

impl From<Hostname> for String {
    fn from(name: Hostname) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_label_in_lower_case() {
        for (text, want) in [("warppool", "warppool"), ("Pool-2", "pool-2"), ("7", "7")] {
            assert_eq!(text.parse::<Hostname>().expect(text).as_str(), want);
        }
        assert!("a".repeat(63).parse::<Hostname>().is_ok());
    }

    #[test]
    fn what_dns_would_not_carry_is_refused() {
        let long = "a".repeat(64);
        let cases = [
            ("", HostnameError::Length(0)),
            (long.as_str(), HostnameError::Length(64)),
            ("my pool", HostnameError::Character(' ')),
            ("p\u{fc}l", HostnameError::Character('\u{fc}')),
            ("-pool", HostnameError::Hyphen),
            ("pool-", HostnameError::Hyphen),
            ("pool.local", HostnameError::Dotted),
            ("LocalHost", HostnameError::Localhost),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Hostname>(), Err(want), "{text}");
        }
    }
}
