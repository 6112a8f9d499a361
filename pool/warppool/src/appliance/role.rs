//! What a child of PID 1 does, each in a jail of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use warppool_engine::Sockets;

use super::heartbeat;
use crate::cli::RunArgs;
use crate::run;

/// Where the pool keeps what passes with it.
const RUN_DIR: &str = "/run/warppool/pool";

#[derive(Clone, Debug, Args)]
pub struct RoleArgs {
    #[command(subcommand)]
    role: Role,
}

#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// The pool
    Pool(RunArgs),
    /// One of PID 1's helpers: takes its order from standard input, reports on standard output
    #[command(external_subcommand)]
    Helper(Vec<String>),
}

pub fn role(args: RoleArgs) -> anyhow::Result<ExitCode> {
    match args.role {
        Role::Pool(args) => pool(&args),
        Role::Helper(words) => {
            let Some((name, arguments)) = words.split_first() else { bail!("a role has a name") };
            warppool_system::role(name, arguments).with_context(|| format!("there is no role {name}"))
        }
    }
}

fn pool(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.config.parent().unwrap_or(Path::new("/data/pool"));
    let report = warppool_jail::enter(&warppool_jail::pool_rules(data_dir, Path::new(RUN_DIR)))?;
    println!("{report}");
    let sockets = warppool_jail::sockets().context("the ports that PID 1 opened")?;
    let socket = std::env::var_os("WARPPOOL_SYSTEM_SOCKET")
        .map_or_else(|| PathBuf::from(warppool_protocol::SOCKET), PathBuf::from);
    run::run_in(args, &Sockets::new(sockets.into_values()), |pool| {
        let about = heartbeat::About { http: pool.http, has_node: pool.has_node };
        heartbeat::start(pool.engine.clone(), about, socket);
    })
}
