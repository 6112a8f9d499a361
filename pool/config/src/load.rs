//! From files, environment and flags to a checked configuration: flag, then environment, then file, then profile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;

use crate::access::{Home, NodeAccess, NodeAuth};
use crate::check::Check;
use crate::document::{self, Document, Entry, SecretEntry};
use crate::files;
use crate::finding::{ConfigErrors, Finding, Place};
use crate::handbook::{self, Fate};
use crate::model::Config;
use crate::schema::{self, Key, SECRETS, Unset};
use crate::secrets::{Credentials, Secrets};
use crate::value::Secret;

/// What the command line sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Keys and values, from `--set key=value`; the last one of a key wins.
    pub set: Vec<(String, String)>,
    /// `--no-zmq`: long polling alone.
    pub no_zmq: bool,
    /// `--no-tls`: no listener for Stratum over TLS.
    pub no_tls: bool,
    /// `--secrets FILE`; else `WARPPOOL_SECRETS`, else `secrets.toml` beside the configuration.
    pub secrets: Option<PathBuf>,
}

impl Overrides {
    /// Adds what stands behind `--set`: `key=value`.
    pub fn push_set(&mut self, text: &str) -> Result<(), Finding> {
        let place = Place::Flag(format!("--set {}", crate::kind::shown(text)));
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Finding::new(place, "", "there is no `=` in it", "write --set key=value, as in --set stratum.listen=:3333")
        })?;
        self.set.push((key.trim().to_owned(), value.to_owned()));
        Ok(())
    }
}

/// A configuration that was read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub secrets: Secrets,
    /// The nodes as they are to be reached, in the order of preference.
    pub nodes: Vec<NodeAccess>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Finding>,
    /// The file it was read from.
    pub path: PathBuf,
    places: BTreeMap<String, Place>,
}

impl Loaded {
    /// Where the value of a key comes from. Keys of several nodes are `node.NAME.key`, those of a single one `node.key`.
    pub fn origin(&self, key: &str) -> Place {
        if let Some(place) = self.places.get(key) {
            return place.clone();
        }
        match schema::find(key).and_then(|key| key.unset) {
            Some(Unset::Profile) => Place::Profile,
            _ => Place::Default,
        }
    }

    /// Every key that somebody set or the profile decides, with where its value comes from.
    pub fn origins(&self) -> impl Iterator<Item = (&str, Place)> {
        let by_profile = schema::schema().iter().filter(|key| key.unset == Some(Unset::Profile)).map(|key| key.path);
        let by_profile = by_profile.filter(|key| !self.places.contains_key(*key)).map(|key| (key, Place::Profile));
        self.places.iter().map(|(key, place)| (key.as_str(), place.clone())).chain(by_profile)
    }
}

/// This process's environment, for [`load`]. Other than `std::env::vars` it does not panic where a text is not Unicode.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// The name of a node's key in reports.
pub(crate) fn node_key(config: &Config, node: &str, key: &str) -> String {
    if config.node.len() == 1 { format!("node.{key}") } else { format!("node.{node}.{key}") }
}

/// Reads `config.toml` at `path` and the secrets that go with it.
///
/// Nothing but the file system and `env` is looked at, and nothing is written. All faults are reported at once.
pub fn load(
    path: &Path,
    overrides: &Overrides,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigErrors> {
    let env: Vec<_> = env.collect();
    let secrets_from_env = env.iter().find(|(name, value)| name == "WARPPOOL_SECRETS" && !value.is_empty());
    let named = overrides.secrets.clone().or_else(|| secrets_from_env.map(|(_, value)| PathBuf::from(value)));
    let secrets_path = named.clone().unwrap_or_else(|| path.with_file_name("secrets.toml"));
    let secrets = files::read_secrets(&secrets_path, named.is_some());
    let (secrets, fault) = match &secrets {
        Ok(Some(content)) => (document::read_secrets(&secrets_path, content), None),
        Ok(None) => (Document::default(), None),
        Err(fault) => (Document { broken: true, ..Document::default() }, Some(fault.clone())),
    };
    let loaded = match files::read(path) {
        Ok(content) => assemble(path, document::read_config(path, &content), secrets, overrides, env.into_iter()),
        Err(fault) => Err(ConfigErrors(std::iter::once(fault).chain(secrets.errors).collect())),
    };
    match (loaded, fault) {
        (Ok(mut loaded), None) => {
            // Whoever gets these paths may change the working directory; without one they stay as they are.
            each_path(&mut loaded.config, |path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
            for (node, config) in loaded.nodes.iter_mut().zip(&loaded.config.node) {
                if let (NodeAuth::Cookie(path), Some(absolute)) = (&mut node.auth, &config.rpc_cookie_path) {
                    path.clone_from(absolute);
                }
            }
            Ok(loaded)
        }
        (Ok(_), Some(fault)) => Err(ConfigErrors(vec![fault])),
        (Err(ConfigErrors(faults)), fault) => Err(ConfigErrors(faults.into_iter().chain(fault).collect())),
    }
}

/// [`load`] with the files' contents given. `path` serves for messages and as the base of relative paths.
pub fn parse(
    path: &Path,
    content: &[u8],
    secrets: Option<(&Path, &[u8])>,
    overrides: &Overrides,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigErrors> {
    let secrets = secrets.map(|(path, content)| document::read_secrets(path, content)).unwrap_or_default();
    assemble(path, document::read_config(path, content), secrets, overrides, env)
}

fn assemble(
    path: &Path,
    document: Document,
    secrets: Document,
    overrides: &Overrides,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigErrors> {
    let Document { mut entries, nodes, mut errors, mut failed, broken, .. } = document;
    let mut secret_entries = secrets.secrets;
    errors.extend(secrets.errors);
    failed.extend(secrets.failed);
    if secrets.broken {
        failed.extend(SECRETS.iter().map(|key| key.path));
    }
    let mut warnings = Vec::new();
    let home = read_env(env, &mut entries, &mut secret_entries, &mut errors, &mut warnings);
    read_flags(overrides, nodes.len().max(1), &mut entries, &mut errors);

    let merged = Merged::new(entries, nodes.len().max(1));
    let secret_places: BTreeMap<_, _> =
        secret_entries.iter().filter_map(|e| Some((format!("node.{}", e.node.as_ref()?), e.place.clone()))).collect();
    let secrets = collect_secrets(secret_entries, &failed, &mut errors);
    let mut config = match merged.config() {
        Ok(config) => config,
        Err(err) => {
            let place = Place::File { path: path.to_owned(), line: 0, column: 0 };
            errors.push(Finding::new(place, "", err.message().trim().to_owned(), "correct it"));
            return Err(ConfigErrors(errors));
        }
    };
    each_path(&mut config, |given| home.absolute(path.parent().unwrap_or(Path::new("")), given));

    let place = |key: &str, node: usize| {
        let of_key = merged.places.get(&(key.to_owned(), node)).or_else(|| secret_places.get(key));
        of_key
            .cloned()
            .or_else(|| nodes.get(node).filter(|_| key.starts_with("node.")).cloned())
            .unwrap_or(Place::Default)
    };
    let mut check =
        Check { config: &config, secrets: &secrets, home: &home, failed: &failed, place: &place, errors, warnings };
    // After a syntax error nothing is known about what the file wants.
    let access = if broken { Vec::new() } else { check.run() };
    let Check { mut errors, mut warnings, .. } = check;
    sort_by_place(&mut errors);
    sort_by_place(&mut warnings);
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let places = merged.places.into_iter().map(|((key, node), place)| match key.strip_prefix("node.") {
        Some(name) => (node_key(&config, &config.node[node].name, name), place),
        None => (key, place),
    });
    let places = places.collect();
    Ok(Loaded { config, secrets, nodes: access, warnings, path: path.to_owned(), places })
}

/// The settings after the order of precedence was applied.
struct Merged {
    values: BTreeMap<(String, usize), Value>,
    places: BTreeMap<(String, usize), Place>,
    nodes: usize,
}

impl Merged {
    /// Later entries win: the file's come first, then the environment's, then the flags'.
    fn new(entries: Vec<Entry>, nodes: usize) -> Self {
        let mut merged = Self { values: BTreeMap::new(), places: BTreeMap::new(), nodes };
        for Entry { key, node, value, place } in entries {
            let id = (key.path.to_owned(), node.unwrap_or(0));
            merged.places.insert(id.clone(), place);
            match value {
                Some(value) => merged.values.insert(id, value),
                None => merged.values.remove(&id),
            };
        }
        merged
    }

    fn config(&self) -> Result<Config, toml::de::Error> {
        let mut tables: BTreeMap<&str, toml::Table> = BTreeMap::new();
        let mut nodes = vec![toml::Table::new(); self.nodes];
        for (node, table) in nodes.iter_mut().enumerate().skip(1) {
            table.insert("name".into(), Value::String(format!("node{}", node + 1)));
        }
        for ((path, node), value) in &self.values {
            let Some((table, name)) = path.split_once('.') else { continue };
            let table = if table == "node" { &mut nodes[*node] } else { tables.entry(table).or_default() };
            table.insert(name.to_owned(), value.clone());
        }
        let mut root: toml::Table = tables.into_iter().map(|(name, table)| (name.to_owned(), table.into())).collect();
        root.insert("node".into(), Value::Array(nodes.into_iter().map(Value::Table).collect()));
        Config::deserialize(root)
    }
}

/// Reads the variables of the schema and those that mean something to the program as a whole.
fn read_env(
    env: impl Iterator<Item = (String, String)>,
    entries: &mut Vec<Entry>,
    secrets: &mut Vec<SecretEntry>,
    errors: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) -> Home {
    // Sorted, so that RUST_LOG stands before WARPPOOL_*; it is applied last, because it wins.
    let mut env: BTreeMap<String, String> = env.collect();
    let path = |value: Option<String>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = Home { home: path(env.remove("HOME")), app_data: path(env.remove("APPDATA")) };
    let rust_log = env.remove("RUST_LOG").filter(|filter| !filter.is_empty());
    let mut read =
        |key: &'static Key, name: &str, value: &str| match document::read_text(key, value, Place::Env(name.into())) {
            Ok(entry) if SECRETS.iter().any(|secret| secret.path == key.path) => {
                secrets.push(SecretEntry { key: entry.key, node: None, value: entry.value, place: entry.place });
            }
            Ok(entry) => entries.push(entry),
            Err(error) => errors.push(error),
        };
    for (name, value) in env.iter().filter(|(name, _)| name.starts_with("WARPPOOL_")) {
        match schema::schema().iter().chain(SECRETS).find(|key| key.env_name() == *name) {
            Some(key) => read(key, name, value),
            None => warnings.extend(unknown_variable(name)),
        }
    }
    if let (Some(filter), Some(key)) = (rust_log, schema::find("logging.filter")) {
        read(key, "RUST_LOG", &filter);
    }
    home
}

/// Variables of the program itself, not of its configuration.
const PROGRAM_VARIABLES: [&str; 5] =
    ["WARPPOOL_BIN", "WARPPOOL_CACHE", "WARPPOOL_CONFIG", "WARPPOOL_SECRETS", "WARPPOOL_URL"];

/// Other programs may have variables that begin like ours, so this is no error.
fn unknown_variable(name: &str) -> Option<Finding> {
    if PROGRAM_VARIABLES.contains(&name) {
        return None;
    }
    let place = Place::Env(crate::kind::shown(name));
    if let Some(old) = handbook::find(name) {
        let (problem, remedy) = match old.fate {
            Fate::Ours(key) => {
                let env = schema::find(key).map(Key::env_name).unwrap_or_default();
                (format!("this variable is now {env}"), format!("set {env} instead"))
            }
            fate => fate.explain(name),
        };
        return Some(Finding::new(place, "", problem, remedy));
    }
    let near = schema::schema().iter().chain(SECRETS).map(Key::env_name).filter(|_| name.len() <= 64);
    let near = near.map(|known| (strsim::damerau_levenshtein(&known, name), known)).min();
    let remedy = match near.filter(|(distance, _)| *distance <= 4) {
        Some((_, known)) => format!("did you mean {known}?"),
        None => "unset it; all variables stand in docs/configuration.md".to_owned(),
    };
    Some(Finding::new(place, "", "there is no such variable", remedy))
}

fn read_flags(overrides: &Overrides, nodes: usize, entries: &mut Vec<Entry>, errors: &mut Vec<Finding>) {
    for (path, value) in &overrides.set {
        let place = Place::Flag(format!("--set {}", crate::kind::shown(path)));
        let Some(key) = schema::find(path) else {
            errors.push(unknown_flag(path, place));
            continue;
        };
        match document::read_text(key, value, place) {
            Ok(entry) => entries.push(entry),
            Err(error) => errors.push(error),
        }
    }
    let mut switch_off = |path: &str, node: Option<usize>, flag: &str| {
        if let Some(key) = schema::find(path) {
            entries.push(Entry { key, node, value: None, place: Place::Flag(flag.into()) });
        }
    };
    if overrides.no_tls {
        switch_off("stratum.tls_listen", None, "--no-tls");
    }
    if overrides.no_zmq {
        (0..nodes).for_each(|node| switch_off("node.zmq_hashblock_addr", Some(node), "--no-zmq"));
    }
}

fn unknown_flag(path: &str, place: Place) -> Finding {
    let key = crate::kind::shown(path);
    if SECRETS.iter().any(|secret| secret.path == path) {
        let remedy = "set it in secrets.toml or the environment: every user of the machine sees the flags of a program";
        return Finding::new(place, key, "secrets are not taken from flags", remedy);
    }
    if let Some(old) = handbook::find(path) {
        let (problem, remedy) = old.fate.explain(&key);
        return Finding::new(place, key, problem, remedy);
    }
    let remedy = match document::nearest(path) {
        Some(near) => format!("did you mean {near}?"),
        None => "all keys stand in docs/configuration.md".to_owned(),
    };
    Finding::new(place, key, "there is no such key", remedy)
}

/// Pairs users with passwords; the environment's come last and win.
fn collect_secrets(entries: Vec<SecretEntry>, failed: &[&str], errors: &mut Vec<Finding>) -> Secrets {
    #[derive(Default)]
    struct Half {
        user: Option<(String, Place)>,
        password: Option<(String, Place)>,
    }
    let mut halves: BTreeMap<Option<String>, Half> = BTreeMap::new();
    for SecretEntry { key, node, value, place } in entries {
        let half = halves.entry(node).or_default();
        let text = value.and_then(|value| Some((value.as_str()?.to_owned(), place)));
        if key.path == "rpc_user" {
            half.user = text;
        } else {
            half.password = text;
        }
    }
    let mut secrets = Secrets::default();
    for (node, half) in halves {
        let credentials = match (half.user, half.password) {
            (Some((user, _)), Some((password, _))) => Credentials { user, password: Secret::new(password) },
            (Some((_, place)), None) if !failed.contains(&"rpc_pass") => {
                errors.push(Finding::new(place, "rpc_user", "it has no password", "set rpc_pass beside it"));
                continue;
            }
            (None, Some((_, place))) if !failed.contains(&"rpc_user") => {
                errors.push(Finding::new(place, "rpc_pass", "it has no user", "set rpc_user beside it"));
                continue;
            }
            _ => continue,
        };
        match node {
            Some(node) => {
                secrets.rpc_by_node.insert(node, credentials);
            }
            None => secrets.rpc = Some(credentials),
        }
    }
    secrets
}

fn each_path(config: &mut Config, change: impl Fn(&Path) -> PathBuf) {
    let paths = [
        Some(&mut config.server.data_dir),
        config.stratum.tls_cert_path.as_mut(),
        config.stratum.tls_key_path.as_mut(),
    ];
    let cookies = config.node.iter_mut().map(|node| node.rpc_cookie_path.as_mut());
    for path in paths.into_iter().chain(cookies).flatten() {
        *path = change(path);
    }
}

/// Files in the order they were read, each from top to bottom; then the environment and the flags.
fn sort_by_place(findings: &mut [Finding]) {
    let mut files: Vec<PathBuf> = Vec::new();
    for finding in findings.iter() {
        if let Place::File { path, .. } = &finding.place
            && !files.contains(path)
        {
            files.push(path.clone());
        }
    }
    findings.sort_by_key(|finding| match &finding.place {
        Place::File { path, line, column } => {
            (files.iter().position(|file| file == path).unwrap_or(files.len()), *line, *column)
        }
        _ => (files.len(), 0, 0),
    });
}
