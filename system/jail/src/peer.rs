//! Who is at the other end of a Unix socket, as the kernel recorded it when the connection was made.

use std::io;
use std::os::unix::net::UnixStream;

/// The process that connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    /// Its process id at that time: another process may have it by now, so trust hangs on `uid` alone.
    pub pid: i32,
}

/// Asks the kernel (`SO_PEERCRED`). Errors are the kernel's; an unconnected socket has no peer.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let found = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(Peer { uid: found.uid.as_raw(), gid: found.gid.as_raw(), pid: found.pid.as_raw_nonzero().get() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (here, _there) = UnixStream::pair().expect("a pair");
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        assert_eq!(peer(&here).expect("a peer"), Peer { uid, gid, pid: std::process::id() as i32 });
    }
}
