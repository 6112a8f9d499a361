//! Requests and answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Automatic, Channel, PoolReport, SlotName, Status};

/// The whole list of what can be asked. Who may ask what: the pool and root everything here but [`Request::Heartbeat`], which is the
/// pool's alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The pool lives. Answered with [`Reply::Accepted`].
    Heartbeat(PoolReport),
    /// How the appliance is. Answered with [`Reply::Status`].
    Status,
    /// The log's last lines, from all supervised programs. Answered with [`Reply::Log`].
    Log {
        lines: u32,
    },
    /// Puts a bundle into the other slot and tries it; progress until the restart.
    Install(UpdateSource),
    /// Asks the feed whether there is something newer. Answered with [`Reply::Update`].
    CheckForUpdate,
    /// Keeps the version on trial without waiting for the health gate's time; refused where the gate would refuse.
    Commit,
    /// Goes back to the other slot. Going to an older version waits for the button.
    Rollback,
    /// Reads a slot's files and compares them with its manifest; both slots when none is named.
    Verify {
        slot: Option<SlotName>,
    },
    /// How updates are looked for and installed, from now on.
    ConfigureUpdates {
        automatic: Automatic,
        channel: Channel,
        every_hours: u16,
    },
    Restart,
    PowerOff,
    /// Forgets everything but unsettled blocks. Waits for the button.
    FactoryReset,
}

/// Where a bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateSource {
    /// A file on the data partition.
    File(PathBuf),
    /// `http://` or `https://`.
    Url(String),
    /// The newest bundle on a USB stick that is plugged in.
    Usb,
    /// What the feed offers.
    Feed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Progress(Progress),
    Done(Result<Reply, Refusal>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: Stage,
    /// Bytes of this stage done, and to do.
    pub done: u64,
    pub total: u64,
    /// Of those, bytes that were on the device already and need not be fetched.
    pub reused: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    Checking,
    Clearing,
    Writing,
    ReadingBack,
    WaitingForBlock,
    WaitingForButton,
    Restarting,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Accepted,
    Status(Box<Status>),
    Log(Vec<String>),
    /// `None`: this version is the newest.
    Update(Option<Update>),
    Installed(Installation),
    /// For each slot looked at, what was found wrong; empty is sound.
    Verified(Vec<(SlotName, Vec<String>)>),
}

/// A newer version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub version: String,
    /// Plain text.
    pub notes: String,
    pub url: String,
    pub bytes: u64,
}

/// A bundle is in its slot and armed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    pub version: String,
    pub slot: SlotName,
    pub fetched: u64,
    pub reused: u64,
}

/// Why not, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub why: RefusedFor,
    pub message: String,
}

impl Refusal {
    pub fn new(why: RefusedFor, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusedFor {
    /// The caller may not ask this.
    Permission,
    /// Something else is going on: a trial, another installation, a block that is not settled.
    Busy,
    /// The bundle, the feed or the slot is not what it must be.
    Invalid,
    /// Nothing of the kind is there.
    Missing,
    /// The button was not pressed in time.
    NotConfirmed,
    /// A disk or the network failed.
    Failed,
}
