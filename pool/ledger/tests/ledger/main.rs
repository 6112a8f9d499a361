//! The ledger from outside: what goes in comes out, through restarts, damage, full disks and wrong clocks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod backups;
mod damage;
mod durability;
mod full_disk;
mod pool;
mod shares;
mod time;
