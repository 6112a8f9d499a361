//! Starts inmates and tells what became of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use warppool_jail::{Cell, Confine as _};

/// A user that nobody else is.
pub const INMATE: u32 = 64_101;

/// What became of what an inmate tried.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Found(String),
    /// The system call's error.
    Refused(i32),
    /// The signal it died of.
    Killed(i32),
}

/// Folders as the pool has them, and the inmate's program where any user can reach it.
pub struct Prison {
    folder: TempDir,
    program: PathBuf,
}

impl Prison {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().expect("a folder");
        let test = std::env::current_exe().expect("this program's path");
        let built = test.ancestors().nth(2).expect("a target folder").join("examples/inmate");
        let program = folder.path().join("inmate");
        fs::copy(&built, &program)
            .unwrap_or_else(|why| panic!("{}: {why}; cargo build -p warppool-jail --example inmate", built.display()));
        fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it can be executed");
        let prison = Self { folder, program };
        for own in ["data", "run"] {
            fs::create_dir(prison.path(own)).expect("a folder of the inmate's");
            if is_root() {
                chown(prison.path(own), Some(INMATE), Some(INMATE)).expect("owned by the inmate");
            }
        }
        fs::write(prison.path("others"), "private").expect("a file of somebody else's");
        prison
    }

    /// A path in the prison; the inmate's own are below `data` and `run`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that can still be put into a cell.
    pub fn command(&self, role: &str, action: &str, what: impl AsRef<Path>) -> Command {
        let mut command = Command::new(&self.program);
        command.args([role, action]).arg(what.as_ref()).stdin(Stdio::null());
        command
    }

    /// Lets an inmate try something as the user who runs the tests.
    pub fn tries(&self, role: &str, action: &str, what: impl AsRef<Path>) -> Outcome {
        let mut command = self.command(role, action, what);
        judge(self.furnish(&mut command).output())
    }

    /// The same, and a system call that the role's rules do not name kills it.
    pub fn tries_strictly(&self, role: &str, action: &str, what: impl AsRef<Path>) -> Outcome {
        let mut command = self.command(role, action, what);
        judge(self.furnish(&mut command).env("INMATE_STRICT", "1").output())
    }

    /// Lets an inmate try something in a cell.
    pub fn tries_in(&self, cell: &Cell, role: &str, action: &str, what: impl AsRef<Path>) -> Outcome {
        let mut command = self.command(role, action, what);
        judge(self.furnish(command.confine(cell)).output())
    }

    fn furnish<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("INMATE_DATA", self.path("data")).env("INMATE_RUN", self.path("run"))
    }
}

pub fn judge(output: std::io::Result<Output>) -> Outcome {
    let output = output.expect("the inmate starts");
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Outcome::Found(said),
        (Some(1), _) => Outcome::Refused(said.parse().expect("the error's number")),
        (None, Some(signal)) => Outcome::Killed(signal),
        _ => panic!("the inmate: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// Whether cells can be made here.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this kernel enforces folder rules; says NOT RUN when it does not.
pub fn folders_are_shut(prison: &Prison) -> bool {
    reports(prison, "folders", "folder rules")
}

/// Whether this kernel also enforces rules for TCP ports and signals; says NOT RUN when it does not.
pub fn ports_and_signals_are_shut(prison: &Prison) -> bool {
    reports(prison, "folders and ports are shut off", "rules for ports and signals")
}

fn reports(prison: &Prison, held: &str, what: &str) -> bool {
    let Outcome::Found(report) = prison.tries("pool", "report", "") else { panic!("no report") };
    let holds = report.contains(held) && !report.contains("NOT shut off");
    if !holds {
        println!("NOT RUN: this kernel does not enforce all of Landlock's {what}");
    }
    holds
}
