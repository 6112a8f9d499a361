//! What can go wrong outside the guest.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use warppool_firmware::Stuck;

/// Why the machine does not do what was asked.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{what} {path}: {why}")]
    File { what: &'static str, path: PathBuf, why: io::Error },
    #[error("{program} does not start: {why}; install it (Debian: apt-get install qemu-system-arm)")]
    NoQemu { program: &'static str, why: io::Error },
    #[error("the loader boots nothing from this disk: {0}")]
    Stuck(#[from] Stuck),
    #[error("QEMU ended: {0}")]
    QemuEnded(String),
    #[error("QEMU refuses {command}: {why}")]
    Refused { command: String, why: String },
    #[error("QEMU's device tree cannot be changed: {0}")]
    Tree(String),
    #[error("not within {within:?}: {what}; the last lines were:\n{tail}")]
    Late { what: String, within: Duration, tail: String },
    #[error("the machine ended ({end}) before {what}; the last lines were:\n{tail}")]
    Ended { what: String, end: String, tail: String },
    #[error("the machine is off")]
    Off,
    #[error("port {0} of the machine is not forwarded")]
    NoPort(u16),
    #[error("{path} is no log of writes: {why}")]
    NoLog { path: PathBuf, why: &'static str },
}

/// As it is displayed: a test that unwraps it shows the console's last lines as lines.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Names the file in an I/O error.
pub(crate) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |why| Error::File { what, path, why }
}
