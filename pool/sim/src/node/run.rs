//! The simulated node as a program of its own, for `warppool sim node`.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Credentials, Options, SimNode, StartError};

/// How the program runs.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    pub node: Options,
    /// Time between two blocks that others find; `None` leaves all blocks to the pool.
    pub block_every: Option<Duration>,
}

/// Runs a node until `shutdown`, and prints what a pool must be told to use it.
pub async fn run(options: RunOptions, shutdown: CancellationToken) -> Result<(), StartError> {
    let credentials = options.node.credentials.clone();
    let node = SimNode::start(options.node).await?;
    println!("RPC     {}", node.rpc_url());
    match credentials {
        Credentials::Any => println!("login   any"),
        Credentials::UserPassword { user, .. } => println!("login   user {user} and the password given"),
        Credentials::Cookie(path) => println!("login   cookie {}", path.display()),
    }
    println!("ZMQ     {}", node.zmq_url().as_deref().unwrap_or("none"));
    println!("height  {}", node.height());
    let mut tips = node.tips();
    // Without blocks of others the ticks are only not looked at.
    let period = options.block_every.unwrap_or(Duration::from_hours(1)).max(Duration::from_millis(1));
    let mut blocks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    blocks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = blocks.tick(), if options.block_every.is_some() => drop(node.mine_block().await),
            changed = tips.changed() => {
                if changed.is_err() {
                    break;
                }
                let tip = *tips.borrow_and_update();
                println!("block   {} {}", tip.height, tip.hash);
            }
        }
    }
    node.shutdown().await;
    Ok(())
}
