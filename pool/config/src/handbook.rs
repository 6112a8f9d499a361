//! Every key, secret, variable and flag of the handbook's configuration, and where it went.
//!
//! An operator who brings an old file is told the new name of each key, or why there is none.

/// Where a setting of the handbook went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is this key (of `config.toml` or `secrets.toml`) now, maybe under its old name.
    Ours(&'static str),
    /// It is this flag or variable of the program itself.
    Program(&'static str),
    /// It is gone; the text says why, as a sentence that follows "because".
    Dropped(&'static str),
    /// It belongs to a part that this version does not have; the text names the part.
    Later(&'static str),
}

/// A setting of the handbook: `table.key`, `secrets.key`, an environment variable, or a `--flag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldKey {
    pub name: &'static str,
    pub fate: Fate,
}

const fn ours(name: &'static str, key: &'static str) -> OldKey {
    OldKey { name, fate: Fate::Ours(key) }
}

const fn same(name: &'static str) -> OldKey {
    OldKey { name, fate: Fate::Ours(name) }
}

const fn program(name: &'static str, what: &'static str) -> OldKey {
    OldKey { name, fate: Fate::Program(what) }
}

const fn dropped(name: &'static str, because: &'static str) -> OldKey {
    OldKey { name, fate: Fate::Dropped(because) }
}

const fn later(name: &'static str, part: &'static str) -> OldKey {
    OldKey { name, fate: Fate::Later(part) }
}

const NOTIFY: &str = "notifications";
const SV2: &str = "Stratum V2";
const FLEET: &str = "the fleet of miners";
const ACCOUNTS: &str = "accounts";
const UPDATES: &str = "updates";
const REACH: &str = "reachability from outside";
const TLS: &str = "certificates";

/// The table, in the handbook's order.
pub const HANDBOOK: &[OldKey] = &[
    same("branding.status_brand_name"),
    same("branding.server_location"),
    same("branding.fiat_currency"),
    dropped(
        "branding.pool_donation_address",
        "it had no effect; a donation is an output of the coinbase, see mining.operator_donation_address",
    ),
    ours("logging.debug", "logging.filter"),
    same("logging.net_debug"),
    same("logging.json"),
    same("mining.payout_address"),
    same("mining.pool_fee_percent"),
    same("mining.pool_fee_address"),
    ours("mining.pooltag_prefix", "mining.pool_tag"),
    same("mining.operator_donation_address"),
    same("mining.operator_donation_percent"),
    same("node.rpc_url"),
    same("node.zmq_hashblock_addr"),
    dropped("node.zmq_rawblock_addr", "the hash of a new block is all the pool needs, see node.zmq_hashblock_addr"),
    same("node.rpc_cookie_path"),
    ours("server.pool_listen", "stratum.listen"),
    ours("server.status_listen", "server.http_listen"),
    later("server.status_tls_listen", TLS),
    same("server.status_public_url"),
    ours("server.trust_proxy_headers", "server.trusted_proxies"),
    ours("stratum.stratum_tls_listen", "stratum.tls_listen"),
    same("stratum.stratum_password"),
    same("stratum.safe_mode"),
    same("stratum.tls_cert_path"),
    same("stratum.tls_key_path"),
    later("stratum.sv2_listen", SV2),
    later("stratum.sv2_max_connections", SV2),
    same("tuning.max_saved_workers_per_user"),
    same("tuning.max_saved_workers_pool_total"),
    same("profile.kind"),
    same("profile.expected_miner_count"),
    same("vardiff.enabled"),
    same("vardiff.target_seconds_per_share"),
    same("vardiff.window"),
    same("vardiff.min_diff"),
    same("vardiff.max_diff"),
    same("vardiff.retarget_after_n_shares"),
    same("vardiff.hysteresis"),
    same("vardiff.max_step"),
    same("vardiff.initial_diff"),
    same("ratelimit.enabled"),
    same("ratelimit.connects_per_sec"),
    same("ratelimit.connect_burst"),
    same("ratelimit.auths_per_sec"),
    same("ratelimit.auth_burst"),
    same("ratelimit.idle_evict_secs"),
    later("notifier.webpush_subscriptions_path", NOTIFY),
    later("notifier.ntfy.topic_url", NOTIFY),
    later("notifier.ntfy.on_block_found", NOTIFY),
    later("notifier.ntfy.on_miner_disconnect", NOTIFY),
    later("notifier.ntfy.on_rpc_down", NOTIFY),
    later("notifier.ntfy.on_health_alert", NOTIFY),
    later("notifier.telegram.bot_token_env", NOTIFY),
    later("notifier.telegram.chat_id", NOTIFY),
    later("notifier.telegram.on_block_found", NOTIFY),
    later("notifier.telegram.on_health_alert", NOTIFY),
    later("notifier.discord.webhook_url_env", NOTIFY),
    later("notifier.discord.on_block_found", NOTIFY),
    later("notifier.discord.on_health_alert", NOTIFY),
    later("notifier.slack.webhook_url_env", NOTIFY),
    later("notifier.slack.on_block_found", NOTIFY),
    later("notifier.slack.on_miner_disconnect", NOTIFY),
    later("notifier.slack.on_rpc_down", NOTIFY),
    later("notifier.slack.on_health_alert", NOTIFY),
    later("notifier.email.smtp_url", NOTIFY),
    later("notifier.email.from", NOTIFY),
    later("notifier.email.to", NOTIFY),
    later("notifier.email.password_env", NOTIFY),
    later("notifier.email.on_block_found", NOTIFY),
    later("notifier.email.on_miner_disconnect", NOTIFY),
    later("notifier.email.on_rpc_down", NOTIFY),
    later("notifier.email.on_health_alert", NOTIFY),
    ours("secrets.rpc_user", "rpc_user"),
    ours("secrets.rpc_pass", "rpc_pass"),
    later("secrets.admin_username", ACCOUNTS),
    later("secrets.admin_password_hash", ACCOUNTS),
    later("secrets.jwt_secret", ACCOUNTS),
    later("secrets.sv2_static_priv_key_hex", SV2),
    later("secrets.vapid_public_key", NOTIFY),
    later("secrets.vapid_private_key", NOTIFY),
    later("secrets.vapid_contact", NOTIFY),
    dropped(
        "WARPPOOL_HEALTH_CHECK_INTERVAL_SECONDS",
        "every answer of a node tells its health, without an interval of its own",
    ),
    later("WARPPOOL_AUTOUPDATE_REPO", UPDATES),
    later("WARPPOOL_AUTOUPDATE_INTERVAL_HOURS", UPDATES),
    dropped("WARPPOOL_COSIGN_BIN", "updates are verified by the program itself"),
    later("WARPPOOL_DISCONNECT_DEBOUNCE_SECS", NOTIFY),
    later("mining.electricity.solar.enabled", FLEET),
    later("mining.electricity.solar.kind", FLEET),
    later("mining.electricity.solar.url_env", FLEET),
    later("mining.electricity.solar.token_env", FLEET),
    later("mining.electricity.solar.pv_entity_id", FLEET),
    later("mining.electricity.solar.consumption_entity_id", FLEET),
    later("mining.electricity.solar.poll_interval_secs", FLEET),
    later("mining.electricity.solar.surplus_buffer_w", FLEET),
    later("mining.electricity.solar.excess_rate_eur_kwh", FLEET),
    later("mining.electricity.solar.stale_after_secs", FLEET),
    later("WARPPOOL_HA_URL", FLEET),
    later("WARPPOOL_HA_TOKEN", FLEET),
    later("WARPPOOL_AUTO_PROBE_DISCOVERED", FLEET),
    later("WARPPOOL_ANOMALY_CHECK_INTERVAL_SECS", FLEET),
    later("WARPPOOL_ANOMALY_DEBOUNCE_SECS", FLEET),
    later("TELEGRAM_BOT_TOKEN", NOTIFY),
    later("DISCORD_WEBHOOK_URL", NOTIFY),
    later("SLACK_WEBHOOK_URL", NOTIFY),
    later("POOL_SMTP_PASSWORD", NOTIFY),
    ours("RUST_LOG", "logging.filter"),
    ours("WARPPOOL_ZMQ_HASHBLOCK_ADDR", "node.zmq_hashblock_addr"),
    dropped("WARPPOOL_E2E_REGTEST_*", "the tests start a node of their own"),
    later("WARPPOOL_BACKUP_DIR", UPDATES),
    dropped("WARPPOOL_TARGET_BIN", "an update replaces the program that runs"),
    dropped("WARPPOOL_SERVICE", "an update restarts itself"),
    program("--config", "--config"),
    program("--secrets", "--secrets"),
    ours("--db-url", "server.data_dir"),
    dropped("--ui-dir", "the web page is part of the program"),
    program("--no-zmq", "--no-zmq"),
    program("--no-tls", "--no-tls"),
    later("upnp.enabled", REACH),
    later("upnp.renew_interval_secs", REACH),
    later("upnp.forwards.port", REACH),
    later("upnp.forwards.protocol", REACH),
    later("upnp.forwards.lease_seconds", REACH),
    later("upnp.forwards.description", REACH),
];

/// The entry of a key, or of the first key below a table.
pub(crate) fn find(name: &str) -> Option<&'static OldKey> {
    let below = |old: &&OldKey| old.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    HANDBOOK.iter().find(|old| old.name == name).or_else(|| HANDBOOK.iter().find(below))
}

impl Fate {
    /// What is wrong with using the old name, and the remedy.
    pub(crate) fn explain(self, old: &str) -> (String, String) {
        match self {
            Self::Ours(key) if key == "server.trusted_proxies" => (
                format!("this key is now {key}"),
                format!("list the addresses of the proxies there, as in {key} = [\"127.0.0.1\"]"),
            ),
            Self::Ours(key) if key == "logging.filter" => {
                (format!("this key is now {key}"), format!("write {key} = \"debug\" for what debug = true was"))
            }
            Self::Ours(key) => (format!("this key is now {key}"), format!("move its value to {key} and remove {old}")),
            Self::Program(flag) => (format!("this is the flag {flag}"), format!("start the program with {flag}")),
            Self::Dropped(because) => {
                (format!("there is no such key any more, because {because}"), format!("remove {old}"))
            }
            Self::Later(part) => {
                (format!("this belongs to {part}, which this version does not have"), format!("remove {old} for now"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::schema::{SECRETS, schema};

    /// The settings that the handbook shows: its TOML, its secrets, its tables of variables, its flags, in its own layout.
    const SHOWN: &str = include_str!("../testdata/handbook-keys.txt");

    /// `table.key` for each line `key = …` below a `[table]`, and the names of variables and flags as they stand.
    fn shown() -> BTreeSet<String> {
        let mut table = String::new();
        let mut keys = BTreeSet::new();
        for line in SHOWN.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[') {
                table = name.trim_matches(['[', ']']).to_owned();
            } else if let Some((key, _)) = line.split_once(" = ") {
                assert!(keys.insert(format!("{table}.{key}")), "{line} stands twice");
            } else {
                assert!(keys.insert(line.to_owned()), "{line} stands twice");
            }
        }
        keys
    }

    #[test]
    fn every_setting_the_handbook_shows_is_in_the_table_once_and_no_other() {
        let table: Vec<_> = HANDBOOK.iter().map(|old| old.name.to_owned()).collect();
        let unique: BTreeSet<_> = table.iter().cloned().collect();
        assert_eq!(unique.len(), table.len(), "a setting stands twice in the table");
        assert_eq!(unique, shown());
    }

    #[test]
    fn every_key_the_table_calls_ours_exists() {
        for old in HANDBOOK {
            if let Fate::Ours(key) = old.fate {
                assert!(schema().iter().chain(SECRETS).any(|known| known.path == key), "{} -> {key}", old.name);
            }
        }
    }

    #[test]
    fn a_key_that_still_exists_is_called_ours() {
        for old in HANDBOOK {
            if schema().iter().any(|key| key.path == old.name) {
                assert_eq!(old.fate, Fate::Ours(old.name), "{}", old.name);
            }
        }
    }
}
