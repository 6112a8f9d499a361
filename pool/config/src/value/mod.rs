//! Values that a configuration carries and plain numbers or strings cannot: each parses, prints and travels through serde as
//! the text an operator writes.

mod listen;
mod network;
mod percent;
mod secret;
mod size;

pub use listen::Listen;
pub use network::Network;
pub use percent::Percent;
pub use secret::Secret;
pub use size::ByteSize;

/// Serde through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
use serde_as_text;
