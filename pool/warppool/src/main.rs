//! The `warppool` binary: command line and wiring, nothing else.

mod cli;
mod crash;
mod demo;
mod home;
mod keys;
mod logging;
mod run;
mod signals;
mod sim;
mod status;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.command.run() {
        Ok(code) => code,
        Err(why) => {
            eprintln!("warppool: {why:#}");
            ExitCode::FAILURE
        }
    }
}
