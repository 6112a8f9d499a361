//! The whole of `config.toml` as types. What is `None` was left open: the profile, the chain or the device class decides.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use warppool_work::Chain;

use crate::profile::ProfileKind;
use crate::value::{ByteSize, Listen, Network, Percent, Secret};

/// `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub branding: BrandingConfig,
    pub logging: LoggingConfig,
    pub mining: MiningConfig,
    /// At least one, in the order of preference. In a file `[node]` or any number of `[[node]]`.
    #[serde(deserialize_with = "one_or_many")]
    pub node: Vec<NodeConfig>,
    pub server: ServerConfig,
    pub stratum: StratumConfig,
    pub tuning: TuningConfig,
    pub profile: ProfileConfig,
    pub vardiff: VardiffConfig,
    pub ratelimit: RateLimitConfig,
    pub retention: RetentionConfig,
    pub ledger: LedgerConfig,
    pub sim: SimConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            branding: BrandingConfig::default(),
            logging: LoggingConfig::default(),
            mining: MiningConfig::default(),
            node: vec![NodeConfig::default()],
            server: ServerConfig::default(),
            stratum: StratumConfig::default(),
            tuning: TuningConfig::default(),
            profile: ProfileConfig::default(),
            vardiff: VardiffConfig::default(),
            ratelimit: RateLimitConfig::default(),
            retention: RetentionConfig::default(),
            ledger: LedgerConfig::default(),
            sim: SimConfig::default(),
        }
    }
}

/// What the web page calls this pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrandingConfig {
    pub status_brand_name: String,
    pub server_location: String,
    /// ISO 4217.
    pub fiat_currency: String,
}

impl Default for BrandingConfig {
    fn default() -> Self {
        Self {
            status_brand_name: "WarpPool".into(),
            server_location: "self-hosted".into(),
            fiat_currency: "EUR".into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingConfig {
    /// In the syntax of `RUST_LOG`, which wins over it.
    pub filter: String,
    /// Log every line to and from the miners.
    pub net_debug: bool,
    pub json: bool,
    pub journald: Journald,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { filter: "info".into(), net_debug: false, json: false, journald: Journald::Auto }
    }
}

/// Whether to log to journald instead of stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Journald {
    /// Where the process was started by systemd.
    Auto,
    On,
    Off,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MiningConfig {
    pub chain: Chain,
    pub payout: PayoutMode,
    /// Checked against `chain`, as the other addresses here are.
    pub payout_address: Option<String>,
    pub pool_fee_percent: Percent,
    pub pool_fee_address: Option<String>,
    pub operator_donation_percent: Percent,
    pub operator_donation_address: Option<String>,
    /// At most 19 printable ASCII bytes.
    pub pool_tag: String,
    pub block_explorer_url: Option<String>,
}

impl Default for MiningConfig {
    fn default() -> Self {
        Self {
            chain: Chain::Mainnet,
            payout: PayoutMode::Username,
            payout_address: None,
            pool_fee_percent: Percent::ZERO,
            pool_fee_address: None,
            operator_donation_percent: Percent::ZERO,
            operator_donation_address: None,
            pool_tag: "WarpPool".into(),
            block_explorer_url: None,
        }
    }
}

/// Whom a block pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayoutMode {
    /// The address in the miner's username; `payout_address` for a plain name.
    Username,
    /// `payout_address`, whoever finds it.
    Operator,
}

/// A Bitcoin Core. Its user and password stand in `secrets.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    pub name: String,
    /// `None`: 127.0.0.1 at the chain's usual port.
    pub rpc_url: Option<String>,
    pub rpc_cookie_path: Option<PathBuf>,
    pub zmq_hashblock_addr: Option<String>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { name: "node".into(), rpc_url: None, rpc_cookie_path: None, zmq_hashblock_addr: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    pub data_dir: PathBuf,
    pub http_listen: Listen,
    pub status_public_url: Option<String>,
    pub trusted_proxies: Vec<Network>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            http_listen: Listen::Addr(([127, 0, 0, 1], 18334).into()),
            status_public_url: None,
            trusted_proxies: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StratumConfig {
    pub listen: Listen,
    pub tls_listen: Option<Listen>,
    pub tls_cert_path: Option<PathBuf>,
    pub tls_key_path: Option<PathBuf>,
    pub tls_min_version: TlsVersion,
    pub stratum_password: Option<Secret>,
    pub safe_mode: bool,
    pub allow_plain_names: bool,
    /// `None`: the profile's.
    pub max_connections: Option<u32>,
    /// `None`: the profile's.
    pub max_connections_per_address: Option<u32>,
    pub authorize_timeout_seconds: u64,
    pub job_keepalive_seconds: u64,
    pub empty_job_on_new_tip: bool,
    pub proxy_protocol_from: Vec<Network>,
}

impl Default for StratumConfig {
    fn default() -> Self {
        Self {
            listen: Listen::Any(3333),
            tls_listen: None,
            tls_cert_path: None,
            tls_key_path: None,
            tls_min_version: TlsVersion::V1_2,
            stratum_password: None,
            safe_mode: true,
            allow_plain_names: true,
            max_connections: None,
            max_connections_per_address: None,
            authorize_timeout_seconds: 60,
            job_keepalive_seconds: 45,
            empty_job_on_new_tip: false,
            proxy_protocol_from: Vec::new(),
        }
    }
}

/// The oldest TLS a miner may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// How many workers the ledger remembers. The longest unseen goes first, never one that found a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TuningConfig {
    pub max_saved_workers_per_user: u32,
    pub max_saved_workers_pool_total: u32,
}

impl Default for TuningConfig {
    fn default() -> Self {
        Self { max_saved_workers_per_user: 64, max_saved_workers_pool_total: 1024 }
    }
}

/// Which profile to take; the hardware decides when both are open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    pub kind: Option<ProfileKind>,
    pub expected_miner_count: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VardiffConfig {
    pub enabled: bool,
    /// `None`: the profile's.
    pub target_seconds_per_share: Option<f64>,
    pub min_diff: f64,
    pub max_diff: f64,
    /// `None`: by the class of the device.
    pub initial_diff: Option<f64>,
    /// The part by which the wanted difficulty must differ from the present one: 0.3 is 30 %.
    pub hysteresis: f64,
    /// The most a difficulty changes at once, as a factor.
    pub max_step: f64,
    pub retarget_after_n_shares: u32,
    /// Shares in the moving average.
    pub window: u32,
}

impl Default for VardiffConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            target_seconds_per_share: None,
            min_diff: 0.00001,
            max_diff: 1e12,
            initial_diff: None,
            hysteresis: 0.3,
            max_step: 4.0,
            retarget_after_n_shares: 8,
            window: 16,
        }
    }
}

/// Token buckets for each peer address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitConfig {
    pub enabled: bool,
    pub connects_per_sec: f64,
    pub connect_burst: u32,
    pub auths_per_sec: f64,
    pub auth_burst: u32,
    pub idle_evict_secs: u64,
    pub bans: bool,
    pub ban_seconds: u64,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            connects_per_sec: 5.0,
            connect_burst: 20,
            auths_per_sec: 1.0,
            auth_burst: 10,
            idle_evict_secs: 300,
            bans: true,
            ban_seconds: 600,
        }
    }
}

/// How long each tier is kept; the tier of days is kept for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    pub raw_hours: u32,
    pub five_minute_days: u32,
    pub hour_days: u32,
    pub audit_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { raw_hours: 1, five_minute_days: 7, hour_days: 90, audit_days: 90 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// `None`: the profile's. A power cut loses at most this much statistics.
    pub commit_seconds: Option<u64>,
    /// Address space, not disk: the file grows as it is filled.
    pub map_size: ByteSize,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { commit_seconds: None, map_size: ByteSize(1 << 30) }
    }
}

/// Read by the simulated node (`warppool sim node`) alone; the pool ignores it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimConfig {
    /// Transactions in every template.
    pub transactions: u32,
    /// Whether the network target is out of every miner's reach.
    pub unreachable_target: bool,
}

/// `[node]` or `[[node]]`.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeConfig>, D::Error> {
    struct Nodes;

    impl<'de> serde::de::Visitor<'de> for Nodes {
        type Value = Vec<NodeConfig>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a node table or a list of them")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            NodeConfig::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|node| vec![node])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
        }
    }

    deserializer.deserialize_any(Nodes)
}
