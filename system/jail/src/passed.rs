//! Descriptors that PID 1 opens for a child: ports below 1024, partitions. They keep their numbers, and a variable
//! tells them by name, as in `WARPPOOL_SOCKETS=http=7,https=9`; giving them fixed numbers could close the pipe by which
//! `spawn` hears of a failed exec.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::io::FdFlags;
use thiserror::Error;

use crate::cell::Passed;
use crate::raw;

/// Names the listening sockets.
pub(crate) const SOCKETS: &str = "WARPPOOL_SOCKETS";
/// Names all other descriptors.
pub(crate) const FILES: &str = "WARPPOOL_FILES";

/// How many sockets [`hand_on`] remembers, many more than there are ports to serve.
const REMEMBERED: usize = 32;
static HANDED_OUT: [AtomicI32; REMEMBERED] = [const { AtomicI32::new(-1) }; REMEMBERED];

/// Why passed descriptors cannot be had.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassedError {
    #[error("{variable} was read before in this process: its descriptors belong to the first who asked")]
    Taken { variable: &'static str },
    #[error(
        "{variable} has {entry:?}, which is not NAME=NUMBER with a number above 2, or stands there twice; unset it"
    )]
    Malformed { variable: &'static str, entry: String },
    #[error("{variable} has {count} entries; {REMEMBERED} are the most")]
    TooMany { variable: &'static str, count: usize },
}

/// The listening TCP sockets PID 1 passed, by name; none where there is no PID 1 of ours. Can be called once.
///
/// A descriptor that is no longer open or does not listen for TCP is left out: after [`hand_on`] that is a port the
/// pool had given up. The sockets are closed by exec until `hand_on`, so the pool's own children do not hold its ports.
/// The variable stays, for the same process started anew.
pub fn sockets() -> Result<BTreeMap<String, TcpListener>, PassedError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let listening = take(SOCKETS, &TAKEN, listens)?;
    for (slot, fd) in HANDED_OUT.iter().zip(listening.values()) {
        slot.store(fd.as_raw_fd(), Ordering::Relaxed);
    }
    Ok(listening.into_iter().map(|(name, fd)| (name, TcpListener::from(fd))).collect())
}

/// The other descriptors PID 1 passed, by name. Can be called once; what is no longer open is left out.
pub fn files() -> Result<BTreeMap<String, OwnedFd>, PassedError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    take(FILES, &TAKEN, |_| true)
}

/// Lets the sockets outlive the exec by which this process is about to start itself anew. Async-signal-safe: made for
/// the handler of a memory fault.
pub fn hand_on() {
    for slot in &HANDED_OUT {
        raw::with_open(slot.load(Ordering::Relaxed), |fd| {
            // The number may belong to another file by now; that one stays closed by exec.
            if listens(fd) {
                let _ = rustix::io::fcntl_setfd(fd, FdFlags::empty());
            }
        });
    }
}

fn take(
    variable: &'static str,
    taken: &AtomicBool,
    fits: impl Fn(BorrowedFd<'_>) -> bool,
) -> Result<BTreeMap<String, OwnedFd>, PassedError> {
    let Some(value) = std::env::var_os(variable) else { return Ok(BTreeMap::new()) };
    let numbers = parse(variable, &value.to_string_lossy())?;
    if taken.swap(true, Ordering::Relaxed) {
        return Err(PassedError::Taken { variable });
    }
    let here = numbers.into_iter().filter(|(_, number)| {
        raw::with_open(*number, |fd| fits(fd) && rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).is_ok()) == Some(true)
    });
    Ok(here.map(|(name, number)| (name, raw::adopt(number))).collect())
}

/// Whether it is a listening TCP socket.
fn listens(fd: BorrowedFd<'_>) -> bool {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    sockopt::socket_acceptconn(fd) == Ok(true)
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && matches!(sockopt::socket_domain(fd), Ok(AddressFamily::INET | AddressFamily::INET6))
}

/// The variable's value for a child.
pub(crate) fn describe(passed: &[Passed]) -> String {
    let entries: Vec<String> = passed.iter().map(|Passed { name, fd }| format!("{name}={}", fd.as_raw_fd())).collect();
    entries.join(",")
}

/// Name and number of each entry; names and numbers stand there once.
fn parse(variable: &'static str, value: &str) -> Result<BTreeMap<String, RawFd>, PassedError> {
    let mut numbers = BTreeMap::new();
    for entry in value.split(',').filter(|entry| !entry.is_empty()) {
        let malformed = || PassedError::Malformed { variable, entry: entry.to_owned() };
        let (name, number) = entry.split_once('=').ok_or_else(malformed)?;
        let number: RawFd = number.parse().map_err(|_| malformed())?;
        if name.is_empty() || number < 3 || numbers.values().any(|other| *other == number) {
            return Err(malformed());
        }
        if numbers.insert(name.to_owned(), number).is_some() {
            return Err(malformed());
        }
    }
    if numbers.len() > REMEMBERED {
        return Err(PassedError::TooMany { variable, count: numbers.len() });
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        let read = parse(SOCKETS, "http=3,stratum-tls=14").expect("two entries");
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [("http".to_owned(), 3), ("stratum-tls".to_owned(), 14)]);
        assert_eq!(parse(SOCKETS, ""), Ok(BTreeMap::new()));
    }

    #[test]
    fn an_entry_that_could_alias_another_descriptor_is_refused() {
        for (value, at_fault) in [
            ("http", "http"),
            ("http=", "http="),
            ("=3", "=3"),
            ("http=2", "http=2"),
            ("http=-1", "http=-1"),
            ("http=3,https=3", "https=3"),
            ("http=3,http=4", "http=4"),
            ("http=99999999999", "http=99999999999"),
        ] {
            let expected = PassedError::Malformed { variable: SOCKETS, entry: at_fault.to_owned() };
            assert_eq!(parse(SOCKETS, value), Err(expected), "{value}");
        }
        let many: Vec<String> = (3..40).map(|number| format!("n{number}={number}")).collect();
        assert_eq!(parse(SOCKETS, &many.join(",")), Err(PassedError::TooMany { variable: SOCKETS, count: 37 }));
    }
}
