//! What a reload finds changed.

use std::path::Path;

use warppool_config::{Loaded, Overrides, diff, parse};

use crate::{env, read};

fn loaded(text: &str) -> Loaded {
    read(text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn case(old: &str, new: &str, live: &[&str], needs_restart: &[&str]) {
    for (old, new) in [(old, new), (new, old)] {
        let changes = diff(&loaded(old), &loaded(new));
        assert_eq!((changes.live, changes.needs_restart), (owned(live), owned(needs_restart)), "{old} -> {new}");
    }
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn each_changed_key_is_live_or_waits_for_a_restart() {
    case("", "", &[], &[]);
    case("", "stratum.listen = ':3333'", &[], &[]);
    case("", "stratum.listen = ':3334'", &["stratum.listen"], &[]);
    case("", "vardiff.initial_diff = 2", &["vardiff.initial_diff"], &[]);
    case("", "profile.kind = 'gross'", &["profile.kind"], &[]);
    case("profile.kind = 'large'", "profile.kind = 'gross'", &[], &[]);
    case("", "mining.chain = 'signet'\nvardiff.window = 2", &["vardiff.window"], &["mining.chain"]);
    case("", "retention.raw_hours = 2", &[], &["retention.raw_hours"]);
    case("", "node.rpc_url = 'http://127.0.0.1:1'", &[], &["node.rpc_url"]);
    case("", "stratum.proxy_protocol_from = ['10.0.0.0/8']", &["stratum.proxy_protocol_from"], &[]);
}

#[test]
fn a_changed_password_is_noticed_though_it_is_never_shown() {
    case("stratum.stratum_password = 'a'", "stratum.stratum_password = 'b'", &["stratum.stratum_password"], &[]);
    case("", "stratum.stratum_password = 'b'", &["stratum.stratum_password"], &[]);
    let with = |secrets: &str| {
        let secrets = Some((Path::new("secrets.toml"), secrets.as_bytes()));
        parse(Path::new("config.toml"), b"", secrets, &Overrides::default(), env(&[])).unwrap()
    };
    let (old, new) = (with("rpc_user = 'a'\nrpc_pass = 'b'"), with("rpc_user = 'a'\nrpc_pass = 'c'"));
    assert_eq!(diff(&old, &new).needs_restart, ["secrets.toml"]);
    assert!(diff(&old, &old).is_empty());
}

#[test]
fn an_added_node_is_told_by_its_name() {
    let changes = diff(&loaded("[[node]]\nname = 'a'"), &loaded("[[node]]\nname = 'a'\n[[node]]\nname = 'b'"));
    assert!(changes.live.is_empty());
    assert!(changes.needs_restart.contains(&"node.b.name".to_owned()), "{changes:?}");
}
