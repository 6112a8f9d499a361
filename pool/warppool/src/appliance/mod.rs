//! The appliance's side of the binary: PID 1, and the roles its children play.

mod heartbeat;
mod role;

use std::process::ExitCode;

pub use role::{RoleArgs, role};

/// Whether the kernel started this program as its first, or somebody named it so.
pub fn is_init() -> bool {
    std::env::args_os().next().is_some_and(|name| name == "/init" || name == "init") && std::process::id() == 1
}

/// PID 1. Comes back only where this process is not the first one.
pub fn init() -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        std::process::id() == 1,
        "this is the appliance's first process, which the kernel starts; on this machine use warppool run"
    );
    warppool_system::main()
}
