//! The running pool: job broadcast, share intake, block submission, roll-ups; owns the tasks.
//!
//! [`Engine::start`] wires the rooms: node → jobs → Stratum → judged shares → ledger, and a found block → every node and the
//! spool. What the API shows of it are the plain values of [`view`].

mod blocks;
mod desk;
mod engine;
mod intake;
mod jobs;
mod listeners;
mod open_block;
mod rolling;
mod roster;
mod settings;
mod sockets;
pub mod spool;
pub mod view;

pub use blocks::is_writing_a_block;
pub use engine::Engine;
pub use listeners::Bound;
pub use settings::StartOptions;
pub use sockets::Sockets;
