//! The list of all keys: what each holds, its default, whether it can change while the pool runs, and a sentence of help.
//!
//! Reading, environment names, reload, the reference and the default file are all derived from it. The tests hold it against
//! the types of [`Config`](crate::Config), so neither can have a key that the other lacks.

mod table;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use toml::Value;

pub(crate) use self::table::{SECRETS, TABLES};
use crate::kind::Kind;
use crate::model::Config;

/// One key of `config.toml`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Key {
    /// Table and name, as in `stratum.listen`. Those of `node` stand in each `[[node]]`.
    pub path: &'static str,
    pub kind: Kind,
    /// Who decides when nobody sets it; `None` where there is a plain default.
    pub unset: Option<Unset>,
    pub reload: Reload,
    /// A value in TOML that makes sense, for keys without a default.
    pub example: &'static str,
    pub help: &'static str,
}

/// What an optional key means when it is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unset {
    /// There is none: the feature is off.
    Off,
    Profile,
    Chain,
    /// By the class of the miner's device.
    Device,
    Hardware,
}

impl Unset {
    /// In the words of the reference.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Off => "not set",
            Self::Profile => "by profile",
            Self::Chain => "by chain",
            Self::Device => "by device class",
            Self::Hardware => "by hardware",
        }
    }
}

/// When a changed key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// At SIGHUP.
    Live,
    /// At the next start.
    Restart,
}

impl Key {
    /// The table part of `path`; empty for a key of `secrets.toml` that stands in no table.
    pub fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// The last part of `path`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The environment variable that sets it: `WARPPOOL_STRATUM_LISTEN` for `stratum.listen`.
    pub fn env_name(&self) -> String {
        format!("WARPPOOL_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// The default as it would stand in a file; `None` where the key is optional.
    pub fn default_text(&self) -> Option<String> {
        let text = defaults().get(self.path)?.to_string();
        // A percentage is kept as text, to be exact, and written as a number.
        Some(if self.kind == Kind::Percent { text.trim_matches('"').to_owned() } else { text })
    }
}

/// All keys of `config.toml`, table by table.
pub fn schema() -> &'static [Key] {
    table::KEYS
}

/// All keys of `secrets.toml`; each may also stand in `[node.NAME]`, for that node alone.
pub fn schema_of_secrets() -> &'static [Key] {
    SECRETS
}

pub(crate) fn find(path: &str) -> Option<&'static Key> {
    schema().iter().find(|key| key.path == path)
}

/// The defaults by key, without the optional keys.
fn defaults() -> &'static BTreeMap<String, Value> {
    static DEFAULTS: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    DEFAULTS.get_or_init(|| flatten(&Config::default(), |_, key| format!("node.{key}")))
}

/// A configuration as key and value, without what is not set. `node_key` names a node's key, given the node.
pub(crate) fn flatten(config: &Config, node_key: impl Fn(&str, &str) -> String) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    let tables = toml::Table::try_from(config).expect("every type of Config has a form in TOML");
    for (table, content) in tables {
        match content {
            Value::Table(keys) => {
                flat.extend(keys.into_iter().map(|(key, value)| (format!("{table}.{key}"), value)));
            }
            Value::Array(nodes) => {
                for (node, given) in nodes.into_iter().zip(&config.node) {
                    let Value::Table(keys) = node else { continue };
                    flat.extend(keys.into_iter().map(|(key, value)| (node_key(&given.name, &key), value)));
                }
            }
            _ => {}
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every key of the types, also those that are not set.
    fn keys_of_the_types() -> BTreeSet<String> {
        let json = serde_json::to_value(Config::default()).unwrap();
        let mut keys = BTreeSet::new();
        for (table, content) in json.as_object().unwrap() {
            let content = content.as_array().map_or(content, |nodes| &nodes[0]);
            keys.extend(content.as_object().unwrap().keys().map(|key| format!("{table}.{key}")));
        }
        keys
    }

    #[test]
    fn the_schema_and_the_types_have_the_same_keys() {
        let schema: BTreeSet<_> = schema().iter().map(|key| key.path.to_owned()).collect();
        assert_eq!(schema, keys_of_the_types());
    }

    #[test]
    fn a_key_has_either_a_default_or_a_meaning_when_it_is_not_set() {
        for key in schema() {
            assert_eq!(key.default_text().is_none(), key.unset.is_some(), "{}", key.path);
        }
    }

    #[test]
    fn every_table_is_described_and_its_keys_stand_together() {
        let mut order: Vec<_> = schema().iter().map(Key::table).collect();
        order.dedup();
        assert_eq!(order, TABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn no_two_keys_share_an_environment_name() {
        let names: BTreeSet<_> = schema().iter().chain(SECRETS).map(Key::env_name).collect();
        assert_eq!(names.len(), schema().len() + SECRETS.len());
        assert!(names.contains("WARPPOOL_STRATUM_LISTEN"));
    }

    #[test]
    fn every_default_and_every_example_is_a_value_its_own_key_accepts() {
        for key in schema().iter().chain(SECRETS) {
            let text = key.default_text().unwrap_or_else(|| key.example.to_owned());
            let document = format!("x = {text}");
            let table = toml::de::DeTable::parse(&document).unwrap();
            let value = table.get_ref().get("x").unwrap().get_ref();
            assert!(key.kind.read(value).is_ok(), "{} = {text}", key.path);
        }
    }

    #[test]
    fn help_is_one_or_more_whole_sentences() {
        for key in schema().iter().chain(SECRETS) {
            let first = key.help.chars().next().unwrap();
            assert!(!first.is_lowercase() && key.help.ends_with('.'), "{}: {}", key.path, key.help);
            assert!(!key.help.contains('|') && !key.help.contains('\n'), "{} breaks the reference's table", key.path);
        }
    }
}
