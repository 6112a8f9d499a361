//! A miner's socket: reads what is there, writes what can be written, keeps the rest for when the miner has read.
//!
//! A job is written by whoever publishes it, straight to the socket; the connection's own task is woken only for what the
//! socket did not take. While nothing comes a connection keeps no buffer: reads go through one buffer a thread.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::{Mutex, MutexGuard};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::connections::Connections;
use crate::core::{Core, View};
use crate::limits::Place;
use crate::pool::{Reason, ShareReport};
use crate::session::{Flow, Session};
use crate::wire;

/// Bytes read at once.
const READ: usize = 32 * 1024;

/// Reads of a connection that is being closed: far more than a socket's buffer holds.
const MOST_DRAINED: usize = 256;

/// Buffers of one thread: nothing in them outlives a turn.
struct Scratch {
    input: Box<[u8]>,
    plain: Vec<u8>,
    out: Vec<u8>,
    shares: Vec<ShareReport>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; READ].into(),
        plain: Vec::new(),
        out: Vec::new(),
        shares: Vec::new(),
    });
}

pub(crate) struct Connection {
    /// Its place in the list of connections.
    pub(crate) slot: AtomicUsize,
    writer: OwnedWriteHalf,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) session: Session,
    tls: Option<Box<ServerConnection>>,
    /// Bytes for the wire that the socket has not taken.
    pending: Vec<u8>,
    closing: Option<Reason>,
    waker: Option<Waker>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(writer: OwnedWriteHalf, session: Session, tls: Option<Box<ServerConnection>>) -> Self {
        let state = State { session, tls, pending: Vec::new(), closing: None, waker: None };
        Self { slot: AtomicUsize::new(0), writer, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn socket(&self) -> &TcpStream {
        self.writer.as_ref()
    }

    /// Sends `bytes`, or keeps what the socket does not take and wakes the connection's task for it.
    pub(crate) fn send(&self, state: &mut State, bytes: &[u8], write_limit: usize) {
        if state.closing.is_some() || bytes.is_empty() {
            return;
        }
        if wire::is_watched() {
            wire::sent(state.session.peer, bytes);
        }
        match &mut state.tls {
            None => self.put(state, bytes, write_limit),
            Some(tls) => {
                let mut records = Vec::with_capacity(bytes.len() + 64);
                let sealed = tls.writer().write_all(bytes);
                while sealed.is_ok() && tls.wants_write() && tls.write_tls(&mut records).is_ok_and(|n| n > 0) {}
                self.put(state, &records, write_limit);
            }
        }
    }

    fn put(&self, state: &mut State, mut bytes: &[u8], write_limit: usize) {
        while state.pending.is_empty() && !bytes.is_empty() {
            match self.writer.try_write(bytes) {
                Ok(0) => return state.close(Reason::Network),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return state.close(Reason::Network),
            }
        }
        if bytes.is_empty() {
            return;
        }
        if state.pending.len() + bytes.len() > write_limit {
            return state.close(Reason::SlowReader);
        }
        state.pending.extend_from_slice(bytes);
        wake(state);
    }

    /// Writes pending bytes as far as the socket takes them. Pending when it takes no more for now.
    fn poll_flush(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<()> {
        while !state.pending.is_empty() {
            let written = match ready!(self.socket().poll_write_ready(cx)) {
                Ok(()) => self.writer.try_write(&state.pending),
                Err(error) => Err(error),
            };
            match written {
                Ok(n) if n > 0 => drop(state.pending.drain(..n)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Ok(_) | Err(_) => {
                    state.pending.clear();
                    state.closing.get_or_insert(Reason::Network);
                }
            }
        }
        state.pending = Vec::new();
        Poll::Ready(())
    }

    /// Lets the session answer what a read gave.
    fn receive(
        &self,
        core: &Core,
        bytes: &[u8],
        (plain, out, shares): (&mut Vec<u8>, &mut Vec<u8>, &mut Vec<ShareReport>),
    ) {
        let mut state = self.state.lock();
        // The board is looked at only now: a job published before this lock is on it, one published later comes after.
        let view = core.view();
        let write_limit = view.settings().write_limit;
        out.clear();
        let State { session, tls, .. } = &mut *state;
        let flow = match tls {
            None => session.handle(bytes, &view, out, shares),
            Some(tls) => {
                plain.clear();
                let opened = open(tls, bytes, plain);
                let flow = session.handle(plain, &view, out, shares);
                if flow.is_continue() { opened } else { flow }
            }
        };
        self.send(&mut state, out, write_limit);
        if let Flow::Break(reason) = flow {
            state.close(reason);
        }
    }

    /// What time brings.
    pub(crate) fn tick(&self, view: &View<'_>, out: &mut Vec<u8>) {
        out.clear();
        let mut state = self.state.lock();
        let flow = state.session.tick(view, out);
        self.send(&mut state, out, view.settings().write_limit);
        if let Flow::Break(reason) = flow {
            state.close(reason);
        }
    }
}

impl State {
    /// Ends the connection: its task reads what has already come, and goes.
    pub(crate) fn close(&mut self, reason: Reason) {
        self.closing.get_or_insert(reason);
        wake(self);
    }
}

fn wake(state: &State) {
    if let Some(waker) = &state.waker {
        waker.wake_by_ref();
    }
}

/// Opens the records in `bytes`; what they hold is appended to `plain`. What TLS has to say itself goes out with the next
/// bytes sent, or not at all.
fn open(tls: &mut ServerConnection, mut bytes: &[u8], plain: &mut Vec<u8>) -> Flow {
    loop {
        let Ok(state) = tls.process_new_packets() else { return Flow::Break(Reason::Tls) };
        let waiting = state.plaintext_bytes_to_read();
        let start = plain.len();
        plain.resize(start + waiting, 0);
        if tls.reader().read_exact(&mut plain[start..]).is_err() {
            return Flow::Break(Reason::Tls);
        }
        if state.peer_has_closed() {
            return Flow::Break(Reason::Closed);
        }
        if bytes.is_empty() {
            return Flow::Continue(());
        }
        if !tls.read_tls(&mut bytes).is_ok_and(|n| n > 0) {
            return Flow::Break(Reason::Tls);
        }
    }
}

/// A connection's task.
pub(crate) struct Serve {
    core: Arc<Core>,
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    reader: OwnedReadHalf,
    place: Option<Place>,
}

impl Serve {
    /// Enters the connection in the list: from here on it gets what is published.
    pub(crate) fn new(
        core: Arc<Core>,
        connections: Arc<Connections>,
        connection: Connection,
        reader: OwnedReadHalf,
        place: Place,
    ) -> Self {
        let connection = Arc::new(connection);
        connections.add(&connection);
        let serve = Self { core, connections, connection, reader, place: Some(place) };
        // What came with the end of a TLS handshake waits inside already.
        serve.turn(0);
        serve
    }

    /// Hands over `length` bytes of this thread's buffer.
    fn turn(&self, length: usize) {
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, plain, out, shares } = scratch;
            self.connection.receive(&self.core, &input[..length], (plain, out, shares));
        });
    }
}

impl Serve {
    /// Judges what lies in the socket, asking the socket itself: the runtime may not have heard of it yet.
    fn drain(&self) {
        let socket = socket2::SockRef::from(self.connection.socket());
        for _ in 0..MOST_DRAINED {
            match SCRATCH.with_borrow_mut(|scratch| (&*socket).read(&mut scratch.input)) {
                Ok(length) if length > 0 => self.turn(length),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

impl Future for Serve {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let closing = {
                let mut state = this.connection.state.lock();
                if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    state.waker = Some(cx.waker().clone());
                }
                if !state.pending.is_empty() {
                    let _ = this.connection.poll_flush(&mut state, cx);
                }
                state.closing
            };
            if let Some(reason) = closing {
                if !reason.is_final() {
                    this.drain();
                }
                return Poll::Ready(());
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(&mut scratch.input);
                Pin::new(&mut this.reader).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
            });
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(length)) if length > 0 => this.turn(length),
                Poll::Ready(end) => {
                    let reason = if end.is_ok() { Reason::Closed } else { Reason::Network };
                    this.connection.state.lock().closing.get_or_insert(reason);
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.connections.remove(&self.connection);
        let mut state = self.connection.state.lock();
        let reason = state.closing.unwrap_or(Reason::Shutdown);
        state.closing = Some(reason);
        // Its own waker would keep the task alive.
        state.waker = None;
        state.session.end(reason, &self.core);
        drop(self.place.take());
    }
}
