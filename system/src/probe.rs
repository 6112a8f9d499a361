//! Looks at the pool from outside, as a miner and a browser would: whether its ports answer. What the pool says of itself is
//! asked for beside this, not instead.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::event::{Event, Events};

const STRATUM: u16 = 3333;
const HTTP: u16 = 80;
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(1);
/// The answer's first line is all that counts.
const MAX_ANSWER: u64 = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The miners' port takes connections.
    pub stratum: bool,
    /// The page answers that it lives.
    pub http: bool,
}

/// Looks again and again. One look a second, each bounded in time.
pub fn start(events: Events) -> io::Result<()> {
    thread::Builder::new().name("probe".into()).stack_size(256 * 1024).spawn(move || {
        loop {
            let probed = Probed { stratum: connects(local(STRATUM)), http: lives(local(HTTP)) };
            if events.send(Event::Probed(probed)).is_err() {
                return;
            }
            thread::sleep(PAUSE);
        }
    })?;
    Ok(())
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn connects(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PATIENCE).is_ok()
}

/// Whether `/healthz` answers 200.
fn lives(address: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        // It may drip: each read has its time, and there are not many bytes to wait for.
        let mut beginning = [0; 64];
        let mut rest = stream.take(MAX_ANSWER);
        while answer.len() < "HTTP/1.1 200".len() {
            match rest.read(&mut beginning)? {
                0 => break,
                count => answer.extend_from_slice(&beginning[..count]),
            }
        }
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind(local(0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 512]);
                for byte in answer.chunks(5) {
                    let _ = stream.write_all(byte);
                }
            }
        });
        address
    }

    #[test]
    fn only_a_healthy_answer_counts() {
        for (answer, alive) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n{}"[..], true),
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            (b"HTTP/1.1 20", false),
            (b"", false),
            (b"SSH-2.0-dropbear\r\n", false),
        ] {
            assert_eq!(lives(answering(answer)), alive, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn a_closed_port_is_no_pool() {
        let free = TcpListener::bind(local(0)).unwrap().local_addr().unwrap();
        assert!(!connects(free));
        assert!(!lives(free));
        let open = TcpListener::bind(local(0)).unwrap();
        assert!(connects(open.local_addr().unwrap()));
    }
}
