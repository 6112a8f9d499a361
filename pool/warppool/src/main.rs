//! The `warppool` binary: command line and wiring, nothing else.

#[cfg(all(feature = "appliance", target_os = "linux"))]
mod appliance;
mod cli;
mod crash;
mod demo;
mod home;
mod keys;
mod logging;
mod ota;
mod run;
mod signals;
mod sim;
mod status;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    #[cfg(all(feature = "appliance", target_os = "linux"))]
    if appliance::is_init() {
        return told(appliance::init());
    }
    told(cli::Cli::parse().command.run())
}

fn told(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(why) => {
            eprintln!("warppool: {why:#}");
            ExitCode::FAILURE
        }
    }
}
