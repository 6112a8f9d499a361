//! Nothing that can stand in a file, a variable or a flag panics; what is read means the same when it is written and read again.

use std::path::Path;

use proptest::prelude::*;
use warppool_config::{Hardware, Overrides, diff, parse, resolve, schema};

use crate::env;

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|v| v.to_string()),
        any::<f64>().prop_map(|v| format!("{v:?}")),
        any::<bool>().prop_map(|v| v.to_string()),
        "[ -~]{0,40}".prop_map(|v| format!("'{}'", v.replace('\'', ""))),
        "\\PC{0,40}",
        prop_oneof![
            Just("'http://[::1]:1'"),
            Just("'http://@:1'"),
            Just("'a@b://c'"),
            Just("[[['x']]]"),
            Just("{a = {}}")
        ]
        .prop_map(str::to_owned),
        any::<std::net::SocketAddr>().prop_map(|v| format!("'{v}'")),
        schema_example(),
    ]
}

fn schema_example() -> impl Strategy<Value = String> {
    (0..schema().len()).prop_map(|i| schema()[i].default_text().unwrap_or_else(|| schema()[i].example.to_owned()))
}

/// Lines that look like a configuration.
fn text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        8 => ((0..schema().len()), value()).prop_map(|(i, value)| format!("{} = {value}", schema()[i].path)),
        1 => "\\[{0,3}[a-z.]{0,12}\\]{0,3}",
        1 => "\\PC{0,30}",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

fn read(config: &[u8], secrets: &[u8], overrides: &Overrides, variables: &[(&str, &str)]) {
    let read = || parse(Path::new("c/config.toml"), config, Some((Path::new("s"), secrets)), overrides, env(variables));
    match read() {
        Ok(loaded) => {
            assert!(resolve(&loaded.config, &Hardware::default()).max_connections > 0);
            assert!(diff(&loaded, &read().unwrap()).is_empty());
            assert_eq!(loaded.nodes.len(), loaded.config.node.len());
            if loaded.config.stratum.stratum_password.is_none() {
                let written = toml::to_string(&loaded.config).unwrap();
                assert_eq!(toml::from_str::<warppool_config::Config>(&written).unwrap(), loaded.config);
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert!(errors.0.iter().all(|error| !error.problem.is_empty() && !error.remedy.is_empty()), "{errors:?}");
            assert_eq!(errors.to_string().lines().count(), errors.0.len(), "a finding is a line: {errors}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(config in prop::collection::vec(any::<u8>(), 0..300), secrets in prop::collection::vec(any::<u8>(), 0..100)) {
        read(&config, &secrets, &Overrides::default(), &[]);
    }

    #[test]
    fn arbitrary_text_never_panics(config in "\\PC{0,200}", secrets in "\\PC{0,100}") {
        read(config.as_bytes(), secrets.as_bytes(), &Overrides::default(), &[]);
    }

    #[test]
    fn what_looks_like_a_configuration_is_read_or_refused(config in text()) {
        read(config.as_bytes(), b"", &Overrides::default(), &[]);
    }

    #[test]
    fn arbitrary_variables_and_flags_are_read_or_refused(i in 0..schema().len(), j in 0..schema().len(), a in "\\PC{0,40}", b in "\\PC{0,40}") {
        let overrides = Overrides { set: vec![(schema()[i].path.to_owned(), a.clone()), (b.clone(), a)], ..Overrides::default() };
        read(b"", b"", &overrides, &[(&schema()[j].env_name(), &b)]);
    }
}

#[test]
fn deep_nesting_and_long_lists_are_refused_in_no_time() {
    let deep = format!("stratum.listen = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    read(deep.as_bytes(), b"", &Overrides::default(), &[]);
    let nodes = format!("node = [{}]", "{},".repeat(100_000));
    read(nodes.as_bytes(), b"", &Overrides::default(), &[]);
    let keys = (0..50_000).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join("\n");
    read(keys.as_bytes(), keys.as_bytes(), &Overrides::default(), &[]);
    let secrets = (0..20_000).map(|i| format!("node.n{i}.rpc_user='u'")).collect::<Vec<_>>().join("\n");
    read(b"", secrets.as_bytes(), &Overrides::default(), &[]);
}
