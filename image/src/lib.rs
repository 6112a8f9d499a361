//! Makes what a WarpPool appliance is flashed with and updated by: initramfs parts, slot, bundle and disk image.
//!
//! The same inputs give the same bytes, in whatever folder, by whatever user, in whatever order files are found. No root is
//! needed; of other programs only mke2fs.

#![cfg(target_os = "linux")]

pub mod bmap;
pub mod board;
pub mod build;
pub mod disk;
pub mod error;
pub mod ext4;
pub mod fat;
pub mod initramfs;
pub mod kernel;
pub mod limits;
pub mod owners;
pub mod recipe;
pub mod slot;
pub mod tree;

pub use board::Board;
pub use build::{Outcome, all};
pub use error::ImageError;
pub use recipe::Recipe;
