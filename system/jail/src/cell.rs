//! What a child is given before it starts: its user, what is left of root's powers, its limits, its environment and its
//! sockets.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::thread::CapabilitySet;

/// The cell of one child; [`crate::Confine::confine`] puts a command into it. It can be kept and used for every
/// restart.
///
/// By default a child has no capabilities and can never gain any, dumps no core, leads a session of its own, makes
/// files that only it can read, and starts with an empty environment. It is not told of its parent's death: PID 1
/// starts itself anew without losing its children.
#[derive(Clone, Debug)]
pub struct Cell {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) kept: CapabilitySet,
    pub(crate) open_files: Option<u64>,
    pub(crate) memory: Option<u64>,
    pub(crate) out_of_memory: Option<i16>,
    pub(crate) umask: u32,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) sockets: Vec<Passed>,
    pub(crate) files: Vec<Passed>,
}

/// An open descriptor under a name.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub name: String,
    pub fd: Arc<OwnedFd>,
}

impl Cell {
    /// A cell for a user and its group, without supplementary groups.
    pub fn new(uid: u32, gid: u32) -> Self {
        Self {
            uid,
            gid,
            kept: CapabilitySet::empty(),
            open_files: None,
            memory: None,
            out_of_memory: None,
            umask: 0o077,
            environment: Vec::new(),
            sockets: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Leaves the child these capabilities, also across its own exec (they are ambient); all others are gone for good.
    #[must_use]
    pub fn keep(mut self, capabilities: CapabilitySet) -> Self {
        self.kept = capabilities;
        self
    }

    /// How many files and sockets it may have open, both as its soft and its hard limit.
    #[must_use]
    pub fn open_files(mut self, count: u64) -> Self {
        self.open_files = Some(count);
        self
    }

    /// How many bytes of address space it may have. Not for the pool: LMDB reserves its whole map at the start.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// How soon the kernel ends it when memory runs out, from -1000 (never) to 1000 (first).
    #[must_use]
    pub fn out_of_memory(mut self, adjustment: i16) -> Self {
        self.out_of_memory = Some(adjustment.clamp(-1000, 1000));
        self
    }

    /// The permission bits that files it makes do not get; 0o077 unless told.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.umask = mask & 0o777;
        self
    }

    /// A variable of its environment, which is empty otherwise.
    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A listening socket it finds by [`crate::sockets`] under this name: a word of letters, digits and `-`.
    pub fn socket(mut self, name: &str, socket: impl AsFd) -> io::Result<Self> {
        self.sockets.push(Passed::new(name, socket)?);
        Ok(self)
    }

    /// Any other open file, such as a partition, that it finds by [`crate::files`] under this name.
    pub fn file(mut self, name: &str, file: impl AsFd) -> io::Result<Self> {
        self.files.push(Passed::new(name, file)?);
        Ok(self)
    }
}

impl Passed {
    fn new(name: &str, fd: impl AsFd) -> io::Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            let why = format!("{name:?} does not name a descriptor: use letters, digits and -");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        // A copy of our own cannot be closed, and its number taken by another file, between two starts of the child.
        Ok(Self { name: name.to_owned(), fd: Arc::new(fd.as_fd().try_clone_to_owned()?) })
    }
}
