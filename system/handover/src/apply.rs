//! What follows from a hand-over: new settings of the system, and changes to the pool's files. Pure; whoever calls
//! stores the result.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::{Applied, HandOver, NodeAccess, SystemSettings};

/// The system's settings after this hand-over. What it does not mention stays.
pub fn to_system(before: &SystemSettings, handover: &HandOver) -> SystemSettings {
    let mut after = before.clone();
    if let Some(hostname) = &handover.hostname {
        after.device.hostname = hostname.clone();
    }
    if let Some(timezone) = &handover.timezone {
        after.device.timezone = Some(timezone.clone());
    }
    if let Some(ntp) = &handover.ntp {
        after.device.ntp.clone_from(ntp);
    }
    after.device.allow_downgrade |= handover.allow_downgrade;
    if let Some(network) = &handover.network {
        after.network.ethernet = network.clone();
    }
    if let Some(wifi) = &handover.wifi {
        after.network.wifi = Some(wifi.clone());
    }
    if !handover.ssh_keys.is_empty() {
        after.ssh.keys.clone_from(&handover.ssh_keys);
    }
    after.handover = Applied { sha256: Some(hex(&handover.digest)) };
    after
}

/// This very file was taken over before and could not be erased: it is not taken over again, over what was changed
/// since.
pub fn already_applied(settings: &SystemSettings, handover: &HandOver) -> bool {
    settings.handover.sha256.as_deref() == Some(hex(&handover.digest).as_str())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The pool's two files.
#[derive(Clone, PartialEq, Eq)]
pub struct PoolFiles {
    pub config: String,
    /// Holds secrets: 0600.
    pub secrets: String,
}

impl std::fmt::Debug for PoolFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolFiles").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the pool's {file} is not TOML, so nothing can be added to it: {why}")]
pub struct PoolFileError {
    pub file: &'static str,
    pub why: toml_edit::TomlError,
}

/// The pool's files after this hand-over; its owner's comments and all other keys stay. Empty texts are files that do
/// not exist yet. The pool writes these files and may be compromised: call this where it can do no harm, not in PID 1.
pub fn to_pool(before: &PoolFiles, handover: &HandOver) -> Result<PoolFiles, PoolFileError> {
    let mut config = document("config.toml", &before.config)?;
    let mut secrets = document("secrets.toml", &before.secrets)?;
    if handover.payout_address.is_some() || handover.chain.is_some() {
        let mining = table(config.as_table_mut(), "mining");
        if let Some(address) = &handover.payout_address {
            set(mining, "payout_address", address);
        }
        if let Some(chain) = handover.chain {
            set(mining, "chain", chain.name());
        }
    }
    match handover.nodes.as_slice() {
        [] => {}
        [node] => {
            one_node(table(config.as_table_mut(), "node"), node);
            name_credentials(secrets.as_table_mut(), std::slice::from_ref(node));
        }
        nodes => {
            let tables: ArrayOfTables = nodes
                .iter()
                .map(|node| {
                    let mut table = Table::new();
                    one_node(&mut table, node);
                    table
                })
                .collect();
            config.insert("node", Item::ArrayOfTables(tables));
            name_credentials(secrets.as_table_mut(), nodes);
        }
    }
    Ok(PoolFiles { config: config.to_string(), secrets: secrets.to_string() })
}

fn document(file: &'static str, text: &str) -> Result<DocumentMut, PoolFileError> {
    text.parse().map_err(|why| PoolFileError { file, why })
}

/// The table of this name, made when there is none or something else: what was there could not have been read by the
/// pool.
fn table<'a>(root: &'a mut Table, name: &str) -> &'a mut Table {
    if !root.get(name).is_some_and(Item::is_table) {
        root.insert(name, Item::Table(Table::new()));
    }
    root.get_mut(name).and_then(Item::as_table_mut).expect("it is a table: it was made one above")
}

/// Sets a key and keeps the comment beside it.
fn set(table: &mut Table, key: &str, text: &str) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = text.into();
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key, value(text));
        }
    }
}

fn one_node(table: &mut Table, node: &NodeAccess) {
    set(table, "name", &node.name);
    set(table, "rpc_url", node.url.as_str());
    match &node.zmq {
        Some(zmq) => set(table, "zmq_hashblock_addr", zmq.as_str()),
        // An address of another node's.
        None => drop(table.remove("zmq_hashblock_addr")),
    }
    // It would win over user and password.
    table.remove("rpc_cookie_path");
}

/// Each node's user and password under its name; those of nodes that are no longer there go.
fn name_credentials(secrets: &mut Table, nodes: &[NodeAccess]) {
    secrets.remove("rpc_user");
    secrets.remove("rpc_pass");
    let all = table(secrets, "node");
    all.retain(|name, _| nodes.iter().any(|node| node.name == name));
    all.set_implicit(true);
    for node in nodes {
        let one = table(all, &node.name);
        set(one, "rpc_user", &node.user);
        set(one, "rpc_pass", node.password.reveal());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn handed_over(text: &str) -> HandOver {
        parse(text.as_bytes(), &|_| true).expect(text)
    }

    fn empty() -> PoolFiles {
        PoolFiles { config: String::new(), secrets: String::new() }
    }

    /// Whether the pool itself would start with these files, and what it reads.
    #[track_caller]
    fn loaded(files: &PoolFiles) -> warppool_config::Loaded {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, &files.config).expect("written");
        let secrets = folder.path().join("secrets.toml");
        std::fs::write(&secrets, &files.secrets).expect("written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600)).expect("its owner's alone");
        }
        let nothing = std::iter::empty();
        warppool_config::load(&path, &warppool_config::Overrides::default(), nothing)
            .unwrap_or_else(|why| panic!("{why}\n{}\n{}", files.config, files.secrets))
    }

    const ONE: &str = "[node]\nurl = \"http://192.168.1.10:8332\"\nuser = \"u\"\npassword = 'p\"w\\'\n\
                       zmq = \"tcp://192.168.1.10:28332\"\n[mining]\nchain = \"mainnet\"\n\
                       payout_address = \"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq\"\n";
    const TWO: &str = "[[node]]\nname = \"attic\"\nurl = \"http://a:8332\"\nuser = \"ua\"\npassword = \"pa\"\n\
                       [[node]]\nname = \"cellar\"\nurl = \"http://c:8332\"\nuser = \"uc\"\npassword = \"pc\"\n";

    #[test]
    fn the_pool_loads_what_was_composed_for_it() {
        let files = to_pool(&empty(), &handed_over(ONE)).expect("is composed");
        let pool = loaded(&files);
        assert_eq!(pool.config.node.len(), 1);
        assert_eq!(pool.config.node[0].rpc_url.as_deref(), Some("http://192.168.1.10:8332"));
        assert_eq!(pool.config.node[0].zmq_hashblock_addr.as_deref(), Some("tcp://192.168.1.10:28332"));
        let credentials = pool.secrets.for_node("node").expect("are there");
        assert_eq!((credentials.user.as_str(), credentials.password.expose()), ("u", "p\"w\\"));
        assert!(pool.config.mining.payout_address.is_some());
    }

    #[test]
    fn several_nodes_have_credentials_of_their_own() {
        let files = to_pool(&empty(), &handed_over(TWO)).expect("is composed");
        let pool = loaded(&files);
        let names: Vec<&str> = pool.config.node.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["attic", "cellar"]);
        assert_eq!(pool.secrets.for_node("cellar").expect("are there").user, "uc");
        // And back to one: nothing of the others stays.
        let one = to_pool(&files, &handed_over(ONE)).expect("is composed");
        assert_eq!(loaded(&one).config.node.len(), 1);
        assert!(!one.secrets.contains("cellar") && !one.config.contains("attic"), "{one:?}");
    }

    #[test]
    fn an_owners_comments_and_other_keys_stay() {
        let before = PoolFiles {
            config: "# mine\n[stratum]\nsafe_mode = false # for the toaster\n\n[node]\n# in the attic\n\
                     rpc_url = \"http://old:8332\" # by cable\nrpc_cookie_path = \"/x/.cookie\"\n"
                .into(),
            secrets: "rpc_user = \"old\"\nrpc_pass = \"old\"\n".into(),
        };
        let after = to_pool(&before, &handed_over(ONE)).expect("is composed");
        for kept in ["# mine", "safe_mode = false # for the toaster", "# in the attic", "# by cable"] {
            assert!(after.config.contains(kept), "{kept}\n{}", after.config);
        }
        assert!(after.config.contains("http://192.168.1.10:8332") && !after.config.contains("cookie"));
        assert!(!after.secrets.contains("old"));
        loaded(&after);
        let untouched = to_pool(&before, &handed_over("[device]\nhostname = \"x\"\n")).expect("is composed");
        assert_eq!(untouched, before);
    }

    #[test]
    fn a_file_that_is_no_toml_is_named() {
        let before = PoolFiles { config: "[".into(), ..empty() };
        let why = to_pool(&before, &handed_over(ONE)).expect_err("is refused").to_string();
        assert!(why.contains("config.toml"), "{why}");
    }

    #[test]
    fn settings_that_are_not_mentioned_stay() {
        let mut before = SystemSettings::default();
        before.device.hostname = "old".parse().expect("a name");
        before.ssh.keys = Vec::new();
        let handover = handed_over("[network]\naddress = \"10.0.0.2/24\"\ndns = []\n");
        let after = to_system(&before, &handover);
        assert_eq!(after.device.hostname.as_str(), "old");
        assert!(after.network.ethernet.v4.is_some());
        assert!(already_applied(&after, &handover) && !already_applied(&before, &handover));
        let dhcp = to_system(&after, &handed_over("[network]\n"));
        assert_eq!(dhcp.network.ethernet.v4, None, "an empty section is DHCP again");
        assert_eq!(SystemSettings::parse(&after.to_toml()).expect("can be read"), after);
    }
}
