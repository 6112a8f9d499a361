//! Flag, environment, file, profile, default: who wins, and that everyone is told who did.

use std::path::{Path, PathBuf};

use warppool_config::{Listen, Loaded, NodeAuth, Overrides, Percent, Place, ProfileKind, parse};

use crate::env;

fn flags(set: &[(&str, &str)]) -> Overrides {
    let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Overrides { set, ..Overrides::default() }
}

#[track_caller]
fn with(text: &str, overrides: &Overrides, variables: &[(&str, &str)]) -> Loaded {
    parse(Path::new("/etc/w/config.toml"), text.as_bytes(), None, overrides, env(variables)).unwrap()
}

fn port(loaded: &Loaded) -> u16 {
    loaded.config.stratum.listen.port()
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "[stratum]\nlisten = ':1'\n";
    let variables = [("WARPPOOL_STRATUM_LISTEN", ":2")];
    let none = Overrides::default();
    let default = with("", &none, &[]);
    assert_eq!((port(&default), default.origin("stratum.listen")), (3333, Place::Default));
    let from_file = with(file, &none, &[]);
    let place = Place::File { path: "/etc/w/config.toml".into(), line: 2, column: 10 };
    assert_eq!((port(&from_file), from_file.origin("stratum.listen")), (1, place));
    let from_env = with(file, &none, &variables);
    assert_eq!((port(&from_env), from_env.origin("stratum.listen")), (2, Place::Env("WARPPOOL_STRATUM_LISTEN".into())));
    let from_flag = with(file, &flags(&[("stratum.listen", ":3"), ("stratum.listen", ":4")]), &variables);
    assert_eq!((port(&from_flag), from_flag.origin("stratum.listen")), (4, Place::Flag("--set stratum.listen".into())));
}

#[test]
fn what_the_profile_decides_says_so_until_somebody_sets_it() {
    let open = with("", &Overrides::default(), &[]);
    assert_eq!(open.origin("ledger.commit_seconds"), Place::Profile);
    assert!(open.origins().any(|(key, place)| key == "stratum.max_connections" && place == Place::Profile));
    let set = with("ledger.commit_seconds = 5", &Overrides::default(), &[]);
    assert!(matches!(set.origin("ledger.commit_seconds"), Place::File { .. }));
    assert!(set.origins().filter(|(key, _)| *key == "ledger.commit_seconds").count() == 1);
    assert!(!set.origins().any(|(key, _)| key == "stratum.listen"), "defaults are not listed");
}

#[test]
fn every_kind_of_value_can_be_given_as_text() {
    let loaded = with(
        "",
        &flags(&[("profile.kind", "Klein"), ("node.rpc_url", "http://127.0.0.1:1")]),
        &[
            ("WARPPOOL_STRATUM_SAFE_MODE", "off"),
            ("WARPPOOL_STRATUM_MAX_CONNECTIONS", " 12 "),
            ("WARPPOOL_VARDIFF_MIN_DIFF", "1e-9"),
            ("WARPPOOL_VARDIFF_TARGET_SECONDS_PER_SHARE", "15"),
            ("WARPPOOL_MINING_POOL_TAG", "My Pool"),
            ("WARPPOOL_MINING_CHAIN", "main"),
            ("WARPPOOL_STRATUM_PROXY_PROTOCOL_FROM", "10.0.0.0/8, 192.168.1.2,"),
            ("WARPPOOL_SERVER_TRUSTED_PROXIES", ""),
            ("WARPPOOL_SERVER_DATA_DIR", "~/pool"),
            ("WARPPOOL_LEDGER_MAP_SIZE", "2 GiB"),
            ("HOME", "/home/x"),
        ],
    );
    let config = &loaded.config;
    assert_eq!((config.stratum.safe_mode, config.stratum.max_connections), (false, Some(12)));
    assert_eq!(config.vardiff.target_seconds_per_share, Some(15.0));
    assert!((config.vardiff.min_diff - 1e-9).abs() < f64::EPSILON);
    assert_eq!(config.mining.pool_tag, "My Pool");
    assert_eq!(config.stratum.proxy_protocol_from.len(), 2);
    assert!(config.server.trusted_proxies.is_empty());
    assert_eq!(config.server.data_dir, PathBuf::from("/home/x/pool"));
    assert_eq!(config.ledger.map_size.0, 2 << 30);
    assert_eq!(config.profile.kind, Some(ProfileKind::Small));
    assert_eq!(loaded.nodes[0].rpc_url, "http://127.0.0.1:1");
}

#[test]
fn a_bad_text_names_the_variable_or_the_flag_that_has_it() {
    let overrides =
        flags(&[("stratum.listen", "x"), ("stratum.lisen", ":1"), ("rpc_pass", "x"), ("server.pool_listen", ":1")]);
    let variables = [("WARPPOOL_STRATUM_SAFE_MODE", "maybe"), ("RUST_LOG", "a\u{7}")];
    let errors = parse(Path::new("c"), b"", None, &overrides, env(&variables)).unwrap_err();
    let lines: Vec<_> = errors.to_string().lines().map(str::to_owned).collect();
    let expected = [
        "environment WARPPOOL_STRATUM_SAFE_MODE: stratum.safe_mode: the text `maybe`",
        "environment RUST_LOG: logging.filter: ",
        "flag --set stratum.listen: stratum.listen: `x`",
        "flag --set stratum.lisen: stratum.lisen: there is no such key; did you mean stratum.listen?",
        "flag --set rpc_pass: rpc_pass: secrets are not taken from flags",
        "flag --set server.pool_listen: server.pool_listen: this key is now stratum.listen",
    ];
    assert_eq!(lines.len(), expected.len(), "{errors}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_right_name() {
    let variables = [
        ("WARPPOOL_STRATUM_LISTN", ":1"),
        ("WARPPOOL_ZMQ_HASHBLOCK_ADDR", "tcp://127.0.0.1:1"),
        ("WARPPOOL_COSIGN_BIN", "x"),
        ("WARPPOOL_XYZZY_PLUGH_FROBNICATE", "1"),
        ("WARPPOOL_CONFIG", "config.toml"),
        ("PATH", "/bin"),
    ];
    let loaded = with("stratum.allow_plain_names = false", &Overrides::default(), &variables);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "WARPPOOL_COSIGN_BIN: there is no such key any more",
        "WARPPOOL_STRATUM_LISTN: there is no such variable; did you mean WARPPOOL_STRATUM_LISTEN?",
        "WARPPOOL_XYZZY_PLUGH_FROBNICATE: there is no such variable; unset it",
        "WARPPOOL_ZMQ_HASHBLOCK_ADDR: this variable is now WARPPOOL_NODE_ZMQ_HASHBLOCK_ADDR",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.contains(expected), "{warning}\n{expected}");
    }
}

#[test]
fn rust_log_wins_over_every_other_filter() {
    let file = "logging.filter = 'info'";
    let both = [("WARPPOOL_LOGGING_FILTER", "warn"), ("RUST_LOG", "debug")];
    assert_eq!(with(file, &Overrides::default(), &both).config.logging.filter, "debug");
    assert_eq!(with(file, &Overrides::default(), &both[..1]).config.logging.filter, "warn");
    let empty = [("RUST_LOG", "")];
    assert_eq!(with(file, &Overrides::default(), &empty).config.logging.filter, "info");
}

#[test]
fn no_zmq_and_no_tls_switch_off_what_the_file_sets() {
    let file = "\
[[node]]
zmq_hashblock_addr = 'tcp://127.0.0.1:1'
[[node]]
zmq_hashblock_addr = 'tcp://127.0.0.1:2'
[stratum]
tls_listen = ':3334'
tls_cert_path = 'c'
tls_key_path = 'k'
";
    let on = with(file, &Overrides::default(), &[]);
    assert!(on.config.stratum.tls_listen.is_some() && on.nodes.iter().all(|node| node.zmq_hashblock_addr.is_some()));
    let off = with(file, &Overrides { no_zmq: true, no_tls: true, ..Overrides::default() }, &[]);
    assert!(off.config.stratum.tls_listen.is_none() && off.nodes.iter().all(|node| node.zmq_hashblock_addr.is_none()));
    assert_eq!(off.origin("stratum.tls_listen"), Place::Flag("--no-tls".into()));
    assert_eq!(off.origin("node.node2.zmq_hashblock_addr"), Place::Flag("--no-zmq".into()));
    assert!(!off.warnings.iter().any(|warning| warning.key.contains("tls")), "{:#?}", off.warnings);
}

#[test]
fn an_empty_text_unsets_an_optional_key() {
    let file =
        "[vardiff]\ninitial_diff = 5\n[node]\nzmq_hashblock_addr = 'tcp://127.0.0.1:1'\n[mining]\npayout_address = ''";
    let loaded = with(
        file,
        &Overrides::default(),
        &[("WARPPOOL_VARDIFF_INITIAL_DIFF", ""), ("WARPPOOL_NODE_ZMQ_HASHBLOCK_ADDR", "")],
    );
    assert_eq!(loaded.config.vardiff.initial_diff, None);
    assert_eq!(loaded.config.mining.payout_address, None);
    assert_eq!(loaded.nodes[0].zmq_hashblock_addr, None);
    assert_eq!(loaded.origin("vardiff.initial_diff"), Place::Env("WARPPOOL_VARDIFF_INITIAL_DIFF".into()));
}

#[test]
fn the_first_node_is_the_one_that_flags_and_variables_set() {
    let file = "[[node]]\nname = 'a'\n[[node]]\nname = 'b'\nrpc_url = 'http://127.0.0.1:2'";
    let loaded = with(file, &flags(&[("node.rpc_url", "http://127.0.0.1:1")]), &[]);
    let urls: Vec<_> = loaded.nodes.iter().map(|node| node.rpc_url.as_str()).collect();
    assert_eq!(urls, ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    assert!(matches!(loaded.origin("node.a.rpc_url"), Place::Flag(_)));
    assert!(matches!(loaded.origin("node.b.rpc_url"), Place::File { .. }));
}

#[test]
fn a_decimal_fee_is_exact_however_it_is_written() {
    for text in ["1.5", "'1.5'", "1.50", "1.5000"] {
        let file = format!("[mining]\npool_fee_percent = {text}\npool_fee_address = '{}'", crate::MAINNET);
        let loaded = with(&file, &Overrides::default(), &[]);
        assert_eq!(loaded.config.mining.pool_fee_percent.ppm(), 15_000, "{text}");
    }
    let file = format!("mining.pool_fee_address = '{}'", crate::MAINNET);
    let loaded = with(&file, &flags(&[("mining.pool_fee_percent", "0.29")]), &[]);
    assert_eq!(loaded.config.mining.pool_fee_percent, Percent::from_ppm(2900).unwrap());
}

#[test]
fn the_handbook_s_one_node_table_is_one_node() {
    let loaded = with("[node]\nrpc_cookie_path = 'cookie'", &Overrides::default(), &[]);
    assert_eq!(loaded.nodes.len(), 1);
    assert_eq!(loaded.nodes[0].auth, NodeAuth::Cookie("/etc/w/cookie".into()));
    assert!(matches!(loaded.origin("node.rpc_cookie_path"), Place::File { line: 2, .. }));
}

#[test]
fn both_forms_of_a_listener_are_understood() {
    let loaded = with("[stratum]\nlisten = 'localhost:3333'", &Overrides::default(), &[]);
    assert_eq!(loaded.config.stratum.listen, Listen::Host("localhost".into(), 3333));
    assert_eq!(with("", &Overrides::default(), &[]).config.stratum.listen, Listen::Any(3333));
}

#[test]
fn a_set_flag_is_split_at_its_first_equals_sign() {
    let mut overrides = Overrides::default();
    overrides.push_set("branding.status_brand_name=a=b").unwrap();
    assert_eq!(overrides.set, [("branding.status_brand_name".to_owned(), "a=b".to_owned())]);
    assert!(overrides.push_set("nothing").unwrap_err().remedy.contains("key=value"));
}
