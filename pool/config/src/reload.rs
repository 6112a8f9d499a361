//! What changed between two configurations, and whether it takes effect while the pool runs.

use std::collections::BTreeMap;

use toml::Value;

use crate::load::{Loaded, node_key};
use crate::schema::{self, Reload};

/// The keys that differ, each in one of two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// These take effect at once.
    pub live: Vec<String>,
    /// These wait for the next start.
    pub needs_restart: Vec<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares two configurations by what they mean: a key set to its default is no change.
pub fn diff(old: &Loaded, new: &Loaded) -> Changes {
    let flat = |loaded: &Loaded| -> BTreeMap<String, Value> {
        schema::flatten(&loaded.config, |node, key| node_key(&loaded.config, node, key))
    };
    let (before, after) = (flat(old), flat(new));
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut changes = Changes::default();
    for key in keys {
        if before.get(key) != after.get(key) {
            changes.push(key);
        }
    }
    // Secrets look alike when they are serialised, and so are compared for themselves.
    let password = |loaded: &Loaded| loaded.config.stratum.stratum_password.clone();
    if password(old) != password(new) && !changes.live.iter().any(|key| key == "stratum.stratum_password") {
        changes.push("stratum.stratum_password");
    }
    if old.secrets != new.secrets {
        changes.needs_restart.push("secrets.toml".to_owned());
    }
    changes
}

impl Changes {
    fn push(&mut self, key: &str) {
        // A node's own keys carry its name; nodes as a whole wait for a restart.
        let reload = schema::find(key).map_or(Reload::Restart, |key| key.reload);
        match reload {
            Reload::Live => self.live.push(key.to_owned()),
            Reload::Restart => self.needs_restart.push(key.to_owned()),
        }
    }
}
