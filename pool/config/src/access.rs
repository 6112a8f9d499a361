//! How each node is reached, after all that was left open: its address by the chain, its credentials by what there is.

use std::path::{Path, PathBuf};

use warppool_work::Chain;

use crate::kind::without_userinfo;
use crate::model::NodeConfig;
use crate::secrets::{Credentials, Secrets};
use crate::value::Secret;

/// A node, ready to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAccess {
    pub name: String,
    /// `http://host:port`, without credentials.
    pub rpc_url: String,
    pub auth: NodeAuth,
    /// `tcp://host:port`; `None` is long polling alone.
    pub zmq_hashblock_addr: Option<String>,
}

/// How the pool proves itself to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAuth {
    /// A file that Bitcoin Core writes anew at each of its starts: read it again when it is refused.
    Cookie(PathBuf),
    Password(Credentials),
}

/// What there is to find a cookie by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Home {
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `%APPDATA%`, on Windows.
    pub app_data: Option<PathBuf>,
}

impl Home {
    /// Where Bitcoin Core keeps its files unless told otherwise; where its own service file puts them when nobody has a home.
    fn bitcoin_dir(&self) -> PathBuf {
        match (&self.home, &self.app_data) {
            (_, Some(app_data)) if cfg!(windows) => app_data.join("Bitcoin"),
            (Some(home), _) if cfg!(target_os = "macos") => home.join("Library/Application Support/Bitcoin"),
            (Some(home), _) => home.join(".bitcoin"),
            (None, _) => PathBuf::from("/var/lib/bitcoind"),
        }
    }

    fn cookie(&self, chain: Chain) -> PathBuf {
        let dir = self.bitcoin_dir();
        match chain {
            Chain::Mainnet => dir.join(".cookie"),
            _ => dir.join(chain.core_name()).join(".cookie"),
        }
    }

    /// A path of a configuration file that lies in `base`.
    pub(crate) fn absolute(&self, base: &Path, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => base.join(path),
        }
    }
}

/// `user:password@` of a URL.
pub(crate) fn userinfo(url: &str) -> Option<Credentials> {
    let uri: http::Uri = url.parse().ok()?;
    let (user_info, _) = uri.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    Some(Credentials { user: user.to_owned(), password: Secret::new(password) })
}

/// Whether a node's RPC is on this machine.
fn is_local(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let bare = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `None` when there are no credentials and the node is not on this machine, where a cookie could be tried.
pub(crate) fn resolve(node: &NodeConfig, chain: Chain, secrets: &Secrets, home: &Home) -> Option<NodeAccess> {
    let given = node.rpc_url.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", chain.rpc_port()));
    let auth = if let Some(path) = &node.rpc_cookie_path {
        NodeAuth::Cookie(path.clone())
    } else if let Some(credentials) = secrets.rpc_by_node.get(&node.name) {
        NodeAuth::Password(credentials.clone())
    } else if let Some(credentials) = userinfo(&given) {
        NodeAuth::Password(credentials)
    } else if let Some(credentials) = &secrets.rpc {
        NodeAuth::Password(credentials.clone())
    } else if is_local(&given) {
        NodeAuth::Cookie(home.cookie(chain))
    } else {
        return None;
    };
    Some(NodeAccess {
        name: node.name.clone(),
        rpc_url: without_userinfo(&given).trim_end_matches('/').to_owned(),
        auth,
        zmq_hashblock_addr: node.zmq_hashblock_addr.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &str) -> Credentials {
        Credentials { user: user.into(), password: Secret::new("secret") }
    }

    fn node(url: Option<&str>, cookie: Option<&str>) -> NodeConfig {
        NodeConfig {
            name: "a".into(),
            rpc_url: url.map(str::to_owned),
            rpc_cookie_path: cookie.map(PathBuf::from),
            zmq_hashblock_addr: None,
        }
    }

    #[test]
    fn the_closest_credentials_win_and_a_cookie_before_all() {
        #[track_caller]
        fn case(url: Option<&str>, cookie: Option<&str>, secrets: &Secrets, expected: Option<&str>) {
            let access = resolve(&node(url, cookie), Chain::Regtest, secrets, &Home::default());
            let shown = access.map(|access| match access.auth {
                NodeAuth::Cookie(path) => path.display().to_string(),
                NodeAuth::Password(credentials) => credentials.user,
            });
            assert_eq!(shown.as_deref(), expected);
        }
        let all = Secrets { rpc: Some(credentials("all")), rpc_by_node: [("a".into(), credentials("own"))].into() };
        let global = Secrets { rpc: Some(credentials("all")), ..Secrets::default() };
        case(None, Some("/c"), &all, Some("/c"));
        case(Some("http://url:x@127.0.0.1:1"), None, &all, Some("own"));
        case(Some("http://url:x@127.0.0.1:1"), None, &global, Some("url"));
        case(Some("http://10.0.0.1:1"), None, &global, Some("all"));
        case(Some("http://10.0.0.1:1"), None, &Secrets::default(), None);
        if cfg!(unix) {
            case(None, None, &Secrets::default(), Some("/var/lib/bitcoind/regtest/.cookie"));
            case(Some("http://[::1]:1"), None, &Secrets::default(), Some("/var/lib/bitcoind/regtest/.cookie"));
        }
    }

    #[test]
    fn the_chain_gives_the_port_and_the_cookie_s_folder() {
        let home = Home { home: Some("/h".into()), app_data: None };
        for (chain, url, folder) in [
            (Chain::Mainnet, "http://127.0.0.1:8332", ""),
            (Chain::Testnet4, "http://127.0.0.1:48332", "testnet4"),
            (Chain::Signet, "http://127.0.0.1:38332", "signet"),
            (Chain::Regtest, "http://127.0.0.1:18443", "regtest"),
        ] {
            let access = resolve(&node(None, None), chain, &Secrets::default(), &home).unwrap();
            assert_eq!(access.rpc_url, url);
            assert_eq!(access.auth, NodeAuth::Cookie(home.bitcoin_dir().join(folder).join(".cookie")));
        }
    }

    #[test]
    fn credentials_never_stay_in_the_url() {
        let access = resolve(
            &node(Some("http://u:p@127.0.0.1:18443/"), None),
            Chain::Regtest,
            &Secrets::default(),
            &Home::default(),
        )
        .unwrap();
        assert_eq!(access.rpc_url, "http://127.0.0.1:18443");
        assert_eq!(access.auth, NodeAuth::Password(Credentials { user: "u".into(), password: Secret::new("p") }));
    }

    #[test]
    fn a_path_is_relative_to_the_file_and_a_tilde_is_the_home_folder() {
        let home = Home { home: Some("/home/x".into()), app_data: None };
        for (path, expected) in [("data", "/etc/w/data"), ("/data", "/data"), ("~/d", "/home/x/d"), ("~", "/home/x")] {
            assert_eq!(home.absolute(Path::new("/etc/w"), Path::new(path)), Path::new(expected));
        }
    }
}
