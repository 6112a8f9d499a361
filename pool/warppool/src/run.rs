//! `warppool run`: the pool on the operator's own node, until it is told to stop.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use warppool_config::{Hardware, Loaded, Overrides, environment, load};
use warppool_engine::{Engine, Sockets, StartOptions};
use warppool_events::Bus;
use warppool_ledger::{Checker, Ledger, backup};

use crate::cli::{RunArgs, runtime};
use crate::logging::LogControl;
use crate::signals::{Signal, Signals};
use crate::{crash, home, logging};

pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    run_in(args, &Sockets::default(), |_| ())
}

/// Runs where some ports are open already and somebody wants to know how the pool does.
pub fn run_in(args: &RunArgs, sockets: &Sockets, watch: impl FnOnce(&Pool)) -> anyhow::Result<ExitCode> {
    let overrides = args.settings.overrides()?;
    let loaded = read(&args.config, &overrides)?;
    let log = logging::start(&loaded.config.logging)?;
    if !args.memory_ledger {
        crash::restart_on_memory_fault();
    }
    raise_limits();
    let _home = home::take(&loaded.config.server.data_dir)?;
    runtime()?.block_on(async {
        let options = StartOptions { memory_ledger: args.memory_ledger, checker: checker(), sockets: sockets.clone() };
        let pool = Pool::start(loaded, options).await?;
        watch(&pool);
        serve(pool, &args.config, &overrides, &log).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The engine with its web side, as `run` and `demo` both have it.
pub struct Pool {
    pub engine: Engine,
    pub http: std::net::SocketAddr,
    /// Somebody has named a node, rather than leaving it at the default.
    #[cfg_attr(not(all(feature = "appliance", target_os = "linux")), expect(dead_code))]
    pub has_node: bool,
    pub shutdown: CancellationToken,
}

impl Pool {
    pub async fn start(loaded: Loaded, options: StartOptions) -> anyhow::Result<Self> {
        for finding in &loaded.warnings {
            warn!("{finding}");
        }
        let shutdown = CancellationToken::new();
        let has_node = loaded.origins().any(|(key, _)| key.starts_with("node"));
        let data_dir = loaded.config.server.data_dir.clone();
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        let hardware = Hardware::detect(Path::new("/"), &data_dir);
        let listen = loaded.config.server.http_listen.clone();
        let listener = bind_http(&listen, &options.sockets).await?;
        let http = listener.local_addr()?;
        let engine = Engine::start(loaded, hardware, options, Bus::new(), shutdown.clone()).await?;
        let (served, stop) = (engine.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(why) = warppool_api::serve(listener, served, stop).await {
                error!("the web page has stopped: {why}");
            }
        });
        info!("the page is at http://{http}");
        Ok(Self { engine, http, has_node, shutdown })
    }
}

async fn bind_http(listen: &warppool_config::Listen, sockets: &Sockets) -> anyhow::Result<tokio::net::TcpListener> {
    let candidates = listen.candidates().with_context(|| format!("server.http_listen = {listen}"))?;
    if let Some(socket) = candidates.iter().find_map(|address| sockets.take(*address)) {
        socket.set_nonblocking(true)?;
        return Ok(tokio::net::TcpListener::from_std(socket)?);
    }
    tokio::net::TcpListener::bind(candidates.as_slice()).await.with_context(|| {
        format!("server.http_listen = {listen}: cannot listen there; is another pool running? Set it to another port")
    })
}

/// Runs until SIGINT or SIGTERM; SIGHUP reads the configuration again.
async fn serve(pool: Pool, path: &Path, overrides: &Overrides, log: &LogControl) {
    let mut signals = Signals::new();
    while let Signal::Reload = signals.next().await {
        if let Err(why) = reload(&pool.engine, path, overrides, log).await {
            error!("the configuration is not taken over, the old one stays: {why:#}");
        }
    }
    info!("stopping");
    tokio::select! {
        () = pool.engine.stop() => {}
        () = stopped_again(&mut signals) => warn!("stopped at once: what was not on disk yet is lost"),
    }
}

/// Somebody is in a hurry.
async fn stopped_again(signals: &mut Signals) {
    while let Signal::Reload = signals.next().await {}
}

async fn reload(engine: &Engine, path: &Path, overrides: &Overrides, log: &LogControl) -> anyhow::Result<()> {
    let loaded = read(path, overrides)?;
    log.apply(&loaded.config.logging)?;
    engine.reload(loaded).await?;
    Ok(())
}

fn read(path: &Path, overrides: &Overrides) -> anyhow::Result<Loaded> {
    load(path, overrides, environment()).map_err(|errors| anyhow::anyhow!("{errors}"))
}

pub fn check_config(path: &Path, overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let loaded = read(path, overrides)?;
    for finding in &loaded.warnings {
        println!("warning: {finding}");
    }
    let mut set: Vec<_> = loaded.origins().collect();
    set.sort_by(|a, b| a.0.cmp(b.0));
    for (key, place) in set {
        println!("{key}: from {place}");
    }
    println!("{} is sound", path.display());
    Ok(ExitCode::SUCCESS)
}

/// This program itself checks a ledger's file, in a process that may die of it.
pub fn checker() -> Option<Checker> {
    let program = std::env::current_exe().ok()?;
    Some(Checker::Command(program, vec!["ledger-check".into()]))
}

pub fn backup(data_dir: &Path, file: &Path) -> anyhow::Result<ExitCode> {
    let _home = home::take(data_dir)?;
    let mut options = warppool_ledger::Options::new(data_dir.join("ledger"), Bus::new());
    options.checker = checker().unwrap_or(Checker::InProcess);
    if !options.dir.exists() {
        bail!("there is no ledger in {}", data_dir.display());
    }
    let opened = Ledger::open(options);
    if !opened.message.is_empty() {
        bail!("the ledger in {} cannot be backed up: {}", data_dir.display(), opened.message);
    }
    // Beside its place first: a backup that breaks off must not stand where a good one stood.
    let temporary = beside(file);
    let out = BufWriter::new(File::create(&temporary).with_context(|| temporary.display().to_string())?);
    let summary = opened.ledger.backup(out, |_| {})?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, file)?;
    println!("{} records written to {}", summary.records, file.display());
    Ok(ExitCode::SUCCESS)
}

pub fn restore(file: &Path, data_dir: &Path) -> anyhow::Result<ExitCode> {
    let _home = home::take(data_dir)?;
    let input = File::open(file).with_context(|| file.display().to_string())?;
    let summary = backup::restore(std::io::BufReader::new(input), &data_dir.join("ledger"), |_| {})?;
    println!("{} records restored to {}", summary.records, data_dir.display());
    Ok(ExitCode::SUCCESS)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// As many open files as the system allows: each miner is one.
fn raise_limits() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard
            && let Err(why) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        {
            warn!("only {soft} files can be open at once: {why}");
        }
    }
}
