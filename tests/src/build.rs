//! The programs under test: the pool's binary, built once a run, and Bitcoin Core, found by the script that finds it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The pool's binary of the profile these tests are built in; `WARPPOOL_BIN` names another one.
pub fn warppool() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("WARPPOOL_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    // target/PROFILE/deps/this-test
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let binary = folder.join("warppool");
    // Every test is a process of its own under nextest: the first of a run builds, the others find its mark.
    let lock = File::create(folder.join("warppool-tests.lock")).unwrap();
    lock.lock().unwrap();
    let mark = folder.join("warppool-tests.built");
    let run = std::env::var("NEXTEST_RUN_ID").ok();
    if run.is_some() && fs::read_to_string(&mark).ok() == run {
        return binary;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "warppool", "--profile", profile]).current_dir(workspace());
    // What cargo says to a test of this package would make build scripts of others run again, and all that depends on them.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"].iter().any(|start| told.starts_with(start)) {
            build.env_remove(name);
        }
    }
    let built = build.status().unwrap();
    assert!(built.success(), "the pool's binary cannot be built");
    if let Some(run) = run {
        fs::write(mark, run).unwrap();
    }
    binary
}

/// A Bitcoin Core with ZMQ.
pub fn bitcoind() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let found = Command::new(workspace().join("scripts/bitcoind")).output().unwrap();
        assert!(found.status.success(), "no Bitcoin Core: {}", String::from_utf8_lossy(&found.stderr));
        PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
    })
}
