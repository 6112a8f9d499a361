//! What this image is: `release.toml`, which lies in the image itself.

use serde::{Deserialize, Serialize};

use crate::trust::BadToml;
use crate::version::Version;

/// Where it lies in the image.
pub const PATH: &str = "/etc/warppool/release.toml";

/// `/etc/warppool/release.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub product: String,
    pub hardware: String,
    pub version: Version,
    /// Unix seconds: the release's `SOURCE_DATE_EPOCH`, and the least the clock can be.
    pub built: u64,
}

impl Release {
    pub fn parse(text: &str) -> Result<Self, BadToml> {
        toml::from_str(text).map_err(|error| BadToml::new(PATH, &error))
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings and numbers have a TOML form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        let release = Release {
            product: "warppool".into(),
            hardware: "qemu".into(),
            version: Version::new(1, 2, 3),
            built: 1_790_000_000,
        };
        assert_eq!(Release::parse(&release.to_toml()), Ok(release));
        assert!(Release::parse("version = \"one\"").is_err());
    }
}
