//! The children that work on slots and ask the feed: their half of the conversation with [`super::jobs`].

use std::io::Write as _;
use std::os::fd::{IntoRawFd as _, RawFd};
use std::path::Path;

use warppool_jail::{Group, Rules, ota_check_rules, ota_verify_rules, ota_worker_rules};
use warppool_ota::worker::{self, BundleFrom, Frames, Job};
use warppool_ota::{Trust, trust};

use crate::durable;
use crate::roles::shut_in;

pub const WORKER: &str = "ota-worker";
pub const VERIFY: &str = "ota-verify";
pub const CHECK: &str = "ota-check";

/// Stand for descriptors whose numbers only the child knows; it finds them by [`name`].
pub const TARGET: RawFd = -2;
pub const RUNNING: RawFd = -3;
pub const BUNDLE: RawFd = -4;

pub fn name(stand_in: RawFd) -> &'static str {
    match stand_in {
        TARGET => "target",
        RUNNING => "running",
        _ => "bundle",
    }
}

const MAX_FILE: usize = 64 * 1024;
const MAX_ORDER: u64 = 1 << 20;

type Failure = Box<dyn std::error::Error>;

/// Whom this image believes.
pub fn trust() -> Result<Trust, String> {
    let bytes = durable::read(Path::new(trust::PATH), MAX_FILE).map_err(|why| format!("{}: {why}", trust::PATH))?;
    Trust::parse(&String::from_utf8_lossy(&bytes)).map_err(|why| why.to_string())
}

/// `None` for a role that is not one of these.
pub fn role(role: &str) -> Option<Result<(), Failure>> {
    let rules = match role {
        // It writes to its descriptors alone; the folder is for what a library may want to put aside.
        WORKER => ota_worker_rules(Path::new("/tmp")),
        // No folder is open to it, but it asks below /dev/fd whether it has its descriptor.
        VERIFY => ota_verify_rules().groups(&[Group::Files]),
        CHECK => ota_check_rules(),
        _ => return None,
    };
    Some(serve(&rules))
}

fn serve(rules: &Rules) -> Result<(), Failure> {
    let mut files = warppool_jail::files()?;
    shut_in(rules)?;
    let mut order = Frames::<Job>::default();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(std::io::stdin().lock(), MAX_ORDER), &mut bytes)?;
    order.push(&bytes);
    let mut job = order.next()?.ok_or("PID 1 gave no job: only PID 1 starts this")?;
    let mut fill = |stand_in: &mut RawFd| {
        if let Some(fd) = files.remove(name(*stand_in)) {
            *stand_in = fd.into_raw_fd();
        }
    };
    match &mut job {
        Job::Install(job) => {
            fill(&mut job.target);
            if let Some(running) = &mut job.running {
                fill(running);
            }
            if let BundleFrom::File(fd) | BundleFrom::Stick(fd) = &mut job.bundle {
                fill(fd);
            }
        }
        Job::Copy { from, to, .. } => {
            fill(from);
            fill(to);
        }
        Job::Verify { slot, .. } => fill(slot),
        Job::Check(_) => {}
    }
    let mut input = Vec::new();
    worker::send(&mut input, &job)?;
    let mut output = std::io::stdout();
    worker::serve(&mut input.as_slice(), &mut output)?;
    Ok(output.flush()?)
}
