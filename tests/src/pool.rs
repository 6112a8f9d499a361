//! The pool as a process with a configuration and a data folder of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::bitcoind::Bitcoind;
use crate::process::{Log, Process};
use crate::wait::{LONG, hold, until};
use crate::{build, http};

/// Says where the page is once the pool is up.
const UP: &str = "the page is at http://127.0.0.1:";

/// A node as the configuration names it.
#[derive(Clone, Debug)]
pub struct NodeLine {
    pub name: String,
    pub rpc_url: String,
    pub cookie: Option<PathBuf>,
    pub zmq: Option<String>,
}

impl NodeLine {
    pub fn of(name: &str, node: &Bitcoind) -> Self {
        let (rpc_url, cookie) = (node.rpc_url(), Some(node.cookie_path()));
        Self { name: name.into(), rpc_url, cookie, zmq: Some(node.zmq_url()) }
    }

    /// A simulated node that lets everybody in.
    pub fn of_sim(node: &warppool_sim::node::SimNode) -> Self {
        let rpc_url = node.rpc_url().replace("http://", "http://any:any@");
        Self { name: "simulated".into(), rpc_url, cookie: None, zmq: node.zmq_url() }
    }
}

/// What stands in `config.toml`.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<String, String>,
    pub nodes: Vec<NodeLine>,
    /// Behind `warppool run --config FILE`.
    pub flags: Vec<OsString>,
}

impl Settings {
    /// A pool on these nodes that any hash satisfies, with limits that do not hinder a test.
    pub fn new(chain: &str, nodes: impl IntoIterator<Item = NodeLine>) -> Self {
        let settings = Self { values: BTreeMap::new(), nodes: nodes.into_iter().collect(), flags: Vec::new() };
        settings
            .with("mining.chain", format!("'{chain}'"))
            .with("logging.journald", "'off'")
            .with("logging.filter", "'info,warppool_node=debug'")
            .with("server.http_listen", "'127.0.0.1:0'")
            .with("server.data_dir", "'data'")
            .with("stratum.listen", "'127.0.0.1:0'")
            .with("profile.kind", "'small'")
            .with("vardiff.min_diff", "1e-9")
            .with("ratelimit.connects_per_sec", "1000.0")
            .with("ratelimit.connect_burst", "1000")
            .with("ratelimit.auths_per_sec", "1000.0")
            .with("ratelimit.auth_burst", "1000")
    }

    /// Sets a key to a value as TOML writes it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.values.insert(key.into(), value.into());
    }

    #[must_use]
    pub fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    pub fn toml(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.values {
            writeln!(text, "{key} = {value}").unwrap();
        }
        for NodeLine { name, rpc_url, cookie, zmq } in &self.nodes {
            writeln!(text, "[[node]]\nname = '{name}'\nrpc_url = '{rpc_url}'").unwrap();
            if let Some(cookie) = cookie {
                writeln!(text, "rpc_cookie_path = '{}'", cookie.display()).unwrap();
            }
            if let Some(zmq) = zmq {
                writeln!(text, "zmq_hashblock_addr = '{zmq}'").unwrap();
            }
        }
        text
    }
}

/// The pool. It ends with this value.
#[derive(Debug)]
pub struct Pool {
    process: Option<Process>,
    pub log: Log,
    dir: TempDir,
    pub settings: Settings,
    http_port: u16,
}

impl Pool {
    /// Starts a pool on an empty data folder and waits until it answers.
    pub async fn start(settings: Settings) -> Self {
        let mut pool = Self::prepare(settings);
        pool.run().await;
        pool
    }

    /// A pool that does not run yet.
    pub fn prepare(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { process: None, log: Log::default(), dir, settings, http_port: 0 }
    }

    /// Starts the pool (again) on its data folder and waits until it answers.
    pub async fn run(&mut self) {
        self.launch();
        until(LONG, "the pool answers", async || {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                panic!("the pool has ended with {status}:\n{}", self.log.last(20));
            }
            self.find_port();
            let answer = http::get(self.http_port, "/healthz").await;
            answer.map_err(|why| format!("{why}\n{}", self.log.last(20)))
        })
        .await;
    }

    /// Starts the process without waiting for anything.
    pub fn launch(&mut self) {
        self.write_config();
        self.log = Log::default();
        self.http_port = 0;
        let mut command = warppool();
        command.args(["run", "--config"]).arg(self.config_path()).args(&self.settings.flags);
        self.process = Some(Process::start("warppool", &mut command, self.log.clone()));
    }

    /// Also after the process has started itself anew.
    fn find_port(&mut self) {
        let Some(line) = self.log.find(UP) else { return };
        let port = line.split(UP).nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap();
        self.http_port = port.parse().unwrap();
    }

    pub fn write_config(&self) {
        std::fs::write(self.config_path(), self.settings.toml()).unwrap();
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn ledger_file(&self) -> PathBuf {
        self.data().join("ledger/data.mdb")
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// Found blocks whose fate is not settled, as files.
    pub fn spooled(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.data().join("spool")) else { return 0 };
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "block")).count()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the pool runs").pid()
    }

    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// Where miners connect, also while the process is starting itself anew.
    pub async fn try_target(&mut self) -> std::io::Result<String> {
        self.find_port();
        let overview = http::get(self.http_port, "/api/overview").await?.json();
        Ok(format!("127.0.0.1:{}", overview["connect"]["plain_port"]))
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = http::get(self.http_port, path).await.unwrap_or_else(|why| panic!("GET {path}: {why}"));
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    pub async fn overview(&self) -> Value {
        self.get("/api/overview").await
    }

    /// The newest first.
    pub async fn blocks(&self) -> Vec<Value> {
        self.get("/api/blocks?limit=1000").await["blocks"].as_array().unwrap().clone()
    }

    pub async fn worker(&self, name: &str) -> Value {
        let workers = self.get("/api/workers?limit=1000").await;
        let workers = workers["workers"].as_array().unwrap();
        workers.iter().find(|worker| worker["name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// Where miners connect, as `host:port`.
    pub async fn target(&self) -> String {
        format!("127.0.0.1:{}", self.overview().await["connect"]["plain_port"].as_u64().unwrap())
    }

    pub async fn tls_target(&self) -> String {
        format!("127.0.0.1:{}", self.overview().await["connect"]["tls_port"].as_u64().unwrap())
    }

    /// Waits until the overview fulfils a condition.
    pub async fn shows(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        until(LONG, format!("the overview shows {what}"), async || {
            let overview = self.overview().await;
            hold(condition(&overview), overview.clone(), &overview)
        })
        .await
    }

    /// Waits until a block of this hash has this fate.
    pub async fn fate(&self, hash: impl ToString, fate: &str) -> Value {
        let hash = hash.to_string();
        until(LONG, format!("block {hash} is {fate}"), async || {
            let blocks = self.blocks().await;
            let found = blocks.iter().find(|block| block["hash"] == *hash && block["fate"] == fate).cloned();
            found.ok_or_else(|| format!("{blocks:?}"))
        })
        .await
    }

    /// Waits until the pool mines on this tip.
    pub async fn mines_on(&self, height: u32) {
        self.shows(&format!("a job at height {height}"), |overview| overview["job"]["height"] == height).await;
    }

    /// Asks it to read its configuration, as it stands in `settings`, again.
    pub fn reload(&self) {
        self.write_config();
        self.process.as_ref().expect("the pool runs").signal(Signal::SIGHUP);
    }

    /// Stops it as its operator would.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the pool runs");
        process.signal(Signal::SIGTERM);
        process.end(LONG).await
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        self.process.take().expect("the pool runs").kill9();
    }

    /// Waits for it to end by itself.
    pub async fn end(&mut self) -> ExitStatus {
        self.process.take().expect("the pool runs").end(LONG).await
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }
}

/// The pool's binary, with nothing of this process's environment that would change what it does.
pub fn warppool() -> Command {
    let mut command = Command::new(build::warppool());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WARPPOOL_") || name == "RUST_LOG" || name == "JOURNAL_STREAM" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs one of its commands to the end.
pub fn command<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    warppool().args(arguments).output().unwrap()
}

/// Writes a file of this mode.
pub fn write_file(path: &Path, content: &str, mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// How long a graceful stop may take.
pub const STOP: Duration = Duration::from_secs(5);
