//! Each fault names its place, its key, what is wrong and the remedy.

use std::path::Path;

use warppool_config::handbook::{Fate, HANDBOOK};
use warppool_config::{Overrides, Place, load, parse};

use crate::{MAINNET, TESTNET, env, faults, line, read};

/// The one fault of `text`: at `line`, for `key`, with these words in its text and its remedy.
#[track_caller]
fn case(text: &str, at: usize, key: &str, problem: &str, remedy: &str) {
    let faults = faults(text);
    assert_eq!(faults.len(), 1, "{text}\n{faults:#?}");
    let fault = &faults[0];
    assert_eq!((line(fault), fault.key.as_str()), (at, key), "{text}\n{fault}");
    assert!(fault.problem.contains(problem), "{fault}\nshould say {problem}");
    assert!(fault.remedy.contains(remedy), "{fault}\nshould advise {remedy}");
}

#[test]
fn a_value_that_does_not_fit_its_key_is_told_with_what_would() {
    case("[stratum]\nlisten = '3333'", 2, "stratum.listen", "`3333`", "\":port\"");
    case("[stratum]\n\nsafe_mode = 'yes'", 3, "stratum.safe_mode", "the text `yes`", "true or false");
    case("stratum.job_keepalive_seconds = 61", 1, "stratum.job_keepalive_seconds", "61", "from 1 to 60");
    case("stratum.job_keepalive_seconds = 1.5", 1, "stratum.job_keepalive_seconds", "the number 1.5", "whole number");
    case("stratum.max_connections = 99999999999999999999", 1, "stratum.max_connections", "whole number", "100000");
    case(
        "stratum.proxy_protocol_from = ['10.0.0.0/99']",
        1,
        "stratum.proxy_protocol_from",
        "10.0.0.0/99",
        "10.0.0.0/8",
    );
    case("stratum.proxy_protocol_from = [1]", 1, "stratum.proxy_protocol_from", "the number 1", "list");
    case("stratum.proxy_protocol_from = '10.0.0.1'", 1, "stratum.proxy_protocol_from", "the text", "brackets");
    case("stratum.tls_min_version = '1.1'", 1, "stratum.tls_min_version", "`1.1`", "\"1.2\", \"1.3\"");
    case("stratum.tls_min_version = 1.2", 1, "stratum.tls_min_version", "the number 1.2", "\"1.2\"");
    case("mining.chain = 'testnet3'", 1, "mining.chain", "`testnet3`", "\"testnet4\"");
    case("mining.pool_tag = 'twenty characters ..'", 1, "mining.pool_tag", "20 bytes", "at most 19");
    case("mining.pool_tag = 'Wärp'", 1, "mining.pool_tag", "'ä'", "ASCII");
    case("mining.pool_fee_percent = 1e-1", 1, "mining.pool_fee_percent", "plain decimal", "1.5");
    case("mining.pool_fee_percent = 0.00001", 1, "mining.pool_fee_percent", "four decimals", "1.5");
    case("mining.pool_fee_percent = -1", 1, "mining.pool_fee_percent", "`-1`", "0 to 100");
    case("vardiff.min_diff = 0", 1, "vardiff.min_diff", "`0`", "above 0");
    case("vardiff.min_diff = nan", 1, "vardiff.min_diff", "nan", "above 0");
    case("vardiff.max_diff = inf", 1, "vardiff.max_diff", "inf", "above 0");
    case("vardiff.hysteresis = nan", 1, "vardiff.hysteresis", "nan", "0 to 1");
    case("ledger.map_size = '1MiB'", 1, "ledger.map_size", "1MiB", "16MiB");
    case("ledger.map_size = '1GB'", 1, "ledger.map_size", "`1GB`", "16MiB to 1TiB");
    case("branding.fiat_currency = 'eur'", 1, "branding.fiat_currency", "`eur`", "\"EUR\"");
    case("branding.status_brand_name = \"a\\u0007\"", 1, "branding.status_brand_name", "control character", "one line");
    case("branding.status_brand_name = 2024-01-01", 1, "branding.status_brand_name", "date", "quotes");
    case("node.rpc_url = 'https://127.0.0.1:8332'", 1, "node.rpc_url", "not such a URL", "http://");
    case("node.rpc_url = 'http://127.0.0.1'", 1, "node.rpc_url", "no port", ":8332");
    case("node.zmq_hashblock_addr = 'ipc:///tmp/x'", 1, "node.zmq_hashblock_addr", "not such a URL", "zmqpubhashblock");
    case("server.data_dir = ''", 1, "server.data_dir", "empty", "path");
    case("profile.kind = 'tiny'", 1, "profile.kind", "`tiny`", "\"enterprise\"");
    case("stratum = 3333", 1, "stratum", "a table", "[stratum]");
    case("[[stratum]]", 1, "stratum", "a table", "[stratum]");
    case("node = [1]", 1, "node", "no table", "[[node]]");
    case("[stratum.listen]", 1, "stratum.listen", "a table", "host:port");
}

#[test]
fn an_unknown_key_brings_the_one_that_was_meant() {
    case("[stratum]\nlisten_ = ':1'", 2, "stratum.listen_", "no such key", "did you mean stratum.listen?");
    case("[stratum]\nsaef_mode = true", 2, "stratum.saef_mode", "no such key", "did you mean stratum.safe_mode?");
    case("[startum]\nsafe_mode = true", 1, "startum", "no such key", "did you mean stratum?");
    case("[mining]\nmin_diff = 1", 2, "mining.min_diff", "no such key", "did you mean vardiff.min_diff?");
    case("payout_address = 'x'", 1, "payout_address", "no such key", "did you mean mining.payout_address?");
    case("[stratum]\nxyzzy = 1", 2, "stratum.xyzzy", "no such key", "docs/configuration.md");
    case("[mining]\nfoo.bar.baz = 1", 2, "mining.foo", "no such key", "");
    let long = "x".repeat(100_000);
    let fault = &faults(&format!("[stratum]\n{long} = 1"))[0];
    assert!(fault.key.len() < 200, "a message stays short");
}

#[test]
fn every_old_key_is_refused_with_its_new_name_or_the_reason_why_it_is_gone() {
    for old in HANDBOOK {
        let Some((table, key)) = old.name.rsplit_once('.').filter(|(table, _)| *table != "secrets") else { continue };
        let text = format!("[{table}]\n{key} = 1");
        match old.fate {
            Fate::Ours(new) if new == old.name => {}
            Fate::Ours(new) => {
                let fault = &faults(&text)[0];
                assert!(fault.problem.contains(new) && fault.remedy.contains(new), "{fault}");
                assert_eq!((fault.key.as_str(), line(fault)), (old.name, 2));
            }
            Fate::Dropped(because) => assert!(faults(&text)[0].problem.contains(because)),
            Fate::Later(part) => {
                assert!(faults(&text)[0].problem.contains(part));
                assert!(old.name.starts_with(&faults(&text)[0].key));
            }
            Fate::Program(_) => panic!("{} is no flag", old.name),
        }
    }
    case("[server]\npool_listen = ':3333'", 2, "server.pool_listen", "now stratum.listen", "stratum.listen");
    case("[server]\ntrust_proxy_headers = true", 2, "server.trust_proxy_headers", "trusted_proxies", "[\"127.0.0.1\"]");
    case("[notifier.ntfy]\ntopic_url = 'x'", 1, "notifier", "notifications", "remove");
}

#[test]
fn all_faults_of_a_file_are_told_at_once_in_its_order() {
    let text = "\
[mining]
payout = 'operator'
pool_fee_percent = 60
operator_donation_percent = 40
pool_tag = 'much too long a tag for a block'

[stratum]
listen = 'nowhere'
port = 3333

[vardiff]
min_diff = 10.0
max_diff = 1.0
";
    let found: Vec<_> = faults(text).iter().map(|fault| (line(fault), fault.key.clone())).collect();
    let expected = [
        (2, "mining.payout"),
        (3, "mining.pool_fee_percent"),
        (4, "mining.operator_donation_percent"),
        (4, "mining.operator_donation_percent"),
        (5, "mining.pool_tag"),
        (8, "stratum.listen"),
        (9, "stratum.port"),
        (13, "vardiff.max_diff"),
    ];
    assert_eq!(found, expected.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn an_error_reads_as_one_line_with_file_line_key_fault_and_remedy() {
    let errors = read("[stratum]\n  listen = '3333'\n").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "/etc/w/config.toml:2:12: stratum.listen: `3333` is not an address to listen on (host:port, or :port for every \
         address); write \"host:port\", or \":port\" for every address of the machine"
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line_and_nothing_is_guessed_from_it() {
    let found = faults("[stratum]\nlisten = :3333\n\n[vardiff\nmin_diff = 0\n");
    assert!(found.iter().all(|fault| fault.problem.starts_with("this is not TOML")), "{found:#?}");
    let lines: Vec<_> = found.iter().map(line).collect();
    assert!(lines.contains(&2) && lines.contains(&4), "{lines:?}");
    case("[stratum]\nlisten = ':1'\nlisten = ':2'", 3, "", "duplicate key", "key = value");
    let bytes = b"[stratum]\n# \xff\n";
    let faults = parse(Path::new("c"), bytes, None, &Overrides::default(), env(&[])).unwrap_err().0;
    assert_eq!((faults.len(), line(&faults[0])), (1, 2));
    assert!(faults[0].problem.contains("UTF-8"));
}

#[test]
fn an_address_must_be_whole_and_of_the_chain() {
    let address = |chain: &str, address: &str| format!("[mining]\nchain = '{chain}'\npayout_address = '{address}'");
    let key = "mining.payout_address";
    case(&address("mainnet", TESTNET), 3, key, "another chain than mining.chain, which is mainnet", "mainnet");
    case(&address("regtest", TESTNET), 3, key, "another chain", "regtest");
    case(&address("signet", MAINNET), 3, key, "another chain", "signet");
    let mistyped = MAINNET.replace("w508", "w509");
    case(&address("mainnet", &mistyped), 3, key, "mistyped", "wallet");
    case(&address("mainnet", &MAINNET[..30]), 3, key, "not a Bitcoin address", "wallet");
    case(&address("mainnet", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3"), 3, key, "mistyped", "wallet");
    case(&address("mainnet", "rig 1"), 3, key, "not a Bitcoin address", "quotes");
    for (chain, good) in [
        ("mainnet", MAINNET),
        ("mainnet", &MAINNET.to_uppercase()),
        ("mainnet", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
        ("mainnet", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"),
        ("mainnet", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"),
        ("testnet4", TESTNET),
        ("signet", TESTNET),
        ("regtest", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"),
        ("regtest", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"),
    ] {
        assert!(read(&address(chain, good)).is_ok(), "{chain} {good}");
    }
}

#[test]
fn an_unreadable_chain_does_not_make_every_address_wrong() {
    let text = format!("[mining]\nchain = 'tesnet4'\npayout_address = '{TESTNET}'");
    case(&text, 2, "mining.chain", "`tesnet4`", "testnet4");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let fee = format!("[mining]\npool_fee_address = '{MAINNET}'\npool_fee_percent = 99.0001");
    case(&fee, 3, "mining.pool_fee_percent", "99.0001 %", "at least 1 %");
    case("mining.pool_fee_percent = 1", 1, "mining.pool_fee_percent", "nobody", "mining.pool_fee_address");
    case("mining.payout = 'operator'", 1, "mining.payout", "needs an address", "mining.payout_address");
    case("stratum.listen = ':18334'", 1, "stratum.listen", "server.http_listen = 127.0.0.1:18334", "port of its own");
    case("server.http_listen = ':18334'", 1, "server.http_listen", "from outside", "127.0.0.1:18334");
    case("vardiff.min_diff = 1e13", 1, "vardiff.min_diff", "above max_diff", "smaller");
    case("vardiff.max_diff = 1e-9", 1, "vardiff.max_diff", "above max_diff", "smaller");
    case("vardiff.initial_diff = 1e13", 1, "vardiff.initial_diff", "not between", "widen");
    case("retention.raw_hours = 168\nretention.five_minute_days = 6", 2, "retention.five_minute_days", "168 h", "sums");
    case(
        "retention.five_minute_days = 91",
        1,
        "retention.five_minute_days",
        "longer than retention.hour_days",
        "as long",
    );
    case("tuning.max_saved_workers_pool_total = 10", 1, "tuning.max_saved_workers_pool_total", "64 workers", "smaller");
}

#[test]
fn tls_needs_both_of_its_files() {
    case("stratum = { tls_listen = ':3334', tls_cert_path = 'c' }", 1, "stratum.tls_listen", "tls_key_path", "remove");
    case("stratum = { tls_listen = ':3334', tls_key_path = 'k' }", 1, "stratum.tls_listen", "tls_cert_path", "remove");
    assert_eq!(faults("stratum.tls_listen = ':3334'").len(), 2);
    let loaded = read("stratum = { tls_listen = ':3334', tls_cert_path = 'c', tls_key_path = '/k' }").unwrap();
    assert_eq!(loaded.config.stratum.tls_cert_path.as_deref(), Some(Path::new("/etc/w/c")));
    assert_eq!(loaded.config.stratum.tls_key_path.as_deref(), Some(Path::new("/k")));
}

#[test]
fn nodes_have_names_of_their_own_and_credentials() {
    let two = "[[node]]\nname = 'a'\n\n[[node]]\nname = 'a'\n";
    case(two, 5, "node.name", "called `a`", "own");
    case("node.name = 'two words'", 1, "node.name", "`two words`", "letters");
    case("[node]\nrpc_url = 'http://10.0.0.1:8332'", 2, "node.rpc_url", "no credentials", "secrets.toml");
    case("node = { rpc_user = 'x' }", 1, "node.rpc_user", "secret", "secrets.toml");
    let many = "[[node]]\nname = 'x'\n".repeat(17);
    assert!(faults(&many).iter().any(|fault| fault.problem.contains("more than 16")));
}

#[test]
fn a_password_in_a_node_s_url_is_for_regtest_alone_and_never_shown() {
    let text = "node.rpc_url = 'http://u:hunter2@127.0.0.1:8332'";
    case(text, 1, "node.rpc_url", "http://127.0.0.1:8332", "secrets.toml");
    for text in [text, "node.rpc_url = 'ftp://u:hunter2@h:1'", "node.rpc_url = 'http://u:hunter2@h'"] {
        assert!(!read(text).unwrap_err().to_string().contains("hunter2"), "{text}");
    }
    assert!(read(&format!("mining.chain = 'regtest'\n{text}")).is_ok());
}

#[test]
fn thousands_of_faults_end_in_one_line_that_says_so() {
    let text = format!("[stratum]\n{}", (0..5000).map(|i| format!("x{i} = 1")).collect::<Vec<_>>().join("\n"));
    let found = faults(&text);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].problem, "more faults follow");
}

#[test]
fn what_is_allowed_but_hardly_meant_is_a_warning() {
    #[track_caller]
    fn case(text: &str, key: &str, words: &str) {
        let warnings = read(text).unwrap().warnings;
        let found = warnings.iter().any(|warning| warning.key == key && warning.problem.contains(words));
        assert!(found, "{text}\n{warnings:#?}");
    }
    case("", "stratum.allow_plain_names", "mining.payout_address");
    case("stratum.tls_cert_path = 'x'", "stratum.tls_cert_path", "not used");
    case(&format!("mining.pool_fee_address = '{MAINNET}'"), "mining.pool_fee_address", "0");
    case("profile = { kind = 'small', expected_miner_count = 500 }", "profile.expected_miner_count", "500 miners");
    case(
        "profile.kind = 'small'\nstratum.max_connections_per_address = 65",
        "stratum.max_connections_per_address",
        "64",
    );
    let quiet = format!("mining.payout_address = '{MAINNET}'");
    assert_eq!(read(&quiet).unwrap().warnings, []);
    assert_eq!(read("stratum.allow_plain_names = false").unwrap().warnings, []);
}

#[test]
fn a_fault_in_the_secrets_does_not_hide_those_of_the_configuration() {
    let secrets = Some((Path::new("secrets.toml"), b"rpc_user = 'u".as_slice()));
    let config = b"node.rpc_url = 'http://10.0.0.1:1'\nstratum.listen = 'x'";
    let found =
        parse(Path::new("config.toml"), config, secrets, &Overrides::default(), env(&[])).unwrap_err().to_string();
    assert!(found.contains("config.toml:2:18: stratum.listen") && found.contains("secrets.toml:1:"), "{found}");
    assert!(!found.contains("no credentials"), "unreadable credentials are not missing ones: {found}");
}

#[test]
fn a_missing_file_is_told_with_the_flag_that_names_another() {
    let errors = load(Path::new("/nonexistent/config.toml"), &Overrides::default(), env(&[])).unwrap_err();
    assert_eq!(errors.0.len(), 1);
    assert!(errors.to_string().contains("/nonexistent/config.toml") && errors.to_string().contains("--config"));
    assert!(matches!(errors.0[0].place, Place::File { line: 0, .. }));
}
