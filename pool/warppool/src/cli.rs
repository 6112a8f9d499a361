//! The command line, and which room each command leads to.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use warppool_config::Overrides;

use crate::{demo, keys, ota, run, sim, status};

/// A Bitcoin solo mining pool for your own miners.
///
/// New here? `warppool demo` shows a pool at work, with a simulated node and simulated miners, and needs nothing else.
/// With a Bitcoin Core of your own, `warppool check-config FILE` looks a configuration over and `warppool run --config FILE`
/// mines with it; point your miners at this machine, port 3333, with your Bitcoin address as username.
#[derive(Debug, Parser)]
#[command(name = "warppool", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the pool on your Bitcoin Core
    Run(RunArgs),
    /// Show the pool at work on a simulated node with simulated miners
    Demo(demo::DemoArgs),
    /// Look a configuration over without running it
    CheckConfig(CheckArgs),
    /// Print a configuration file with every key, its default and its meaning
    DefaultConfig,
    /// Ask a running pool how it is
    Status(status::StatusArgs),
    /// Make keys: a TLS certificate for miners, credentials for Bitcoin Core
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Updates of an appliance: bundles made, looked at, installed, judged
    Ota(ota::OtaArgs),
    /// Simulate: nodes, miners, load, faults, whole scenarios
    #[command(subcommand)]
    Sim(sim::SimCommand),
    /// Walk through a ledger's file; run by the pool itself before it opens one
    #[command(hide = true)]
    LedgerCheck { dir: PathBuf },
    /// Be the appliance's first process
    #[cfg(all(feature = "appliance", target_os = "linux"))]
    #[command(hide = true)]
    Init,
    /// Be one of the appliance's processes
    #[cfg(all(feature = "appliance", target_os = "linux"))]
    #[command(hide = true)]
    Role(crate::appliance::RoleArgs),
    /// Write a backup of a stopped pool's ledger to a file
    Backup { data_dir: PathBuf, file: PathBuf },
    /// Put a backup in the place of a stopped pool's ledger
    Restore { file: PathBuf, data_dir: PathBuf },
}

/// What can be set from the command line; it wins over environment and file.
#[derive(Clone, Debug, Args)]
pub struct SettingArgs {
    /// Set one key, as in --set stratum.listen=:3333; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Do without ZMQ: learn of blocks by long poll and polling
    #[arg(long)]
    no_zmq: bool,
    /// Do not listen for miners with TLS
    #[arg(long)]
    no_tls: bool,
    /// The file with the node's password [default: secrets.toml beside the configuration]
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

impl SettingArgs {
    pub fn overrides(&self) -> anyhow::Result<Overrides> {
        let mut overrides = Overrides {
            no_zmq: self.no_zmq,
            no_tls: self.no_tls,
            secrets: self.secrets.clone(),
            ..Overrides::default()
        };
        for text in &self.set {
            overrides.push_set(text).map_err(|finding| anyhow::anyhow!("{finding}"))?;
        }
        Ok(overrides)
    }
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "WARPPOOL_CONFIG")]
    pub config: PathBuf,
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Keep statistics in memory only, leaving the ledger's file alone
    #[arg(long)]
    pub memory_ledger: bool,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The configuration file
    file: PathBuf,
    #[command(flatten)]
    settings: SettingArgs,
}

impl Command {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => run::run(&args),
            Self::Demo(args) => demo::demo(&args),
            Self::CheckConfig(args) => run::check_config(&args.file, &args.settings.overrides()?),
            Self::DefaultConfig => {
                print!("{}", warppool_config::default_toml());
                Ok(ExitCode::SUCCESS)
            }
            Self::Status(args) => status::status(&args),
            Self::Keys(command) => keys::run(&command),
            Self::Ota(args) => ota::run(args),
            Self::Sim(command) => sim::run(command),
            Self::LedgerCheck { dir } => match warppool_ledger::check::walk(&dir) {
                Ok(report) => {
                    println!("{} records, {} bytes", report.records, report.bytes);
                    Ok(ExitCode::SUCCESS)
                }
                Err(damage) => {
                    eprintln!("{damage}");
                    Ok(ExitCode::FAILURE)
                }
            },
            #[cfg(all(feature = "appliance", target_os = "linux"))]
            Self::Init => crate::appliance::init(),
            #[cfg(all(feature = "appliance", target_os = "linux"))]
            Self::Role(args) => crate::appliance::role(args),
            Self::Backup { data_dir, file } => run::backup(&data_dir, &file),
            Self::Restore { file, data_dir } => run::restore(&file, &data_dir),
        }
    }
}

/// A runtime with all threads the machine has, for commands that serve.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the asynchronous runtime does not start")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
