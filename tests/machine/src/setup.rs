//! What a machine consists of.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// How a further disk is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    Nvme,
    /// A stick on an xHCI controller.
    Usb,
}

/// A further disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub disk: PathBuf,
    pub bus: Bus,
    /// Stands before the boot disk, so that the guest may find it first.
    pub first: bool,
}

/// A machine to be; [`crate::Machine::new`] makes it.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) disk: PathBuf,
    pub(crate) copy: bool,
    pub(crate) least: u64,
    pub(crate) memory: u32,
    pub(crate) cpus: u32,
    pub(crate) network: bool,
    pub(crate) guest: Option<Ipv4Addr>,
    pub(crate) ports: Vec<u16>,
    pub(crate) arguments: Vec<String>,
    pub(crate) attached: Vec<Attached>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) echo: bool,
}

impl Setup {
    /// A machine with two processors, 512 MiB and a network that boots `disk`, whose content it changes.
    pub fn new(disk: impl Into<PathBuf>) -> Self {
        Self {
            disk: disk.into(),
            copy: false,
            least: 0,
            memory: 512,
            cpus: 2,
            network: true,
            guest: None,
            ports: vec![],
            arguments: vec![],
            attached: vec![],
            record: None,
            echo: false,
        }
    }

    /// Works on a sparse copy and leaves the image alone.
    #[must_use]
    pub fn on_a_copy(self) -> Self {
        Self { copy: true, ..self }
    }

    /// The disk has at least this many bytes; the image is lengthened by a hole.
    #[must_use]
    pub fn disk_size(self, bytes: u64) -> Self {
        Self { least: bytes, ..self }
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory(self, mib: u32) -> Self {
        Self { memory: mib, ..self }
    }

    /// Connections to a port of 127.0.0.1 reach this TCP port of the guest; [`crate::Machine::address`] tells which.
    #[must_use]
    pub fn forward(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// The guest's address when it is not the one DHCP gives (10.0.2.15); 10.0.2.2 is the host.
    #[must_use]
    pub fn guest_address(self, address: Ipv4Addr) -> Self {
        Self { guest: Some(address), ..self }
    }

    /// No network card at all.
    #[must_use]
    pub fn without_network(self) -> Self {
        Self { network: false, ..self }
    }

    /// Appends an argument to the slot's kernel command line.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Connects a further disk.
    #[must_use]
    pub fn attach(mut self, attached: Attached) -> Self {
        self.attached.push(attached);
        self
    }

    /// Logs every write and flush of the boot disk to this file, one log a boot: the boot's number is appended to its name.
    #[must_use]
    pub fn record(self, log: impl Into<PathBuf>) -> Self {
        Self { record: Some(log.into()), ..self }
    }

    /// Shows the console on standard output as it comes.
    #[must_use]
    pub fn echo(self) -> Self {
        Self { echo: true, ..self }
    }
}
