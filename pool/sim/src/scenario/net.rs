//! Where a connection comes from: limits count by address, so that a stranger needs one of his own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// An address of this machine that no honest miner here uses.
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Connects from `from` where this machine has that address (Linux has all of 127/8), else from its usual one.
pub(super) async fn connect(to: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let stream = socket(from)?.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A socket for such a connection.
pub(super) fn socket(from: Ipv4Addr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    match socket.bind(SocketAddr::from((from, 0))) {
        Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => Err(error),
        _ => Ok(socket),
    }
}
