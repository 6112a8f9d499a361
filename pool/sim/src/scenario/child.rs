//! The pool under test: a process of its own, known by its ports, its page and its log alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::http;
use super::log::Log;
use super::setup::Setup;
use super::stage::until;

/// A start includes a check of the ledger in a process of its own.
const STARTING: Duration = Duration::from_secs(30);
#[cfg(unix)]
const STOPPING: Duration = Duration::from_secs(20);

pub(super) struct Pool {
    child: Child,
    log: Log,
    config: PathBuf,
    data: PathBuf,
    setup: Setup,
    page: SocketAddr,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
}

/// Memory of the pool's process, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// The most that was ever resident.
    pub(super) peak: u64,
    /// Address space.
    pub(super) space: u64,
}

impl Pool {
    /// `number` tells the pools of one stage apart.
    pub(super) async fn start(program: &Path, dir: &Path, number: usize, setup: Setup, log: Log) -> Result<Self> {
        let config = dir.join(format!("pool-{number}.toml"));
        let data = setup.data.clone().unwrap_or_else(|| dir.join(format!("data-{number}")));
        std::fs::write(&config, setup.toml(&data))?;
        let mut child = command(program, setup.limits.as_deref())
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            log.follow(stdout);
            log.follow(stderr);
        }
        let said = tokio::select! {
            said = log.wait_for("the page is at http://", STARTING) => said?,
            status = child.wait() => {
                // What it said last is on its way through the pipe.
                let _ = log.wait_for("warppool: ", Duration::from_secs(1)).await;
                bail!("the pool ends at its start ({}): {}", status?, log.tail(5).join(" / "));
            }
        };
        let page = said.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
        let page: SocketAddr = page.parse().with_context(|| format!("no address in {said:?}"))?;
        let overview = http::json(page, "/api/overview").await?;
        let port = |key: &str| -> Option<u16> { overview.pointer(key)?.as_u64()?.try_into().ok() };
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let plain = at(port("/connect/plain_port").context("the pool opens no port for miners")?);
        let tls = port("/connect/tls_port").map(at);
        Ok(Self { child, log, config, data, setup, page, plain, tls })
    }

    /// Where miners connect.
    pub(super) fn plain(&self) -> SocketAddr {
        self.plain
    }

    pub(super) fn tls(&self) -> Result<SocketAddr> {
        self.tls.context("the pool opens no TLS port")
    }

    pub(super) fn page(&self) -> SocketAddr {
        self.page
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// A page's JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        http::json(self.page, path).await
    }

    pub(super) async fn overview(&self) -> Result<Value> {
        self.get("/api/overview").await
    }

    /// A value of the overview; null where it is not there or nobody answers.
    pub(super) async fn shows(&self, pointer: &str) -> Value {
        let overview = self.overview().await.ok();
        overview.and_then(|overview| overview.pointer(pointer).cloned()).unwrap_or(Value::Null)
    }

    /// Waits until the overview shows a value of which this is true.
    pub(super) async fn will_show(
        &self,
        within: Duration,
        pointer: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Duration> {
        let done = until(within, pointer, async || wanted(&self.shows(pointer).await)).await;
        match done {
            Ok(took) => Ok(took),
            Err(_) => bail!("{pointer} is {} after {within:?}", self.shows(pointer).await),
        }
    }

    /// A sample of /metrics by its name with labels; 0 where there is none.
    pub(super) async fn metric(&self, name: &str) -> Result<f64> {
        let answer = http::get(self.page, "/metrics").await?;
        ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        let sample = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        Ok(sample.unwrap_or(0.0))
    }

    /// `None` where this system does not tell.
    pub(super) fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let bytes = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        Some(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")?, space: bytes("VmPeak:")? })
    }

    /// Writes another configuration and tells the pool to read it; gives what it says of that.
    #[cfg(unix)]
    pub(super) async fn reload(&mut self, setup: Setup, expected: &str) -> Result<String> {
        std::fs::write(&self.config, setup.toml(&self.data))?;
        self.setup = setup;
        self.signal(nix::sys::signal::Signal::SIGHUP)?;
        self.log.wait_for(expected, Duration::from_secs(10)).await
    }

    #[cfg(not(unix))]
    pub(super) async fn reload(&mut self, _: Setup, _: &str) -> Result<String> {
        bail!("only Unix has a signal to read the configuration again")
    }

    #[cfg(unix)]
    fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let id = self.child.id().context("the pool has ended")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id.cast_signed()), signal)?;
        Ok(())
    }

    /// Tells it to stop; gives how long that took. It has to end with success.
    pub(super) async fn stop(mut self) -> Result<Duration> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it has ended before, with {status}");
        }
        let started = Instant::now();
        #[cfg(unix)]
        {
            self.signal(nix::sys::signal::Signal::SIGTERM)?;
            let status = tokio::time::timeout(STOPPING, self.child.wait()).await.context("it does not end")??;
            ensure!(status.success(), "it ends with {status}");
        }
        // There is no gentler way.
        #[cfg(not(unix))]
        self.child.kill().await?;
        Ok(started.elapsed())
    }

    /// Ends it as a power cut does.
    pub(super) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Whether it is still running.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// The program, free of whatever the environment wants of pools; through a shell where it gets limits.
fn command(program: &Path, limits: Option<&str>) -> Command {
    let mut command = match limits {
        None => Command::new(program),
        Some(limits) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(program);
            shell
        }
    };
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("WARPPOOL_") || ["RUST_LOG", "JOURNAL_STREAM"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}
