//! seccomp: the rules as programs for the kernel. Three, of which the strictest verdict counts: what kills, what is
//! absent, what is allowed.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use crate::rules::{Otherwise, Rules};
use crate::syscalls::{ABSENT, KILLED, allowed};

/// The machine this is built for; a call by another machine's convention kills the process.
#[cfg(target_arch = "x86_64")]
const MACHINE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: TargetArch = TargetArch::aarch64;

/// The filters to install, in this order.
pub fn compile(rules: &Rules) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let mut calls = allowed(&rules.groups)?;
    calls.extend(any_arguments(ABSENT));
    let otherwise = match rules.otherwise {
        Otherwise::Refuse => SeccompAction::Errno(libc::EPERM as u32),
        Otherwise::Log => SeccompAction::Log,
        Otherwise::Kill => SeccompAction::KillProcess,
    };
    Ok(vec![
        program(any_arguments(KILLED).collect(), SeccompAction::Allow, SeccompAction::KillProcess)?,
        program(any_arguments(ABSENT).collect(), SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?,
        program(calls, otherwise, SeccompAction::Allow)?,
    ])
}

fn any_arguments(calls: &[c_long]) -> impl Iterator<Item = (c_long, Vec<SeccompRule>)> {
    calls.iter().map(|call| (*call, Vec::new()))
}

fn program(
    calls: BTreeMap<c_long, Vec<SeccompRule>>,
    others: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(calls, others, listed, MACHINE)?.try_into()
}
