//! Landlock: which folders and TCP ports the process can reach. What the kernel is too old for is left out and told.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};

use crate::enter::{Error, Landlock};
use crate::rules::{Access, Ports, Rules};

/// The newest version whose rights these rules were written for; it stands for all a 6.12 kernel has.
const KNOWN: ABI = ABI::V6;

/// Shuts the calling thread, and all it starts, in. Gives how far the kernel went along, and the paths that were not
/// there.
pub fn restrict(rules: &Rules) -> Result<(Landlock, Vec<PathBuf>), Error> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.scope(Scope::from_all(KNOWN))?;
    for (ports, access) in [(&rules.bind, AccessNet::BindTcp), (&rules.connect, AccessNet::ConnectTcp)] {
        if matches!(ports, Ports::Only(_)) {
            ruleset = ruleset.handle_access(access)?;
        }
    }
    let mut created = ruleset.create()?;
    let mut missing = Vec::new();
    for (path, access) in &rules.paths {
        let Ok(metadata) = path.metadata() else {
            missing.push(path.clone());
            continue;
        };
        let mut rights = rights(*access);
        if !metadata.is_dir() {
            rights &= AccessFs::from_file(KNOWN);
        }
        created = created.add_rule(PathBeneath::new(PathFd::new(path)?, rights))?;
    }
    for (ports, access) in [(&rules.bind, AccessNet::BindTcp), (&rules.connect, AccessNet::ConnectTcp)] {
        let Ports::Only(ports) = ports else { continue };
        for port in ports {
            created = created.add_rule(NetPort::new(*port, access))?;
        }
    }
    let status = created.restrict_self()?;
    let reached = match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::Absent,
    };
    Ok((reached, missing))
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match access {
        Access::Read => read,
        Access::Execute => AccessFs::ReadFile | AccessFs::Execute,
        // No devices, which would need a capability anyhow, and no ioctl on those that are there.
        Access::Write => {
            read | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::MakeSock
                | AccessFs::MakeSym
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer
        }
    }
}
