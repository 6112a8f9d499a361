//! Where PID 1 and its children speak: the kernel's log, which shows on every console, and the ring.
//!
//! A line of ours is `warppool[1]: TEXT`. A line of a child goes to the ring alone.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::libc;

use crate::ring::{MAX_LINE, Ring, clean};

/// Bytes of log that are kept.
const RING: usize = 256 * 1024;
/// The kernel refuses a longer record.
const MAX_RECORD: usize = 900;
/// Notice: shown where the console's level is at least 6.
const LEVEL: &str = "<5>";

static LOG: Mutex<Ring> = Mutex::new(Ring::new(RING));
static KERNEL: OnceLock<File> = OnceLock::new();

/// Says a line as PID 1: in the kernel's log, on the console, in the ring.
macro_rules! say {
    ($($arg:tt)*) => { $crate::console::line(&format!($($arg)*)) };
}
pub(crate) use say;

/// From here on lines go to the kernel's log. Before, and where there is none, they go to standard error.
pub fn open() {
    // The kernel drops lines of a program that writes many, and shows none below a warning where it was told to be quiet. It takes
    // the words with their line's end alone.
    let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    let _ = fs::write("/proc/sys/kernel/printk", "6\n");
    // Without O_NONBLOCK a write could wait; the kernel's log never makes anybody wait, but a file in its place would.
    if let Ok(file) = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open("/dev/kmsg")
    {
        let _ = KERNEL.set(file);
    }
}

/// See [`say!`].
pub fn line(text: &str) {
    let mut text = clean(text);
    log().push("system", &text);
    while text.len() > MAX_RECORD {
        text.pop();
    }
    match KERNEL.get() {
        // One write is one record. What the kernel does not take is in the ring still.
        Some(mut kernel) => drop(kernel.write_all(format!("{LEVEL}warppool[1]: {text}\n").as_bytes())),
        None => drop(writeln!(std::io::stderr(), "warppool[1]: {text}")),
    }
}

/// The ring. A thread that panicked with it in hand has at worst lost a line.
pub fn log() -> MutexGuard<'static, Ring> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a child's output line by line into the ring until it ends. Lines of any length, of any bytes.
pub fn collect(from: &str, mut output: impl Read) {
    let mut buffer = [0; 4096];
    let mut line = Vec::with_capacity(MAX_LINE);
    let finish = |line: &mut Vec<u8>| {
        if !line.is_empty() {
            log().push(from, &String::from_utf8_lossy(line));
            line.clear();
        }
    };
    loop {
        let count = match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in &buffer[..count] {
            match byte {
                b'\n' => finish(&mut line),
                byte => {
                    line.push(byte);
                    if line.len() == MAX_LINE {
                        finish(&mut line);
                    }
                }
            }
        }
    }
    finish(&mut line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_s_bytes_become_lines_whatever_they_are() {
        let mut bytes = b"first\n\nsecond\xff\n".to_vec();
        bytes.extend_from_slice(&vec![b'x'; MAX_LINE * 2 + 1]);
        collect("console-test", bytes.as_slice());
        let lines = log().last_of("console-test", 10);
        assert_eq!(lines[0], "first");
        assert_eq!(lines[1], "second\u{fffd}");
        assert_eq!(lines[2..].iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, 1]);
    }
}
