//! How the appliance is: all that a page or a terminal shows of it.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SlotName {
    A,
    B,
}

impl SlotName {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl std::fmt::Display for SlotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub hardware: String,
    pub hostname: String,
    pub uptime_seconds: u64,
    pub mode: Mode,
    pub firmware: Firmware,
    /// The slot that runs, and the one the firmware starts by itself; `None` where the disk cannot be read.
    pub running: Option<SlotName>,
    pub committed: Option<SlotName>,
    pub slots: Vec<SlotState>,
    pub trial: Option<Trial>,
    pub update: UpdateState,
    pub data: DataState,
    pub interfaces: Vec<Interface>,
    pub clock: Clock,
    pub waiting_for_button: Option<Confirmation>,
    /// What is wrong and what to do about it; empty is good.
    pub faults: Vec<String>,
    /// Times the pool was started again since the boot.
    pub pool_restarts: u32,
    /// Newest first.
    pub journal: Vec<JournalEntry>,
}

/// What the pool is running as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    #[default]
    Normal,
    /// After too many deaths: ledger in memory, the last configuration that worked.
    Safe,
}

/// What the pool knows of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// None is configured.
    #[default]
    None,
    Unreachable,
    Reachable,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// The boot loader's build time, Unix seconds, where it says.
    pub built: Option<u64>,
    /// The boot loader is older than what updates are known to work with; what to do.
    pub advice: Option<String>,
    /// Boots since the last healthy one.
    pub attempts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    pub slot: SlotName,
    /// `None` where the slot holds nothing that can be started.
    pub version: Option<String>,
    /// What is damaged, as of the last look; empty is sound.
    pub damage: Vec<String>,
}

/// A version that has not been kept yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Seconds of health so far, and those that are needed.
    pub healthy_seconds: u32,
    pub needed_seconds: u32,
    /// What the gate still waits for.
    pub waiting_for: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateState {
    pub automatic: Automatic,
    pub channel: Channel,
    pub every_hours: u16,
    pub available: Option<crate::Update>,
    /// Unix seconds.
    pub last_checked: Option<u64>,
    pub last_error: Option<String>,
    pub installing: Option<crate::Progress>,
}

/// When an update is installed without being asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Automatic {
    #[default]
    Off,
    /// Between these hours of local time, 0 to 23; the window may span midnight.
    Window {
        from: u8,
        until: u8,
    },
    AtOnce,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    #[default]
    Stable,
    Beta,
}

/// Where what must outlive a restart is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataState {
    /// The data partition, bytes.
    Disk { total: u64, free: u64 },
    /// It can only be read: settings are taken from it, nothing is kept.
    ReadOnly { why: String },
    /// In memory: everything is lost at the next restart.
    Memory { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub link: Link,
    pub mac: String,
    /// With their prefix length.
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    Down,
    Up,
    WiFi { ssid: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Unix seconds.
    pub now: u64,
    /// Set from the network since the boot.
    pub trusted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    Downgrade,
    FactoryReset,
}

/// One line of the journal of updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Unix seconds.
    pub at: u64,
    pub text: String,
}
