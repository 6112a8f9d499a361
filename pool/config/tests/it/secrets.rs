//! secrets.toml, and that what it holds stays there.

use std::path::Path;

use warppool_config::{ConfigErrors, Loaded, NodeAuth, Overrides, load, parse};

use crate::{env, line};

const CONFIG: &str = "[[node]]\nname = 'a'\n[[node]]\nname = 'b'\nrpc_url = 'http://10.0.0.1:8332'\n";

fn with(secrets: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let secrets = Some((Path::new("secrets.toml"), secrets.as_bytes()));
    parse(Path::new("config.toml"), CONFIG.as_bytes(), secrets, &Overrides::default(), env(variables))
}

fn passwords(loaded: &Loaded) -> Vec<&str> {
    loaded
        .nodes
        .iter()
        .map(|node| match &node.auth {
            NodeAuth::Password(credentials) => credentials.password.expose(),
            NodeAuth::Cookie(_) => "cookie",
        })
        .collect()
}

#[test]
fn credentials_are_for_all_nodes_or_for_the_one_named() {
    let global = "rpc_user = 'u'\nrpc_pass = 'all'\n";
    assert_eq!(passwords(&with(global, &[]).unwrap()), ["all", "all"]);
    let own = format!("{global}[node.b]\nrpc_user = 'u'\nrpc_pass = 'own'");
    assert_eq!(passwords(&with(&own, &[]).unwrap()), ["all", "own"]);
    let one = "[node.b]\nrpc_user = 'u'\nrpc_pass = 'own'";
    assert_eq!(passwords(&with(one, &[]).unwrap()), ["cookie", "own"]);
    let variables = [("WARPPOOL_RPC_USER", "u"), ("WARPPOOL_RPC_PASS", "env")];
    assert_eq!(passwords(&with(global, &variables).unwrap()), ["env", "env"]);
    assert_eq!(passwords(&with("", &variables).unwrap()), ["env", "env"]);
}

#[test]
fn faults_of_the_secrets_name_their_own_file_and_line() {
    #[track_caller]
    fn case(text: &str, at: usize, key: &str, words: &str) {
        let errors = with(text, &[]).unwrap_err();
        let fault = errors.0.iter().find(|fault| fault.to_string().starts_with("secrets.toml"));
        let fault = fault.unwrap_or_else(|| panic!("{errors}"));
        assert_eq!((line(fault), fault.key.as_str()), (at, key), "{fault}");
        assert!(fault.to_string().contains(words), "{fault}");
    }
    case("rpc_user = 'u'", 1, "rpc_user", "set rpc_pass");
    case("\nrpc_pass = 'p'", 2, "rpc_pass", "set rpc_user");
    case("rpc_user = 'u'\nrpc_pass = 5", 2, "rpc_pass", "quotes");
    case("rpc_usr = 'u'", 1, "rpc_usr", "did you mean rpc_user?");
    case("jwt_secret = 'x'", 1, "jwt_secret", "accounts");
    case("password = 'x'", 1, "password", "no such secret");
    case("[stratum]\nlisten = ':1'", 1, "stratum", "config.toml");
    case("[node]\nb = 1", 2, "node", "[node.NAME]");
    case("[node.b]\nrpc_url = 'x'", 2, "rpc_url", "no such secret");
    case("[node.bb]\nrpc_user = 'u'\nrpc_pass = 'p'", 2, "node", "`bb`");
    case("rpc_user = 'u", 1, "", "not TOML");
}

#[test]
fn no_secret_is_ever_printed() {
    let loaded = with("rpc_user = 'u'\nrpc_pass = 'hunter2'", &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let config = "stratum.stratum_password = 'hunter2'";
    let loaded = parse(Path::new("c"), config.as_bytes(), None, &Overrides::default(), env(&[])).unwrap();
    assert_eq!(loaded.config.stratum.stratum_password.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!toml::to_string(&loaded.config).unwrap().contains("hunter2"));
    for wrong in [
        "rpc_user = 'u'\nrpc_pass = ['hunter2']",
        "rpc_pass = \"hunter2\\u0000\"",
        "rpc_pass = 'hunter2'",
        "rpc_pass = hunter2",
        "rpc_pass = 'hunter2",
    ] {
        assert!(!with(wrong, &[]).unwrap_err().to_string().contains("hunter2"), "{wrong}");
    }
}

#[cfg(unix)]
#[test]
fn the_file_beside_the_configuration_is_read_and_must_be_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (config, secrets) = (dir.path().join("config.toml"), dir.path().join("secrets.toml"));
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(&secrets, "rpc_user = 'u'\nrpc_pass = 'p'").unwrap();
    let with_mode = |mode| {
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(mode)).unwrap();
        load(&config, &Overrides::default(), env(&[]))
    };
    let errors = with_mode(0o644).unwrap_err().to_string();
    assert!(errors.contains(&format!("chmod 600 {}", secrets.display())), "{errors}");
    assert_eq!(passwords(&with_mode(0o600).unwrap()), ["p", "p"]);
    std::fs::write(&config, "stratum.listen = 'x'").unwrap();
    let both = with_mode(0o644).unwrap_err();
    assert_eq!(both.0.len(), 2, "{both}");
    std::fs::write(&config, CONFIG).unwrap();
    with_mode(0o600).unwrap();
    let other = dir.path().join("other.toml");
    std::fs::rename(&secrets, &other).unwrap();
    let named = Overrides { secrets: Some(other.clone()), ..Overrides::default() };
    assert_eq!(passwords(&load(&config, &named, env(&[])).unwrap()), ["p", "p"]);
    let variable = [("WARPPOOL_SECRETS", other.to_str().unwrap())];
    assert_eq!(passwords(&load(&config, &Overrides::default(), env(&variable)).unwrap()), ["p", "p"]);
    std::fs::remove_file(&other).unwrap();
    assert!(load(&config, &named, env(&[])).unwrap_err().to_string().contains("--secrets"));
}
