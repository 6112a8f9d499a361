//! `warppool demo`: the whole pool on a simulated node, with simulated miners, and nothing to set up.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;
use warppool_config::{Loaded, environment, parse};
use warppool_engine::StartOptions;
use warppool_events::{BlockFate, Event};
use warppool_sim::miner::{Budget, Miner, MinerOptions, Persona};
use warppool_sim::node::{self, SimNode};
use warppool_work::{Chain, address_of_script};

use crate::cli::{SettingArgs, runtime};
use crate::run::{Pool, checker};
use crate::{home, logging};

/// About half a million hashes a block: the demo's miners find one every ten seconds or so.
const DEMO_BITS: u32 = 0x1e1f_ffff;
/// About eight thousand hashes a block: one is found within moments.
const ONCE_BITS: u32 = 0x1f07_ffff;
/// Hashes a second of one simulated miner: enough to see something, little enough not to warm the machine.
const HASHES_PER_SECOND: f64 = 4_000.0;
/// Between two blocks that others find.
const FOREIGN_BLOCK: Duration = Duration::from_mins(1);
/// How long `--once` waits for an accepted block.
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// End with success after the first accepted block
    #[arg(long)]
    once: bool,
    /// How many miners to simulate
    #[arg(long, default_value_t = 6, value_name = "N")]
    miners: usize,
    /// Keep the demo's data here instead of throwing it away at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArgs,
}

pub fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let temporary = tempfile::tempdir().context("no folder for the demo's data can be made")?;
    let data = args.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    let data = std::path::absolute(data)?;
    runtime()?.block_on(async {
        let bits = if args.once { ONCE_BITS } else { DEMO_BITS };
        let node = SimNode::start(node::Options { bits, transactions: 200, ..node::Options::default() }).await?;
        let loaded = configuration(&node, &data, args)?;
        let log = logging::start(&loaded.config.logging)?;
        let _home = home::take(&data)?;
        let pool = Pool::start(loaded, StartOptions { checker: checker(), ..StartOptions::default() }).await?;
        let miners = start_miners(&pool, args.miners)?;
        let code = if args.once {
            first_block(&pool).await
        } else {
            greet(&pool);
            tokio::spawn(others(node.clone(), pool.shutdown.clone()));
            tokio::signal::ctrl_c().await.ok();
            println!("stopping");
            ExitCode::SUCCESS
        };
        for miner in miners {
            miner.stop().await;
        }
        pool.engine.stop().await;
        node.shutdown().await;
        drop(log);
        Ok(code)
    })
}

/// The demo's own configuration; flags and environment still win over it.
fn configuration(node: &SimNode, data: &Path, args: &DemoArgs) -> anyhow::Result<Loaded> {
    let zmq = node.zmq_url().unwrap_or_default();
    let text = format!(
        r#"
        [logging]
        filter = "warn"
        journald = "off"
        [mining]
        chain = "regtest"
        payout_address = "{operator}"
        [node]
        name = "simulated"
        rpc_url = "{rpc}"
        zmq_hashblock_addr = "{zmq}"
        [server]
        data_dir = '{data}'
        [vardiff]
        target_seconds_per_share = 3.0
        min_diff = 1e-8
        initial_diff = 1e-6
        # The devices simulated here ask for the difficulty of the real ones, which are a thousand million times as fast.
        max_diff = 1e-4
        [ledger]
        commit_seconds = 5
        "#,
        operator = address(0),
        rpc = node.rpc_url().replace("http://", "http://demo:demo@"),
        data = data.display(),
    );
    let overrides = args.settings.overrides()?;
    parse(Path::new("(the demo's configuration)"), text.as_bytes(), None, &overrides, environment())
        .map_err(|errors| anyhow::anyhow!("{errors}"))
}

/// A regtest address of its own for each number.
fn address(n: u8) -> String {
    let script = [&[0x00, 0x14][..], &[n.wrapping_add(1); 20]].concat();
    address_of_script(&script, Chain::Regtest).expect("a witness program of 20 bytes has an address")
}

fn start_miners(pool: &Pool, count: usize) -> anyhow::Result<Vec<Miner>> {
    let port = pool.engine.bound().plain.context("the pool listens for miners")?.port();
    let personas: Vec<Persona> = Persona::honest().collect();
    let start = |n: usize| {
        let persona = personas[n % personas.len()];
        // Some share an owner, as at home.
        let user = format!("{}.{}-{}", address((n / 2) as u8 + 1), persona.name(), n + 1);
        let options = MinerOptions {
            budget: Budget::HashesPerSecond(HASHES_PER_SECOND * (1.0 + n as f64 / 3.0)),
            seed: n as u64 + 1,
            ..MinerOptions::new(format!("127.0.0.1:{port}"), user, persona)
        };
        Miner::start(options, &pool.shutdown)
    };
    Ok((0..count).map(start).collect())
}

fn greet(pool: &Pool) {
    let bound = pool.engine.bound();
    println!();
    println!("  WarpPool is at work on a simulated regtest node, with simulated miners.");
    println!();
    println!("  Open the page      http://{}", pool.http);
    if let Some(plain) = bound.plain {
        println!("  Point a miner at   stratum+tcp://127.0.0.1:{}", plain.port());
        println!("  with the username  {}.myminer", address(0));
    }
    println!();
    println!("  No login is needed: the page answers this machine alone.");
    println!("  End with Ctrl-C. To mine for real: warppool run --config FILE");
    println!();
}

/// Other people's blocks.
async fn others(node: SimNode, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(FOREIGN_BLOCK) => drop(node.mine_block().await),
        }
    }
}

async fn first_block(pool: &Pool) -> ExitCode {
    let mut events = pool.engine.bus().subscribe_after(0);
    let accepted = async {
        while let Some(envelope) = events.next().await {
            if let Event::BlockFate { hash, height, fate: BlockFate::Confirmed, .. } = &envelope.event {
                return Some((hash.clone(), *height));
            }
        }
        None
    };
    if let Ok(Some((hash, height))) = tokio::time::timeout(PATIENCE, accepted).await {
        println!("block {hash} at height {height} was found and accepted");
        ExitCode::SUCCESS
    } else {
        eprintln!("no block was accepted within {PATIENCE:?}");
        ExitCode::FAILURE
    }
}
