//! The database file itself, as the checker's child process meets it after a power cut: a verdict, and no crash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warppool_ledger::check::walk;

/// LMDB's pages; what is shorter than the two meta pages and two more says little.
const PAGE: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let mut file = bytes.to_vec();
    file.resize(bytes.len().next_multiple_of(PAGE), 0);
    std::fs::write(dir.path().join("data.mdb"), file).expect("a temporary file can be written");
    drop(walk(dir.path()));
});
