//! The way to the guest's TCP ports, and the question whether somebody is there.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::error::Error;

/// How long a guest that took the connection may think before the next attempt.
const THINK: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Guest port → port of 127.0.0.1, as QEMU's `info usernet` lists the forwards.
pub(crate) fn forwards(usernet: &str) -> BTreeMap<u16, u16> {
    let row = |line: &str| -> Option<(u16, u16)> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["TCP[HOST_FORWARD]", _, _, host, _, guest, ..] => Some((guest.parse().ok()?, host.parse().ok()?)),
            _ => None,
        }
    };
    usernet.lines().filter_map(row).collect()
}

/// Sends `request` until an answer comes, and gives its first bytes.
///
/// QEMU's network takes connections for a guest that does not listen, or not yet, and drops them later: only an answer tells
/// that somebody is there.
pub(crate) fn ask(address: SocketAddr, request: &[u8], within: Duration) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + within;
    loop {
        let why = match attempt(address, request, THINK.min(within)) {
            Ok(answer) => return Ok(answer),
            Err(why) => why,
        };
        if Instant::now() > deadline {
            return Err(why.to_string());
        }
        std::thread::sleep(PAUSE);
    }
}

fn attempt(address: SocketAddr, request: &[u8], within: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(request)?;
    let mut answer = vec![0; 4096];
    match stream.read(&mut answer)? {
        0 => Err(ErrorKind::ConnectionAborted.into()),
        length => {
            answer.truncate(length);
            Ok(answer)
        }
    }
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Waits until the guest answers on a port.
pub(crate) fn wait(
    address: SocketAddr,
    request: &[u8],
    within: Duration,
    tail: impl Fn() -> String,
) -> Result<Vec<u8>, Error> {
    ask(address, request, within).map_err(|why| Error::Late {
        what: format!("an answer from {address} ({why})"),
        within,
        tail: tail(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn forwards_are_read_from_qemu_s_table() {
        let table = "Hub -1 (n):\n\
            \x20 Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n\
            \x20 TCP[HOST_FORWARD]  14       127.0.0.1 40103       10.0.2.15    80     0     0\n\
            \x20 TCP[ESTABLISHED]   15       127.0.0.1 40103       10.0.2.15    81     0     0\n\
            \x20 TCP[HOST_FORWARD]  13       127.0.0.1 35241       10.0.2.15  3333     0     0\n";
        assert_eq!(forwards(table), BTreeMap::from([(80, 40103), (3333, 35241)]));
    }

    #[test]
    fn a_connection_that_is_dropped_is_no_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (attempt, stream) in listener.incoming().enumerate() {
                if attempt == 2 {
                    stream.unwrap().write_all(b"here").unwrap();
                }
            }
        });
        assert_eq!(ask(address, b"?\n", Duration::from_secs(5)).unwrap(), b"here");
    }
}
