//! The default file, the reference and the checked-in configurations.

use warppool_config::{Config, Hardware, NodeAuth, Overrides, default_toml, load, reference_markdown, resolve, schema};
use warppool_config::{handbook::HANDBOOK, schema_of_secrets};

use crate::{MAINNET, env, read, repository};

#[test]
fn the_default_file_means_the_same_as_an_empty_one() {
    let (default, empty) = (read(&default_toml()).unwrap(), read("").unwrap());
    assert_eq!(default.config, empty.config);
    assert_eq!(default.config.stratum, Config::default().stratum);
}

#[test]
fn the_default_file_with_every_line_switched_on_is_a_valid_one() {
    let keys = schema().iter().map(|key| format!("#{} = ", key.name()));
    let keys: Vec<_> = keys.collect();
    let mut switched_on = 0;
    let text: Vec<_> = default_toml()
        .lines()
        .map(|line| {
            let is_key = keys.iter().any(|key| line.starts_with(key));
            switched_on += usize::from(is_key);
            line.strip_prefix('#').filter(|_| is_key).unwrap_or(line).to_owned()
        })
        .collect();
    assert_eq!(switched_on, schema().len());
    let text = text.join("\n");
    let refused = read(&text).unwrap_err().0;
    assert!(refused.iter().all(|fault| fault.key.ends_with("_address")), "{refused:?}");
    let loaded = read(&text.replace("bc1qyouraddress", MAINNET)).unwrap();
    assert_eq!(
        loaded.config.vardiff,
        Config {
            vardiff: warppool_config::VardiffConfig {
                target_seconds_per_share: Some(30.0),
                initial_diff: Some(1.0),
                ..Config::default().vardiff
            },
            ..Config::default()
        }
        .vardiff
    );
}

#[test]
fn lines_of_the_default_file_fit_a_terminal() {
    for line in default_toml().lines() {
        assert!(line.len() <= 140, "{line}");
    }
}

#[test]
fn the_reference_shows_every_key_with_its_variable_and_meaning_and_every_old_name() {
    let reference = reference_markdown();
    for key in schema().iter().chain(schema_of_secrets()) {
        let row =
            reference.lines().find(|line| line.starts_with("| ") && line.contains(&format!("`{}`", key.env_name())));
        let row = row.unwrap_or_else(|| panic!("{} is missing", key.path));
        assert!(row.starts_with(&format!("| `{}` |", key.name())) && row.contains(key.help), "{row}");
        assert_eq!(row.matches('|').count(), 7, "{row}");
    }
    let same = |name: &str| schema().iter().any(|key| key.path == name) || name.starts_with("--");
    for old in HANDBOOK.iter().filter(|old| !same(old.name)) {
        assert!(reference.contains(&format!("`{}`", old.name)), "{}", old.name);
    }
}

#[test]
fn a_config_can_be_read_by_serde_alone_and_refuses_what_it_does_not_know() {
    let one: Config = toml::from_str("[node]\nname = 'a'").unwrap();
    let two: Config = toml::from_str("[[node]]\nname = 'a'\n[[node]]\nname = 'b'").unwrap();
    assert_eq!((one.node.len(), two.node.len()), (1, 2));
    assert!(toml::from_str::<Config>("[stratum]\nlisen = ':1'").is_err());
    let written = toml::to_string(&Config::default()).unwrap();
    assert_eq!(toml::from_str::<Config>(&written).unwrap(), Config::default());
}

#[test]
fn the_configuration_of_measurements_lets_one_address_open_thousands_of_connections() {
    let path = repository().join("tests/bench.toml");
    let loaded = load(&path, &Overrides::default(), env(&[])).unwrap_or_else(|errors| panic!("{errors}"));
    let limits = resolve(&loaded.config, &Hardware::default());
    assert!(limits.max_connections >= 12_000 && limits.max_connections_per_address >= 12_000);
    let config = &loaded.config;
    assert!(!config.ratelimit.enabled && !config.ratelimit.bans && !config.vardiff.enabled);
    assert!(config.vardiff.initial_diff.unwrap() < 1e-9);
    assert_eq!((config.sim.transactions, config.sim.unreachable_target), (4000, true));
    assert_eq!(loaded.nodes[0].rpc_url, "http://127.0.0.1:18443");
    assert!(matches!(&loaded.nodes[0].auth, NodeAuth::Password(credentials) if credentials.user == "sim"));
}
