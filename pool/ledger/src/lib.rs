//! All that outlives a restart: workers, shares in tiers, best shares, blocks, settings, audit, block-notify times.
//!
//! LMDB under one writer, which commits shares in groups and what must not be lost at once. A file that is damaged, deleted or
//! of a later release, and a disk that is full, never stop the pool: see [`Ledger::open`].

pub mod backup;
pub mod check;
mod chunk;
mod commit;
mod directory;
mod error;
#[cfg(test)]
mod faults;
mod intake;
mod key;
mod ledger;
mod load;
mod open;
mod options;
mod pages;
mod reads;
mod record;
mod recover;
mod resolution;
mod share;
mod shared;
mod staged;
mod store;
mod tallies;
mod value;
mod writer;

pub use check::Checker;
pub use error::LedgerError;
pub use intake::NewBest;
pub use ledger::Ledger;
pub use open::Opened;
pub use options::{Caps, Clock, Options, Retention};
pub use reads::{Bucket, Stats};
pub use record::{
    AuditRow, Best, BestShare, BlockRow, NotifySample, NotifySummary, Payout, VardiffState, Worker, user_of,
};
pub use resolution::Resolution;
pub use share::{Outcome, Reason, ShareRow, Tally, WorkerId};
pub use value::Undecodable;
