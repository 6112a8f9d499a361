//! `warppool ota`: bundles made, looked at and signed anywhere; installed and judged on an appliance, or on its disk in a reader.

mod device;
mod files;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Clone, Debug, Args)]
pub struct OtaArgs {
    #[command(subcommand)]
    command: OtaCommand,
    /// Where the appliance's first process listens
    #[arg(long, global = true, value_name = "SOCKET", env = "WARPPOOL_SYSTEM_SOCKET",
        default_value = warppool_protocol::SOCKET)]
    socket: PathBuf,
}

/// A disk that nothing runs from, and whom to believe about it.
#[derive(Clone, Debug, Args)]
pub struct Elsewhere {
    /// Work on this disk or disk image, from which nothing runs, instead of asking this appliance
    #[arg(long, value_name = "DISK")]
    pub disk: Option<PathBuf>,
    /// trust.toml with the keys that count there
    #[arg(long, value_name = "FILE", default_value = warppool_ota::trust::PATH)]
    pub trust: PathBuf,
}

#[derive(Clone, Debug, Subcommand)]
enum OtaCommand {
    /// Make a key pair that signs bundles, and print its public half for trust.toml
    Keygen { file: PathBuf },
    /// Make a signed bundle of a slot image, or sign a feed written as TOML
    Sign {
        /// A slot image, or a feed that ends in .toml
        file: PathBuf,
        /// The private key
        #[arg(long, value_name = "FILE", env = "WARPPOOL_SIGNING_KEY", hide_env_values = true)]
        key: PathBuf,
        /// Where the signed file goes
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// trust.toml by which the slot image's own manifest is good
        #[arg(long, value_name = "FILE", default_value = warppool_ota::trust::PATH)]
        trust: PathBuf,
        /// The oldest boot loader that can start it: its build time in Unix seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        minimum_eeprom: u64,
    },
    /// Show what a bundle, a slot's manifest or a feed says, and who signed it
    Inspect {
        file: PathBuf,
        /// Check the signature by this trust.toml
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
    },
    /// Put a bundle into the other slot and try it
    Install {
        /// A file, an http(s) address, "usb" for a stick that is plugged in, "feed" for what the feed offers
        #[arg(value_name = "FILE|URL|usb|feed")]
        from: String,
        #[command(flatten)]
        elsewhere: Elsewhere,
        /// On a disk elsewhere: an older version is no mistake
        #[arg(long, requires = "disk")]
        allow_downgrade: bool,
    },
    /// Show slots, trial, updates and what happened
    Status {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Show the last lines of the appliance's log, of all its programs
    Log {
        #[arg(long, short = 'n', default_value_t = 100)]
        lines: u32,
    },
    /// Ask the feed whether there is something newer
    Check,
    /// Keep the version on trial now; on a disk elsewhere, start the other slot from now on
    Commit {
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Go back to the other slot
    Rollback {
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Compare every file of the slots with the signed manifests
    Verify {
        /// A slot image or disk image instead of this appliance's slots
        file: Option<PathBuf>,
        /// trust.toml with the keys that count for FILE
        #[arg(long, value_name = "FILE", default_value = warppool_ota::trust::PATH)]
        trust: PathBuf,
    },
}

pub fn run(args: OtaArgs) -> anyhow::Result<ExitCode> {
    let socket = args.socket.as_path();
    match args.command {
        OtaCommand::Keygen { file } => files::keygen(&file),
        OtaCommand::Sign { file, key, output, trust, minimum_eeprom } => {
            files::sign(&file, &key, &trust, &output, minimum_eeprom)
        }
        OtaCommand::Inspect { file, trust } => files::inspect(&file, trust.as_deref()),
        OtaCommand::Verify { file: Some(file), trust } => files::verify(&file, &trust),
        OtaCommand::Verify { file: None, .. } => device::verify(socket),
        OtaCommand::Install { from, elsewhere: Elsewhere { disk: Some(disk), trust }, allow_downgrade } => {
            files::install(&disk, &trust, &from, allow_downgrade)
        }
        OtaCommand::Install { from, .. } => device::install(socket, &from),
        OtaCommand::Status { elsewhere: Elsewhere { disk: Some(disk), trust }, .. } => files::status(&disk, &trust),
        OtaCommand::Status { json, .. } => device::status(socket, json),
        OtaCommand::Log { lines } => device::log(socket, lines),
        OtaCommand::Check => device::check(socket),
        OtaCommand::Commit { elsewhere: Elsewhere { disk: Some(disk), trust } }
        | OtaCommand::Rollback { elsewhere: Elsewhere { disk: Some(disk), trust } } => files::switch(&disk, &trust),
        OtaCommand::Commit { .. } => device::commit(socket),
        OtaCommand::Rollback { .. } => device::rollback(socket),
    }
}
