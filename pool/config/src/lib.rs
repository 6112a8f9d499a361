//! `config.toml` and `secrets.toml`: what can be set, whether it makes sense, and what the hardware can carry.
//!
//! One table, [`schema`], lists every key; reading, environment names, reload, the reference and the default file all follow
//! from it. [`load`] reports every fault of a file at once, each with its line, key and remedy; [`resolve`] turns what was
//! left open into [`Limits`] by profile and hardware.

mod access;
mod check;
mod document;
mod files;
mod finding;
pub mod handbook;
mod hardware;
mod kind;
mod load;
mod model;
mod profile;
mod reference;
mod reload;
mod schema;
mod secrets;
mod value;

pub use access::{NodeAccess, NodeAuth};
pub use finding::{ConfigErrors, Finding, Place};
pub use hardware::{Hardware, Storage};
pub use kind::Kind;
pub use load::{Loaded, Overrides, environment, load, parse};
pub use model::{
    BrandingConfig, Config, Journald, LedgerConfig, LoggingConfig, MiningConfig, NodeConfig, PayoutMode, ProfileConfig,
    RateLimitConfig, RetentionConfig, ServerConfig, SimConfig, StratumConfig, TlsVersion, TuningConfig, VardiffConfig,
};
pub use profile::{ChosenBy, Limits, ProfileKind, resolve};
pub use reference::{default_toml, reference_markdown};
pub use reload::{Changes, diff};
pub use schema::{Key, Reload, Unset, schema, schema_of_secrets};
pub use secrets::{Credentials, Secrets};
pub use value::{ByteSize, Listen, Network, Percent, Secret};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
