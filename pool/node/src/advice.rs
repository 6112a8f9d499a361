//! What the operator reads when a node cannot be used: what happened, to what, and what to do about it.

use std::io::ErrorKind;

use warppool_events::NodeState;
use warppool_work::Chain;

use crate::error::code;
use crate::{RpcError, SourceError, TemplateError};

/// Why a node is not usable, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    pub state: NodeState,
    pub message: String,
    pub remedy: String,
}

impl Advice {
    pub(crate) fn new(state: NodeState, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state, message: message.into(), remedy: remedy.into() }
    }

    /// Before the first answer.
    pub(crate) fn not_contacted() -> Self {
        Self::new(NodeState::Unreachable, "not contacted yet", "")
    }

    pub(crate) fn source(error: &SourceError, chain: Chain) -> Self {
        match error {
            SourceError::Rpc(error) => Self::rpc(error, chain),
            SourceError::Template(error) => Self::template(error),
        }
    }

    pub(crate) fn rpc(error: &RpcError, chain: Chain) -> Self {
        let message = error.to_string();
        match error {
            RpcError::Connect { address, source } => connect(address, source.kind(), message, chain),
            RpcError::Timeout { .. } => Self::new(
                NodeState::Unreachable,
                message,
                "Bitcoin Core is overloaded or its disk is slow: look at debug.log and at the load of its machine; \
                 if it is on another machine, check the network between",
            ),
            RpcError::Broken { .. } => Self::new(
                NodeState::Unreachable,
                message,
                "Bitcoin Core stopped or was restarted while it answered; the pool tries again by itself",
            ),
            RpcError::CookieMissing { was_there: true, .. } => Self::new(
                NodeState::Unreachable,
                format!("{message} any more: Bitcoin Core stops or starts anew"),
                "start Bitcoin Core; the pool goes on by itself. If it runs, correct rpc_cookie_path",
            ),
            RpcError::CookieMissing { was_there: false, .. } => Self::new(
                NodeState::Unauthorized,
                message,
                format!(
                    "Bitcoin Core writes it to its data folder ({}) when it starts with server=1 and without \
                     rpcpassword: correct rpc_cookie_path, or set rpc_user and rpc_pass",
                    cookie_place(chain)
                ),
            ),
            RpcError::CookieUnreadable { source, .. } if source.kind() == ErrorKind::PermissionDenied => Self::new(
                NodeState::Unauthorized,
                message,
                "let the pool's user read it: put rpccookieperms=group into bitcoin.conf, restart Bitcoin Core, and \
                 add the pool's user to the group of Bitcoin Core's user",
            ),
            RpcError::CookieUnreadable { .. } | RpcError::CookieMalformed { .. } => Self::new(
                NodeState::Unauthorized,
                message,
                format!("correct rpc_cookie_path: the file is {}", cookie_place(chain)),
            ),
            RpcError::Unauthorized { cookie: Some(path) } => Self::new(
                NodeState::Unauthorized,
                message,
                format!(
                    "the cookie {} belongs to another Bitcoin Core or to an earlier run: correct rpc_cookie_path or \
                     rpc_url so that both mean the same node",
                    path.display()
                ),
            ),
            RpcError::Unauthorized { cookie: None } => Self::new(
                NodeState::Unauthorized,
                message,
                "set rpc_user and rpc_pass to what rpcauth (or rpcuser and rpcpassword) in bitcoin.conf says, or use \
                 rpc_cookie_path",
            ),
            RpcError::Forbidden { .. } => Self::new(
                NodeState::Unauthorized,
                message,
                "allow the pool's address with rpcallowip=ADDRESS in bitcoin.conf, and leave its user out of \
                 rpcwhitelist or list getblocktemplate, submitblock, getblockchaininfo, getnetworkinfo, \
                 getbestblockhash, getblockheader and getzmqnotifications there",
            ),
            RpcError::Busy { .. } => Self::new(
                NodeState::Faulty,
                message,
                "its RPC work queue is full: raise rpcworkqueue and rpcthreads in bitcoin.conf, or find out who else \
                 asks so much",
            ),
            RpcError::Http { .. } | RpcError::Malformed { .. } | RpcError::TooLarge { .. } => Self::new(
                NodeState::Faulty,
                message,
                format!(
                    "check that rpc_url names Bitcoin Core's RPC port ({} on {chain}) and no proxy or other service",
                    chain.rpc_port()
                ),
            ),
            RpcError::Rpc { code, message: said, .. } => core_error(*code, said, message),
        }
    }

    fn template(error: &TemplateError) -> Self {
        let remedy = match error {
            TemplateError::UnknownRule(_) => "update the pool: the network has a rule that this release cannot obey",
            TemplateError::SignedSignet(_) => {
                "mine on testnet4, on regtest, or on a signet of your own started with -signetchallenge=51"
            }
            TemplateError::BitsTime { .. } => "check the clock of Bitcoin Core's machine",
            _ => "check that rpc_url names a Bitcoin Core (25 or later) and nothing that imitates it",
        };
        Self::new(NodeState::Faulty, format!("its block template cannot be used: {error}"), remedy)
    }

    pub(crate) fn wrong_chain(found: &str, chain: Chain) -> Self {
        Self::new(
            NodeState::WrongChain,
            format!("it follows the chain `{found}`, the pool is configured for `{}`", chain.core_name()),
            format!(
                "start Bitcoin Core with -chain={}, or correct rpc_url (port {} on {chain}) or the pool's chain",
                chain.core_name(),
                chain.rpc_port()
            ),
        )
    }

    /// `progress` is Core's estimate, 0 to 1.
    pub(crate) fn initial_download(height: u32, headers: u32, progress: f64) -> Self {
        let percent = (progress.clamp(0.0, 1.0) * 10_000.0).floor() / 100.0;
        Self::new(
            NodeState::InitialDownload,
            format!("it downloads the block chain: {percent:.2} %, block {height} of {headers}"),
            "wait: mining starts by itself when the download is complete",
        )
    }

    /// It knows of so many blocks that it does not have.
    pub(crate) fn lags(missing: u32) -> Self {
        Self::new(
            NodeState::InitialDownload,
            format!("it is {missing} blocks behind its own headers"),
            "wait: it catches up by itself. If it does not, look at Bitcoin Core's debug.log and at the load of its disk",
        )
    }

    pub(crate) fn no_peers() -> Self {
        Self::new(
            NodeState::NoPeers,
            "it has no connection to other nodes, so a block found would reach nobody",
            "check the network of Bitcoin Core's machine, and that bitcoin.conf has no connect=, maxconnections=0 or \
             networkactive=0",
        )
    }
}

fn connect(address: &str, kind: ErrorKind, message: String, chain: Chain) -> Advice {
    let (message, remedy) = match kind {
        ErrorKind::ConnectionRefused => (
            format!("nothing listens at {address} (connection refused)"),
            format!(
                "start Bitcoin Core with server=1 in bitcoin.conf and check rpc_url (port {} on {chain}); on another \
                 machine it also needs rpcbind= and rpcallowip=",
                chain.rpc_port()
            ),
        ),
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => (
            format!("{address} cannot be reached: its machine is off, or a firewall swallows the connection"),
            "check rpc_url, the network and the firewall between the pool and Bitcoin Core".to_owned(),
        ),
        _ => (message, "check the host name in rpc_url and the network".to_owned()),
    };
    Advice::new(NodeState::Unreachable, message, remedy)
}

fn core_error(code: i64, said: &str, message: String) -> Advice {
    match code {
        code::WARMING_UP => {
            Advice::new(NodeState::WarmingUp, format!("it is starting: {said}"), "wait: this takes up to a few minutes")
        }
        code::INITIAL_DOWNLOAD => Advice::new(
            NodeState::InitialDownload,
            format!("it downloads the block chain: {said}"),
            "wait: mining starts by itself when the download is complete",
        ),
        code::NOT_CONNECTED => Advice { message: format!("it has no peers: {said}"), ..Advice::no_peers() },
        code::OUT_OF_MEMORY | code::DATABASE => Advice::new(
            NodeState::Faulty,
            message,
            "Bitcoin Core is in trouble with its memory or disk: look at its debug.log",
        ),
        _ => {
            Advice::new(NodeState::Faulty, message, "look at Bitcoin Core's debug.log; the pool tries again by itself")
        }
    }
}

fn cookie_place(chain: Chain) -> &'static str {
    match chain {
        Chain::Mainnet => ".bitcoin/.cookie",
        Chain::Testnet4 => ".bitcoin/testnet4/.cookie",
        Chain::Signet => ".bitcoin/signet/.cookie",
        Chain::Regtest => ".bitcoin/regtest/.cookie",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    const METHOD: &str = "getblocktemplate";

    fn path() -> PathBuf {
        "/home/b/.bitcoin/.cookie".into()
    }

    #[test]
    fn every_error_of_the_rpc_tells_its_state_and_a_remedy() {
        use NodeState::{Faulty, InitialDownload, NoPeers, Unauthorized, Unreachable, WarmingUp};
        let connect = |kind: ErrorKind| RpcError::Connect { address: "10.0.0.9:8332".into(), source: kind.into() };
        let rpc = |code, said: &str| RpcError::Rpc { method: METHOD, code, message: said.into() };
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        for (error, state, message, remedy) in [
            (connect(ErrorKind::ConnectionRefused), Unreachable, "nothing listens at 10.0.0.9:8332", "server=1"),
            (connect(ErrorKind::TimedOut), Unreachable, "10.0.0.9:8332", "firewall"),
            (connect(ErrorKind::Other), Unreachable, "10.0.0.9:8332", "host name"),
            (RpcError::Timeout { method: METHOD, after: Duration::from_secs(15) }, Unreachable, "15s", "overloaded"),
            (RpcError::Broken { method: METHOD, reason: "eof".into() }, Unreachable, "eof", "restarted"),
            (
                RpcError::CookieMissing { path: path(), was_there: false },
                Unauthorized,
                "/home/b/.bitcoin/.cookie",
                "server=1",
            ),
            (RpcError::CookieMissing { path: path(), was_there: true }, Unreachable, "any more", "start Bitcoin Core"),
            (
                RpcError::CookieUnreadable { path: path(), source: denied },
                Unauthorized,
                "/home/b/.bitcoin/.cookie",
                "rpccookieperms=group",
            ),
            (RpcError::CookieMalformed { path: path() }, Unauthorized, "not a cookie", "rpc_cookie_path"),
            (RpcError::Unauthorized { cookie: Some(path()) }, Unauthorized, "401", "another Bitcoin Core"),
            (RpcError::Unauthorized { cookie: None }, Unauthorized, "401", "rpc_user"),
            (RpcError::Forbidden { method: METHOD }, Unauthorized, "403", "rpcallowip"),
            (RpcError::Busy { method: METHOD }, Faulty, "503", "rpcworkqueue"),
            (RpcError::Http { method: METHOD, status: 404 }, Faulty, "404", "48332"),
            (RpcError::Malformed { method: METHOD, reason: "EOF".into() }, Faulty, "EOF", "rpc_url"),
            (RpcError::TooLarge { method: METHOD, limit: 7 }, Faulty, "larger than 7", "rpc_url"),
            (rpc(-28, "Verifying blocks…"), WarmingUp, "Verifying blocks…", "wait"),
            (rpc(-10, "Bitcoin Core is downloading"), InitialDownload, "downloading", "wait"),
            (rpc(-9, "Bitcoin is not connected!"), NoPeers, "not connected", "network"),
            (rpc(-20, "corrupt"), Faulty, "corrupt", "disk"),
            (rpc(-1, "odd"), Faulty, "odd (code -1)", "debug.log"),
        ] {
            let advice = Advice::rpc(&error, Chain::Testnet4);
            assert_eq!(advice.state, state, "{error}");
            assert!(advice.message.contains(message), "{error}: {}", advice.message);
            assert!(advice.remedy.contains(remedy), "{error}: {}", advice.remedy);
        }
    }

    #[test]
    fn an_unusable_template_tells_why_and_a_remedy() {
        for (error, message, remedy) in [
            (TemplateError::UnknownRule("soon".into()), "`soon`", "update the pool"),
            (TemplateError::SignedSignet("5121".into()), "signed by its owner", "-signetchallenge=51"),
            (TemplateError::Json("EOF".into()), "EOF", "imitates"),
        ] {
            let advice = Advice::source(&SourceError::Template(error), Chain::Signet);
            assert_eq!(advice.state, NodeState::Faulty);
            assert!(advice.message.contains(message), "{}", advice.message);
            assert!(advice.remedy.contains(remedy), "{}", advice.remedy);
        }
    }

    #[test]
    fn progress_is_never_rounded_up_to_complete() {
        assert!(Advice::initial_download(5, 9, 0.999_999).message.contains("99.99 %"));
        assert!(Advice::initial_download(5, 9, 7.0).message.contains("100.00 %"));
    }
}
