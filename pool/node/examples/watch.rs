//! Watches one Bitcoin Core and prints what the pool would mine on.
//!
//! `cargo run -p warppool-node --example watch -- regtest http://127.0.0.1:18443 ~/.bitcoin/regtest/.cookie [tcp://127.0.0.1:28332]`

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use warppool_events::Bus;
use warppool_node::{Auth, NodeSettings, Nodes, Settings};
use warppool_work::Chain;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(chain), Some(rpc_url), Some(cookie)) =
        (args.next().and_then(|c| Chain::from_core_name(&c)), args.next(), args.next())
    else {
        eprintln!("usage: watch main|testnet4|signet|regtest RPC-URL COOKIE-FILE [ZMQ-ENDPOINT]");
        return ExitCode::FAILURE;
    };
    let node =
        NodeSettings { name: "core".into(), rpc_url, auth: Auth::Cookie(cookie.into()), zmq_hashblock: args.next() };
    let (bus, shutdown) = (Bus::new(), CancellationToken::new());
    let nodes = match Nodes::start(Settings { nodes: vec![node], ..Settings::new(chain) }, &bus, &shutdown) {
        Ok(nodes) => nodes,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut templates, mut tips, mut events) = (nodes.templates(), nodes.tip_news(), bus.subscribe());
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            Some(envelope) = events.next() => println!("event     {:?}", envelope.event),
            Ok(()) = tips.changed() => {
                let news = tips.borrow_and_update().clone();
                println!("tip       {:?}", news.map(|n| n.seen.elapsed()));
            }
            Ok(()) = templates.changed() => {
                let Some(update) = templates.borrow_and_update().clone() else { continue };
                println!(
                    "template  height {} · {} transactions · {} sat · by {:?}, {:?} after the tip's news{}",
                    update.template.height,
                    update.template.transactions.len(),
                    update.template.coinbase_value,
                    update.source,
                    update.tip_seen.elapsed(),
                    if update.new_tip { " · new tip" } else { "" },
                );
            }
        }
    }
    println!("{:#?}\n{:?}", nodes.status(), nodes.latency());
    shutdown.cancel();
    nodes.stopped().await;
    ExitCode::SUCCESS
}
