//! `warppool sim …`: the simulated rooms from the command line.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::to_string_pretty;
use tokio_util::sync::CancellationToken;
use warppool_config::{Overrides, environment, load};
use warppool_sim::load::{self as load_test, Mode};
use warppool_sim::miner::{Budget, Miner, MinerOptions, MinerStats, Persona};
use warppool_sim::scenario::{Group, Options, Verdict};
use warppool_sim::{node, notify};

use crate::cli::runtime;
use crate::signals::Stop;

/// About mainnet's: no simulated miner ever meets it.
const UNREACHABLE_BITS: u32 = 0x1703_4219;

#[derive(Debug, Subcommand)]
pub enum SimCommand {
    /// A simulated regtest node that validates blocks as Bitcoin Core does
    Node(NodeArgs),
    /// A simulated miner
    Miner(MinerArgs),
    /// Measure what shares cost any Stratum V1 pool
    Load(LoadArgs),
    /// Measure how fast a new block reaches the miners of any Stratum V1 pool
    Notify(NotifyArgs),
    /// Tell whole stories of this program's pool, on a simulated node with simulated miners
    Scenario(StoryArgs),
    /// Break something under this program's pool, and heal it
    Failures(StoryArgs),
    /// Attack this program's pool
    Security(SecurityArgs),
}

#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// Take addresses and the [sim] table from this configuration of a pool
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Where to answer RPC
    #[arg(long, default_value = "127.0.0.1:18443", value_name = "HOST:PORT")]
    rpc: String,
    /// Where to announce blocks
    #[arg(long, default_value = "tcp://127.0.0.1:28332", value_name = "tcp://HOST:PORT")]
    zmq: String,
    /// Transactions in every template
    #[arg(long, default_value_t = 20, value_name = "N")]
    transactions: usize,
    /// Let no miner find a block
    #[arg(long)]
    unreachable_target: bool,
    /// Let others find a block every so many seconds
    #[arg(long, value_name = "SECONDS")]
    block_every: Option<f64>,
}

#[derive(Clone, Debug, Args)]
pub struct MinerArgs {
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// The username, a Bitcoin address with or without a worker's name
    #[arg(long)]
    user: String,
    #[arg(long, default_value = "bitaxe-ultra")]
    persona: Persona,
    /// Hashes a second
    #[arg(long, default_value_t = 10_000.0)]
    hashrate: f64,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<f64>,
}

#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// The username; {n} in it stands for the number of the connection
    #[arg(long)]
    user: String,
    #[arg(long, default_value = "x")]
    password: String,
    #[arg(long, default_value_t = 50, value_name = "N")]
    connections: usize,
    /// Submits in flight on each connection
    #[arg(long, default_value_t = 16, value_name = "P")]
    pipeline: usize,
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    seconds: f64,
    /// The pool's process: adds its CPU time a share and its memory
    #[arg(long)]
    pid: Option<u32>,
    /// Send shares that are refused as too low, for pools whose lowest difficulty is high
    #[arg(long, conflicts_with = "idle")]
    refused: bool,
    /// Hold authorized connections that send nothing, for the memory of each
    #[arg(long)]
    idle: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct NotifyArgs {
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// The username; {n} in it stands for the number of the connection
    #[arg(long)]
    user: String,
    /// The pool's node, as http://user:password@host:port
    #[arg(long, value_name = "URL")]
    rpc: String,
    /// Where that node announces blocks, as tcp://host:port
    #[arg(long, value_name = "URL")]
    zmq: String,
    #[arg(long, default_value_t = 100, value_name = "N")]
    connections: usize,
    #[arg(long, default_value_t = 20, value_name = "B")]
    blocks: usize,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct StoryArgs {
    /// Which one; `all` of them, or a `list` of their names
    name: String,
    /// Print the verdicts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SecurityArgs {
    /// Which one; `all` of them, or a `list` of their names
    #[arg(default_value = "all")]
    name: String,
    /// Print the verdicts as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: SimCommand) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        match command {
            SimCommand::Scenario(StoryArgs { name, json }) => return tell(Group::Scenario, &name, json).await,
            SimCommand::Failures(StoryArgs { name, json }) => return tell(Group::Failure, &name, json).await,
            SimCommand::Security(SecurityArgs { name, json }) => return tell(Group::Security, &name, json).await,
            SimCommand::Node(args) => node(args).await?,
            SimCommand::Miner(args) => miner(args).await,
            SimCommand::Load(args) => measure_load(args).await?,
            SimCommand::Notify(args) => measure_notify(args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Cancelled by Ctrl-C and by SIGTERM.
fn until_stopped() -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        Stop::new().wait().await;
        stop.cancel();
    });
    token
}

async fn node(args: NodeArgs) -> anyhow::Result<()> {
    let mut options = node::Options {
        rpc_bind: args.rpc,
        zmq_bind: Some(args.zmq),
        transactions: args.transactions,
        ..node::Options::default()
    };
    let mut unreachable = args.unreachable_target;
    if let Some(path) = &args.config {
        let loaded = load(path, &Overrides::default(), environment()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        if let Some(access) = loaded.nodes.first() {
            access.rpc_url.trim_start_matches("http://").clone_into(&mut options.rpc_bind);
            options.zmq_bind.clone_from(&access.zmq_hashblock_addr);
        }
        options.transactions = loaded.config.sim.transactions as usize;
        unreachable |= loaded.config.sim.unreachable_target;
    }
    if unreachable {
        options.bits = UNREACHABLE_BITS;
    }
    let block_every = args.block_every.map(Duration::try_from_secs_f64).transpose()?;
    node::run(node::RunOptions { node: options, block_every }, until_stopped()).await?;
    Ok(())
}

async fn miner(args: MinerArgs) {
    let stop = until_stopped();
    let options = MinerOptions {
        budget: Budget::HashesPerSecond(args.hashrate),
        seed: u64::from(std::process::id()),
        ..MinerOptions::new(args.target, args.user, args.persona)
    };
    let miner = Miner::start(options, &stop);
    let end = Duration::try_from_secs_f64(args.seconds.unwrap_or(f64::INFINITY)).unwrap_or(Duration::MAX);
    let mut watch = miner.watch();
    let print = async {
        while watch.changed().await.is_ok() {
            let stats = watch.borrow_and_update().clone();
            println!("{}", line(&stats));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(end) => {}
        () = print => {}
    }
    println!("{}", line(&miner.stop().await));
}

/// A miner's state in one line.
fn line(stats: &MinerStats) -> String {
    let (accepted, rejected, blocks) = (stats.accepted, stats.rejected, stats.blocks);
    let state = if stats.authorized { "mining" } else { stats.last_error.as_deref().unwrap_or("connecting") };
    format!("{state}: {accepted} accepted, {rejected} rejected, {blocks} blocks, difficulty {}", stats.difficulty)
}

async fn measure_load(args: LoadArgs) -> anyhow::Result<()> {
    let options = load_test::Options {
        password: args.password,
        connections: args.connections,
        pipeline: args.pipeline,
        seconds: args.seconds,
        pid: args.pid,
        mode: match (args.idle, args.refused) {
            (true, _) => Mode::Idle,
            (_, true) => Mode::Refused,
            _ => Mode::Accepted,
        },
        ..load_test::Options::new(args.target, args.user)
    };
    let report = load_test::run(options).await?;
    if args.json {
        println!("{}", to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

async fn measure_notify(args: NotifyArgs) -> anyhow::Result<()> {
    let options = notify::Options {
        connections: args.connections,
        blocks: args.blocks,
        ..notify::Options::new(args.target, args.user, args.rpc, args.zmq)
    };
    let report = notify::run(options).await?;
    if args.json {
        println!("{}", to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Runs one story, or all, against this very program; success only when all pass.
async fn tell(group: Group, name: &str, json: bool) -> anyhow::Result<ExitCode> {
    if name == "list" {
        list(group, json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options { program: std::env::current_exe().context("this program does not know where it lies")? };
    let told = |verdict: &Verdict| {
        if !json {
            println!("{verdict}");
        }
    };
    let stories = async {
        if name == "all" {
            Ok(group.all(&options, told).await)
        } else {
            group.run(name, &options).await.inspect(told).map(|verdict| vec![verdict])
        }
    };
    // Dropped on a signal, so that no pool and no file system of its own is left behind.
    let mut stop = Stop::new();
    let verdicts = tokio::select! {
        verdicts = stories => verdicts?,
        () = stop.wait() => anyhow::bail!("interrupted"),
    };
    let passed = verdicts.iter().filter(|verdict| verdict.passed).count();
    if json {
        println!("{}", to_string_pretty(&verdicts)?);
    } else {
        println!("{passed} of {} passed", verdicts.len());
    }
    Ok(if passed == verdicts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(group: Group, json: bool) -> anyhow::Result<()> {
    let entries: Vec<_> = group.list().collect();
    if json {
        println!("{}", to_string_pretty(&entries)?);
        return Ok(());
    }
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in entries {
        println!("{:width$}  {}", entry.name, entry.about);
    }
    Ok(())
}
