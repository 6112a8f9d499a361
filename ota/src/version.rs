//! Which of two releases is the newer one: semantic versioning, pre-releases before their release.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longer ones are refused: a version stands in file names and on pages.
const LONGEST: usize = 64;

/// A release's version as <https://semver.org> orders them. Build metadata (`+…`) tells builds apart but orders nothing: two
/// versions that differ only there are equal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version: it must look like 1.2.3 or 1.2.3-beta.1")]
pub struct BadVersion(String);

impl Version {
    pub fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }

    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let short: String = text.chars().take(LONGEST).collect();
        if text.len() > LONGEST {
            return Err(BadVersion(short));
        }
        semver::Version::parse(text).map(Self).map_err(|_| BadVersion(short))
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;

    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0.major, self.0.minor, self.0.patch, &self.0.pre).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_semver_says() {
        let rising =
            ["0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.0.1", "1.10.0"];
        for pair in rising.windows(2) {
            let (older, newer): (Version, Version) = (pair[0].parse().unwrap(), pair[1].parse().unwrap());
            assert!(older < newer, "{older} < {newer}");
        }
        assert_eq!("1.2.3+a".parse::<Version>().unwrap(), "1.2.3+b".parse().unwrap());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "1", "1.2", "v1.2.3", "1.2.3-", "01.2.3", "1.2.3 ", &format!("1.2.3-{}", "a".repeat(80))] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }
}
