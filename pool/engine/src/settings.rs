//! From the configuration file's words to those of each room.

use std::path::Path;
use std::time::Duration;

use warppool_config::{Config, Limits, Loaded, NodeAccess, NodeAuth, PayoutMode, TlsVersion};
use warppool_events::Bus;
use warppool_ledger::{Caps, Checker, Retention};
use warppool_node::{Auth, NodeSettings};
use warppool_stratum::{Rates, TlsVersions};
use warppool_work::{Cut, Difficulty, PartsPerMillion, Tags, VardiffSettings, parse_address};

use crate::roster::PayoutRules;
use crate::sockets::Sockets;

/// Which parts of the pool's files and sockets a start leaves alone.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// Keep the ledger in memory: the file is suspected of having killed an earlier run.
    pub memory_ledger: bool,
    /// Who checks the ledger's file before it is opened; `None` is this process.
    pub checker: Option<Checker>,
    /// Ports opened for the pool by somebody with more rights.
    pub sockets: Sockets,
}

pub(crate) fn nodes(loaded: &Loaded) -> warppool_node::Settings {
    let mut settings = warppool_node::Settings::new(loaded.config.mining.chain);
    settings.nodes = loaded.nodes.iter().map(node).collect();
    settings
}

fn node(access: &NodeAccess) -> NodeSettings {
    let auth = match &access.auth {
        NodeAuth::Cookie(path) => Auth::Cookie(path.clone()),
        NodeAuth::Password(credentials) => {
            Auth::UserPass { user: credentials.user.clone(), pass: credentials.password.expose().to_owned() }
        }
    };
    NodeSettings {
        name: access.name.clone(),
        rpc_url: access.rpc_url.clone(),
        auth,
        zmq_hashblock: access.zmq_hashblock_addr.clone(),
    }
}

pub(crate) fn ledger(
    config: &Config,
    limits: &Limits,
    dir: &Path,
    options: &StartOptions,
    bus: Bus,
) -> warppool_ledger::Options {
    let mut settings = warppool_ledger::Options::new(dir.join("ledger"), bus);
    settings.memory_only = options.memory_ledger;
    settings.commit_every = Duration::from_secs(limits.ledger_commit_seconds);
    settings.map_size = config.ledger.map_size.0;
    let days = |days: u32| Some(Duration::from_hours(u64::from(days) * 24));
    settings.retention = Retention {
        raw: Some(Duration::from_hours(config.retention.raw_hours.into())),
        five_minutes: days(config.retention.five_minute_days),
        hours: days(config.retention.hour_days),
        days: None,
        audit: days(config.retention.audit_days),
    };
    settings.caps = Caps {
        workers_per_user: config.tuning.max_saved_workers_per_user as usize,
        workers: config.tuning.max_saved_workers_pool_total as usize,
    };
    if let Some(checker) = &options.checker {
        settings.checker = checker.clone();
    }
    settings
}

pub(crate) fn stratum(config: &Config, limits: &Limits) -> warppool_stratum::Settings {
    let (stratum, rates) = (&config.stratum, &config.ratelimit);
    warppool_stratum::Settings {
        max_connections: limits.max_connections as usize,
        max_per_address: limits.max_connections_per_address as usize,
        authorize_timeout: Duration::from_secs(stratum.authorize_timeout_seconds),
        rates: Rates {
            enabled: rates.enabled,
            connects_per_second: rates.connects_per_sec,
            connect_burst: rates.connect_burst,
            authorizes_per_second: rates.auths_per_sec,
            authorize_burst: rates.auth_burst,
            idle_evict: Duration::from_secs(rates.idle_evict_secs),
        },
        ban: rates.bans.then(|| Duration::from_secs(rates.ban_seconds)),
        vardiff: vardiff(config, limits),
        initial_difficulty: config.vardiff.initial_diff.and_then(|value| Difficulty::new(value).ok()),
        password: stratum.stratum_password.as_ref().map(|password| password.expose().to_owned()),
        safe_mode: stratum.safe_mode,
        ..warppool_stratum::Settings::default()
    }
}

fn vardiff(config: &Config, limits: &Limits) -> VardiffSettings {
    let (vardiff, default) = (&config.vardiff, VardiffSettings::default());
    VardiffSettings {
        enabled: vardiff.enabled,
        target_seconds: limits.vardiff_target_seconds,
        min: Difficulty::new(vardiff.min_diff).unwrap_or(default.min),
        max: Difficulty::new(vardiff.max_diff).unwrap_or(default.max),
        hysteresis: vardiff.hysteresis,
        max_step: vardiff.max_step,
        retarget_shares: vardiff.retarget_after_n_shares,
        window: vardiff.window,
    }
}

pub(crate) fn tls_versions(config: &Config) -> TlsVersions {
    match config.stratum.tls_min_version {
        TlsVersion::V1_2 => TlsVersions::From12,
        TlsVersion::V1_3 => TlsVersions::Only13,
    }
}

/// Whom blocks pay. The configuration has checked the addresses already.
pub(crate) fn payouts(config: &Config) -> anyhow::Result<PayoutRules> {
    let mining = &config.mining;
    let cut = |ppm: u32, address: &Option<String>| -> anyhow::Result<Option<Cut>> {
        let (true, Some(address)) = (ppm > 0, address) else { return Ok(None) };
        let (_, script) = parse_address(address, mining.chain)?;
        Ok(Some(Cut { script, share: PartsPerMillion::new(ppm) }))
    };
    let cuts = [
        cut(mining.pool_fee_percent.ppm(), &mining.pool_fee_address)?,
        cut(mining.operator_donation_percent.ppm(), &mining.operator_donation_address)?,
    ];
    Ok(PayoutRules {
        chain: mining.chain,
        operator_takes_all: mining.payout == PayoutMode::Operator,
        operator: mining.payout_address.clone(),
        plain_names: config.stratum.allow_plain_names,
        cuts: cuts.into_iter().flatten().collect(),
    })
}

/// The tags of this start: the configured one, and a random one that keeps work from repeating.
pub(crate) fn tags(config: &Config) -> anyhow::Result<Tags> {
    let mut start = [0; warppool_work::START_TAG_SIZE];
    getrandom::fill(&mut start)?;
    Ok(Tags::new(&config.mining.pool_tag, start)?)
}
