//! Ports that somebody with more rights has opened for the pool: taken by address instead of being opened again.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use parking_lot::Mutex;

/// Listening sockets, each to be taken once.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    waiting: Arc<Mutex<Vec<(SocketAddr, TcpListener)>>>,
}

impl Sockets {
    /// Sockets without an address of their own are left out.
    pub fn new(sockets: impl IntoIterator<Item = TcpListener>) -> Self {
        let known = sockets.into_iter().filter_map(|socket| Some((socket.local_addr().ok()?, socket)));
        Self { waiting: Arc::new(Mutex::new(known.collect())) }
    }

    /// The socket that listens at this address, if it was handed over and nobody has it.
    pub fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        let mut waiting = self.waiting.lock();
        let at = waiting.iter().position(|(known, _)| *known == address)?;
        Some(waiting.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_once_and_by_its_address() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("bound");
        let sockets = Sockets::new([socket]);
        assert!(sockets.take(SocketAddr::new(address.ip(), address.port().wrapping_add(1))).is_none());
        assert_eq!(sockets.take(address).expect("is there").local_addr().expect("bound"), address);
        assert!(sockets.take(address).is_none());
    }
}
