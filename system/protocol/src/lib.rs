//! What the pool and the command line ask of PID 1, and what it answers: a short list, in postcard, over a Unix socket.
//!
//! PID 1 takes the caller's uid from the kernel and decides what it may ask; a message never says who sent it. The bytes are a
//! [`frame`]: a length and postcard. An answer is any number of [`Answer::Progress`] and one [`Answer::Done`].

mod client;
mod frame;
mod message;
mod report;
mod status;

pub use client::{Client, ClientError};
pub use frame::{FrameError, MAX_FRAME, read_frame, write_frame};
pub use message::{Answer, Installation, Progress, Refusal, RefusedFor, Reply, Request, Stage, Update, UpdateSource};
pub use report::PoolReport;
pub use status::{
    Automatic, Channel, Clock, Confirmation, DataState, Firmware, Interface, JournalEntry, Link, Mode, Node, SlotName,
    SlotState, Status, Trial, UpdateState,
};

/// Where PID 1 listens.
pub const SOCKET: &str = "/run/warppool/system.sock";
