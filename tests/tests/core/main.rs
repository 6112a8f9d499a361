//! The pool on real Bitcoin Core: what it accepts, and what happens to both when one of them, or the line between, fails.

#![allow(clippy::unwrap_used)]

mod core_blocks;
mod core_found;
mod core_nodes;
mod core_signet;
mod core_simulated;
