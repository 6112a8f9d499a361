//! What single values cannot show: whether the settings make sense together. All faults are found, not only the first.

use std::collections::BTreeSet;

use bitcoin::Address;
use bitcoin::address::{NetworkUnchecked, ParseError};
use warppool_work::Chain;

use crate::access::{self, Home, NodeAccess};
use crate::finding::{Finding, Place};
use crate::kind::{shown, without_userinfo};
use crate::model::{Config, PayoutMode};
use crate::profile::ProfileKind;
use crate::secrets::Secrets;

/// What the checks look at and what they find.
pub(crate) struct Check<'a> {
    pub config: &'a Config,
    pub secrets: &'a Secrets,
    pub home: &'a Home,
    /// Keys whose value could not be read: what depends on them is not judged.
    pub failed: &'a [&'static str],
    /// Where a key was set.
    pub place: &'a dyn Fn(&str, usize) -> Place,
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
}

impl Check<'_> {
    /// Runs all checks and gives the nodes as they are to be reached.
    pub(crate) fn run(&mut self) -> Vec<NodeAccess> {
        self.payouts();
        self.listeners();
        self.tls();
        self.difficulties();
        self.ledger();
        self.profile();
        self.nodes()
    }

    fn readable(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.failed.contains(key))
    }

    fn error(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let place = (self.place)(key, 0);
        self.errors.push(Finding::new(place, key, problem, remedy));
    }

    /// An error between keys: it is told at the last one of them that somebody set, unless one of them was not readable.
    fn error_between(&mut self, keys: &[&str], problem: impl Into<String>, remedy: impl Into<String>) {
        if self.readable(keys) {
            let set = keys.iter().rev().find(|key| (self.place)(key, 0) != Place::Default);
            self.error(set.unwrap_or(&keys[0]), problem, remedy);
        }
    }

    fn warn(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let place = (self.place)(key, 0);
        self.warnings.push(Finding::new(place, key, problem, remedy));
    }

    fn payouts(&mut self) {
        let mining = &self.config.mining;
        let addresses = [
            ("mining.payout_address", &mining.payout_address),
            ("mining.pool_fee_address", &mining.pool_fee_address),
            ("mining.operator_donation_address", &mining.operator_donation_address),
        ];
        for (key, address) in addresses {
            let Some(address) = address.as_deref().filter(|_| self.readable(&["mining.chain", key])) else { continue };
            if let Err((problem, remedy)) = address_fits(address, mining.chain) {
                self.error(key, problem, remedy);
            }
        }
        for (percent_key, percent, address_key, address) in [
            ("mining.pool_fee_percent", mining.pool_fee_percent, "mining.pool_fee_address", &mining.pool_fee_address),
            (
                "mining.operator_donation_percent",
                mining.operator_donation_percent,
                "mining.operator_donation_address",
                &mining.operator_donation_address,
            ),
        ] {
            if !self.readable(&[percent_key, address_key]) {
                continue;
            }
            if !percent.is_zero() && address.is_none() {
                self.error(percent_key, "nobody is there to receive it", format!("set {address_key}, or make this 0"));
            } else if percent.is_zero() && address.is_some() {
                self.warn(address_key, format!("it receives nothing while {percent_key} is 0"), "set both or neither");
            }
        }
        let together = mining.pool_fee_percent.ppm() + mining.operator_donation_percent.ppm();
        if together > 990_000 {
            let percent = f64::from(together) / 10_000.0;
            self.error_between(
                &["mining.pool_fee_percent", "mining.operator_donation_percent"],
                format!("fee and donation are {percent} % together"),
                "leave the finder at least 1 %",
            );
        }
        if mining.payout_address.is_none() && self.readable(&["mining.payout", "mining.payout_address"]) {
            if mining.payout == PayoutMode::Operator {
                self.error("mining.payout", "`operator` needs an address to pay to", "set mining.payout_address");
            } else if self.config.stratum.allow_plain_names {
                self.warn(
                    "stratum.allow_plain_names",
                    "miners with a plain name are refused, because there is no mining.payout_address to pay them to",
                    "set mining.payout_address, or let every miner use an address as its username",
                );
            }
        }
    }

    fn listeners(&mut self) {
        let config = self.config;
        let tls = config.stratum.tls_listen.as_ref();
        let all = [
            ("stratum.listen", Some(&config.stratum.listen)),
            ("stratum.tls_listen", tls),
            ("server.http_listen", Some(&config.server.http_listen)),
        ];
        for (i, (key, listen)) in all.iter().enumerate() {
            for (other_key, other) in &all[..i] {
                let (Some(listen), Some(other)) = (listen, other) else { continue };
                if listen.collides(other) {
                    let problem = format!("{key} = {listen} and {other_key} = {other} collide");
                    self.error_between(&[other_key, key], problem, "give each a port of its own");
                }
            }
        }
        if !config.server.http_listen.is_loopback() {
            self.error(
                "server.http_listen",
                format!("{} can be reached from outside, and there are no accounts yet", config.server.http_listen),
                "write \"127.0.0.1:18334\", and reach it through SSH or a reverse proxy that asks for a password",
            );
        }
    }

    fn tls(&mut self) {
        let stratum = &self.config.stratum;
        let files = [
            ("stratum.tls_cert_path", stratum.tls_cert_path.is_some()),
            ("stratum.tls_key_path", stratum.tls_key_path.is_some()),
        ];
        for (key, there) in files {
            if stratum.tls_listen.is_some() && !there && self.readable(&[key]) {
                self.error(
                    "stratum.tls_listen",
                    format!("TLS needs {key}"),
                    format!("set {key}, or remove tls_listen"),
                );
            }
        }
        let switched_off = matches!((self.place)("stratum.tls_listen", 0), Place::Flag(_));
        if stratum.tls_listen.is_none() && files[0].1 && !switched_off && self.readable(&["stratum.tls_listen"]) {
            self.warn("stratum.tls_cert_path", "the certificate is not used", "set stratum.tls_listen = \":3334\"");
        }
    }

    fn difficulties(&mut self) {
        let vardiff = &self.config.vardiff;
        let (min, max) = (vardiff.min_diff, vardiff.max_diff);
        let keys = ["vardiff.min_diff", "vardiff.max_diff", "vardiff.initial_diff"];
        if min > max {
            let problem = format!("min_diff is {min} and above max_diff, which is {max}");
            self.error_between(&keys[..2], problem, "make min_diff the smaller one");
        } else if let Some(initial) = vardiff.initial_diff.filter(|initial| !(min..=max).contains(initial)) {
            let problem = format!("initial_diff is {initial} and not between min_diff ({min}) and max_diff ({max})");
            self.error_between(&keys, problem, "choose one between them, or widen them");
        }
    }

    fn ledger(&mut self) {
        let retention = &self.config.retention;
        let tiers = [
            ("retention.raw_hours", u64::from(retention.raw_hours)),
            ("retention.five_minute_days", u64::from(retention.five_minute_days) * 24),
            ("retention.hour_days", u64::from(retention.hour_days) * 24),
        ];
        for pair in tiers.windows(2) {
            let [(fine_key, fine), (coarse_key, coarse)] = [pair[0], pair[1]];
            if fine > coarse {
                let problem = format!("{fine_key} ({fine} h) is longer than {coarse_key} ({coarse} h)");
                self.error_between(
                    &[fine_key, coarse_key],
                    problem,
                    "keep sums at least as long as what they are made of",
                );
            }
        }
        let tuning = &self.config.tuning;
        let (of_user, total) = (tuning.max_saved_workers_per_user, tuning.max_saved_workers_pool_total);
        if of_user > total {
            self.error_between(
                &["tuning.max_saved_workers_per_user", "tuning.max_saved_workers_pool_total"],
                format!("one user may have {of_user} workers, which are more than there may be in all ({total})"),
                "make max_saved_workers_per_user the smaller one",
            );
        }
    }

    fn profile(&mut self) {
        let profile = &self.config.profile;
        if let (Some(kind), Some(miners)) = (profile.kind, profile.expected_miner_count) {
            let fitting = ProfileKind::for_miners(miners);
            if fitting > kind {
                let problem = format!("{miners} miners do not fit the {kind} profile");
                self.warn("profile.expected_miner_count", problem, format!("set profile.kind = \"{fitting}\""));
            }
        }
        let stratum = &self.config.stratum;
        let total = stratum.max_connections.or(profile.kind.map(ProfileKind::max_connections));
        if let (Some(per_address), Some(total)) = (stratum.max_connections_per_address, total)
            && per_address > total
        {
            let key = "stratum.max_connections_per_address";
            self.warn(
                key,
                format!("one address cannot have more than there are in all, {total}"),
                "raise stratum.max_connections",
            );
        }
    }

    fn nodes(&mut self) -> Vec<NodeAccess> {
        let config = self.config;
        let mut names = BTreeSet::new();
        let mut nodes = Vec::new();
        for (i, node) in config.node.iter().enumerate() {
            let at = |key: &str| (self.place)(key, i);
            if !names.insert(&node.name) {
                let problem = format!("another node is called `{}` too", shown(&node.name));
                self.errors.push(Finding::new(
                    at("node.name"),
                    "node.name",
                    problem,
                    "give each node a name of its own",
                ));
            }
            let name_fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if node.name.is_empty() || !node.name.chars().all(name_fits) {
                let problem = format!("`{}` is no name for a node", shown(&node.name));
                self.errors.push(Finding::new(
                    at("node.name"),
                    "node.name",
                    problem,
                    "write letters, digits, hyphens and dots",
                ));
            }
            let url = node.rpc_url.as_deref().unwrap_or_default();
            if access::userinfo(url).is_some()
                && config.mining.chain != Chain::Regtest
                && self.readable(&["mining.chain"])
            {
                let problem = format!("the password for {} does not belong into this file", without_userinfo(url));
                let remedy =
                    "move user and password to secrets.toml as rpc_user and rpc_pass, and remove them from the URL";
                self.errors.push(Finding::new(at("node.rpc_url"), "node.rpc_url", problem, remedy));
            }
            match access::resolve(node, config.mining.chain, self.secrets, self.home) {
                Some(access) => nodes.push(access),
                None if self.readable(&["node.rpc_cookie_path", "node.rpc_url", "rpc_user", "rpc_pass"]) => {
                    let problem = format!("there are no credentials for {url}, which is not on this machine");
                    let remedy =
                        "set rpc_user and rpc_pass in secrets.toml, or rpc_cookie_path if its cookie can be read here";
                    self.errors.push(Finding::new(at("node.rpc_url"), "node.rpc_url", problem, remedy));
                }
                None => {}
            }
        }
        for name in self.secrets.rpc_by_node.keys().filter(|name| !names.contains(name)) {
            let problem = format!("no node of config.toml is called `{}`", shown(name));
            let remedy = match names.iter().min_by_key(|known| strsim::damerau_levenshtein(known, &shown(name))) {
                Some(near) => format!("write [node.{near}], or name a node so"),
                None => "remove it".to_owned(),
            };
            self.errors.push(Finding::new((self.place)(&format!("node.{name}"), 0), "node", problem, remedy));
        }
        nodes
    }
}

/// Whether blocks of `chain` can pay `address`; else what is wrong with it and the remedy.
fn address_fits(address: &str, chain: Chain) -> Result<(), (String, String)> {
    let network = network(chain);
    let remedy = || format!("write an address of {chain}, as your wallet shows it");
    let parsed = address.parse::<Address<NetworkUnchecked>>().map_err(|err| {
        let why = match err {
            ParseError::Base58(_) | ParseError::Bech32(_) => "it is mistyped or cut off (its checksum does not fit)",
            _ => "it is not of any known form",
        };
        (format!("`{}` is not a Bitcoin address: {why}", shown(address)), remedy())
    })?;
    parsed.require_network(network).map(|_| ()).map_err(|_| {
        (format!("{address} is an address of another chain than mining.chain, which is {chain}"), remedy())
    })
}

fn network(chain: Chain) -> bitcoin::Network {
    match chain {
        Chain::Mainnet => bitcoin::Network::Bitcoin,
        Chain::Testnet4 => bitcoin::Network::Testnet4,
        Chain::Signet => bitcoin::Network::Signet,
        Chain::Regtest => bitcoin::Network::Regtest,
    }
}
