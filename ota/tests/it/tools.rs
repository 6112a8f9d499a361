//! Programs that others wrote, where they are installed.

use std::path::Path;
use std::process::Command;

/// Whether a program can be started; says so when it cannot, so that a test that was not run is seen.
pub fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths)
            .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
            .any(|dir| dir.join(program).exists())
    });
    if !found {
        println!("NOT RUN: {program} is not installed");
    }
    found
}

/// Runs a program and returns what it printed; its failure is the test's.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output =
        Command::new(program).args(arguments).env("PATH", path).env("MTOOLS_SKIP_CHECK", "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}
