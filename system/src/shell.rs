//! A root shell on the console, when the kernel's command line asks for it: for people at a development board, and for tests. Whoever
//! can write the command line owns the device anyway.

use std::fs::OpenOptions;
use std::process::Command;

use crate::console::say;
use crate::reaper::Reaper;

/// Starts it once; the end of the shell is the end of it.
pub fn start(reaper: &Reaper) {
    let console = || OpenOptions::new().read(true).write(true).open("/dev/console");
    let started = console().and_then(|input| {
        let mut command = Command::new("/bin/sh");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").env("PS1", "# ");
        command.stdin(input).stdout(console()?).stderr(console()?);
        reaper.spawn(&mut command, |_, _| ())
    });
    match started {
        Ok(_) => say!("console: a shell is here, as the kernel's command line asks"),
        Err(why) => say!("console: no shell: {why}"),
    }
}
