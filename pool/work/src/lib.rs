//! From a block template to a job, from a share to a verdict.
//!
//! Pure: no I/O, no async, no clock of its own; time and randomness are arguments. The way through it:
//! [`Template`] → [`JobFactory`] → [`Job`] → [`Coinbase`] for each [`Payout`] → [`judge`] for each [`Submission`].

mod book;
mod coinbase;
mod device;
mod duplicates;
mod extranonce;
pub mod hash;
mod job;
mod payout;
mod share;
mod target;
mod template;
mod username;
mod vardiff;
mod version;

pub use book::{Freshness, JobBook, KEEP, STALE_GRACE};
pub use coinbase::{Coinbase, CoinbaseError, MOST_TAG, START_TAG_SIZE, Tags};
pub use device::DeviceClass;
pub use duplicates::Duplicates;
pub use extranonce::{EN1_SIZE, EN2_SIZE, Extranonce1, ExtranonceAllocator};
pub use job::{Job, JobError, JobFactory, JobId, Reserve, block_hash, witness_commitment};
pub use payout::{Cut, CutsTooLarge, Output, PartsPerMillion, Payout};
pub use share::{Judged, Refusal, ShareRules, Submission, TIME_ROLL, judge};
pub use target::{Difficulty, DifficultyError, Target, TargetError, difficulty_of_hash};
pub use template::{Chain, Hash, Template, TemplateTx};
pub use username::{Payee, Username, UsernameError, address_of_script, parse_address};
pub use vardiff::{Vardiff, VardiffSettings, VardiffState};
pub use version::{ROLLABLE, VersionMask};
