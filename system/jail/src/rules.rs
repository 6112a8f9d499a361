//! What a child may do once it has shut itself in: folders, TCP ports and system calls.

use std::path::{Path, PathBuf};

use crate::syscalls::Group;

/// The rules of one role. Nothing is allowed that is not named here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub(crate) paths: Vec<(PathBuf, Access)>,
    pub(crate) bind: Ports,
    pub(crate) connect: Ports,
    pub(crate) groups: Vec<Group>,
    pub(crate) otherwise: Otherwise,
}

/// What is allowed below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Files are read and folders listed.
    Read,
    /// Files are also made, written, renamed and removed; none can be executed.
    Write,
    /// A file is read and executed.
    Execute,
}

/// TCP ports, for listening or as the far end. Enforced from Linux 6.7 on (Landlock's fourth version).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    Any,
    Only(Vec<u16>),
}

/// What becomes of a system call that is neither allowed nor dangerous enough to be killed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// It fails with EPERM.
    #[default]
    Refuse,
    /// It goes through and the kernel logs it: for finding out what a new dependency needs, never for the field.
    Log,
    /// The process is killed by SIGSYS: for tests that must not overlook one.
    Kill,
}

impl Rules {
    /// Nothing but computing, and reading and writing what is already open.
    pub fn nothing() -> Self {
        Self {
            paths: Vec::new(),
            bind: Ports::Only(Vec::new()),
            connect: Ports::Only(Vec::new()),
            groups: vec![Group::Basic],
            otherwise: Otherwise::Refuse,
        }
    }

    /// Allows an access below a path, or to the one file it names. A path that is not there is skipped, and told in the
    /// report.
    #[must_use]
    pub fn path(mut self, path: impl AsRef<Path>, access: Access) -> Self {
        self.paths.push((path.as_ref().to_owned(), access));
        self
    }

    /// Allows system calls.
    #[must_use]
    pub fn groups(mut self, groups: &[Group]) -> Self {
        self.groups.extend(groups.iter().filter(|group| **group != Group::Basic));
        self
    }

    /// Where it may listen.
    #[must_use]
    pub fn bind(mut self, ports: Ports) -> Self {
        self.bind = ports;
        self
    }

    /// Whom it may connect to.
    #[must_use]
    pub fn connect(mut self, ports: Ports) -> Self {
        self.connect = ports;
        self
    }

    /// What becomes of other system calls.
    #[must_use]
    pub fn otherwise(mut self, otherwise: Otherwise) -> Self {
        self.otherwise = otherwise;
        self
    }
}
