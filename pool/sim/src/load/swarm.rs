//! Thousands of client connections on one thread: opened a few at a time, set up as a plain Stratum V1 client would
//! (subscribe, wait, authorize, wait), then read and written with as few system calls as can be.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde_json::Value;

use crate::miner::wire::{self, MAX_LINE, Notify, ServerLine};

/// Set-ups under way at the same time: enough to be quick, few enough for any listen queue.
const AT_ONCE: usize = 64;
const READ_BUFFER: usize = 256 * 1024;
const SUBSCRIBE: u64 = 1;
const AUTHORIZE: u64 = 2;

/// How far connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Connected,
    Authorized,
    /// Authorized, and a first job and difficulty have come.
    Working,
}

/// What the swarm tells its user of connections that are ready.
pub(crate) trait Visitor {
    /// A whole line, without its line feed; `at` is right after the read that completed it.
    fn line(&mut self, connection: &mut Connection, line: &[u8], at: Instant);
    /// All lines of one read have been told.
    fn turned(&mut self, _connection: &mut Connection) {}
}

/// Ignores everything.
pub(crate) struct Nobody;

impl Visitor for Nobody {
    fn line(&mut self, _: &mut Connection, _: &[u8], _: Instant) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Subscribing,
    Authorizing,
    AwaitingJob,
    Ready,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) index: usize,
    stream: TcpStream,
    phase: Phase,
    level: Level,
    user: String,
    password: String,
    /// The start of a line whose end has not come.
    rest: Vec<u8>,
    /// What the socket would not take yet.
    unsent: Vec<u8>,
    pub(crate) extranonce1: Vec<u8>,
    pub(crate) extranonce2_size: usize,
    pub(crate) difficulty: f64,
    pub(crate) job: Option<Arc<Notify>>,
    /// The latest line that brought a job, as it was sent.
    pub(crate) notify_line: Vec<u8>,
    begun: Instant,
    connected_after: Duration,
    ready_after: Duration,
    closed: Option<String>,
}

impl Connection {
    /// Writes, or keeps what the socket does not take for later.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return;
        }
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) => return self.close("the pool takes no more bytes".into()),
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.close(error.to_string()),
            }
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    fn close(&mut self, why: String) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.closed = Some(why);
            // The peer may be gone already.
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn writable(&mut self) {
        if self.phase == Phase::Connecting {
            match self.stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return self.close(error.to_string()),
            }
            if self.stream.peer_addr().is_err() {
                return;
            }
            // Without it our own batches would wait for the pool's acknowledgements.
            if let Err(error) = self.stream.set_nodelay(true) {
                return self.close(error.to_string());
            }
            self.connected_after = self.begun.elapsed();
            if self.level == Level::Connected {
                self.ready();
            } else {
                self.phase = Phase::Subscribing;
                self.send(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"warppool-sim\"]}\n");
            }
        }
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent);
        }
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.ready_after = self.begun.elapsed();
    }

    /// Takes note of a job, difficulty or extranonce; whether there was one.
    pub(crate) fn observe(&mut self, line: &[u8]) -> bool {
        match wire::parse(line) {
            Ok(ServerLine::Notify(notify)) => {
                self.job = Some(Arc::new(*notify));
                self.notify_line.clear();
                self.notify_line.extend_from_slice(line);
            }
            Ok(ServerLine::SetDifficulty(difficulty)) => self.difficulty = difficulty,
            Ok(ServerLine::SetExtranonce { extranonce1, extranonce2_size }) => {
                self.extranonce1 = extranonce1;
                self.extranonce2_size = extranonce2_size;
            }
            Ok(ServerLine::Request { id, .. }) => {
                let answer = serde_json::json!({"id": id, "result": "warppool-sim", "error": null});
                self.send(format!("{answer}\n").as_bytes());
                return false;
            }
            _ => return false,
        }
        true
    }

    /// A line before the connection is ready.
    fn set_up(&mut self, line: &[u8]) {
        if let Ok(ServerLine::Answer { id, result, error, .. }) = wire::parse(line) {
            match (id.as_u64(), self.phase) {
                (Some(SUBSCRIBE), Phase::Subscribing) => {
                    match wire::extranonce("mining.subscribe", result.get(1), result.get(2)) {
                        Ok((extranonce1, size)) => (self.extranonce1, self.extranonce2_size) = (extranonce1, size),
                        Err(_) => return self.close(format!("mining.subscribe was answered {result}, error {error}")),
                    }
                    self.phase = Phase::Authorizing;
                    let params = Value::from(vec![&*self.user, &*self.password]);
                    let line = format!("{{\"id\":2,\"method\":\"mining.authorize\",\"params\":{params}}}\n");
                    self.send(line.as_bytes());
                }
                (Some(AUTHORIZE), Phase::Authorizing) => {
                    if result != Value::Bool(true) {
                        return self.close(format!("mining.authorize of {:?} was refused: {error}", self.user));
                    }
                    self.phase = Phase::AwaitingJob;
                }
                _ => {}
            }
        } else {
            self.observe(line);
        }
        if self.phase == Phase::AwaitingJob && (self.level == Level::Authorized || self.job.is_some()) {
            self.ready();
        }
    }

    fn take_line(&mut self, line: &[u8], at: Instant, visitor: &mut impl Visitor) {
        let line = line.trim_ascii();
        match self.phase {
            Phase::Closed => {}
            Phase::Ready => visitor.line(self, line, at),
            _ => self.set_up(line),
        }
    }

    fn readable(&mut self, buffer: &mut [u8], ended: bool, visitor: &mut impl Visitor) {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return self.close("the pool closed the connection".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.close(error.to_string()),
            };
            let at = Instant::now();
            let mut bytes = &buffer[..read];
            if !self.rest.is_empty()
                && let Some(end) = memchr::memchr(b'\n', bytes)
            {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 1..];
                self.take_line(&line, at, visitor);
            }
            let mut start = 0;
            for end in memchr::memchr_iter(b'\n', bytes) {
                self.take_line(&bytes[start..end], at, visitor);
                start = end + 1;
            }
            self.rest.extend_from_slice(&bytes[start..]);
            if self.rest.len() > MAX_LINE {
                return self.close(format!("the pool sent a line longer than {MAX_LINE} bytes"));
            }
            if self.is_ready() {
                visitor.turned(self);
            }
            // A short read means that the socket is drained: the next bytes bring the next event. One that ended is
            // read to its end, or the end would never be seen.
            if (read < buffer.len() && !ended) || self.phase == Phase::Closed {
                return;
            }
        }
    }
}

pub(crate) struct Swarm {
    poll: Poll,
    events: Events,
    pub(crate) connections: Vec<Connection>,
    buffer: Vec<u8>,
    address: SocketAddr,
}

impl Swarm {
    pub(crate) fn new(target: &str) -> Result<Self> {
        let address = target
            .to_socket_addrs()
            .with_context(|| format!("{target:?} is not a HOST:PORT that can be looked up"))?
            .next()
            .with_context(|| format!("{target:?} has no address"))?;
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            connections: Vec::new(),
            buffer: vec![0; READ_BUFFER],
            address,
        })
    }

    /// Opens so many connections and waits until every one is as far as `level`; any that fails fails all.
    /// In `user`, `{n}` stands for the connection's number.
    pub(crate) fn open(
        &mut self,
        count: usize,
        level: Level,
        user: &str,
        password: &str,
        within: Duration,
        visitor: &mut impl Visitor,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        let mut under_way: VecDeque<usize> = VecDeque::new();
        let mut ready = 0;
        while ready < count {
            while under_way.len() < AT_ONCE && self.connections.len() < count {
                under_way.push_back(self.connections.len());
                let user = user.replace("{n}", &self.connections.len().to_string());
                self.connect(level, user, password.to_owned())?;
            }
            self.turn(Duration::from_millis(100), visitor)?;
            under_way.retain(|index| !self.connections[*index].is_ready());
            ready = self.connections.len() - under_way.len();
            if let Some((connection, why)) =
                under_way.iter().find_map(|index| self.connections[*index].closed.as_ref().map(|why| (index, why)))
            {
                bail!("connection {connection} of {count} to {} failed: {why}", self.address);
            }
            if Instant::now() > deadline {
                let first = &self.connections[under_way[0]];
                bail!(
                    "only {ready} of {count} connections to {} were ready within {} s; connection {} is still {:?}",
                    self.address,
                    within.as_secs(),
                    first.index,
                    first.phase
                );
            }
        }
        Ok(())
    }

    fn connect(&mut self, level: Level, user: String, password: String) -> Result<()> {
        let index = self.connections.len();
        let begun = Instant::now();
        let mut stream = TcpStream::connect(self.address)
            .with_context(|| format!("connection {index} to {} cannot be opened", self.address))?;
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        self.connections.push(Connection {
            index,
            stream,
            phase: Phase::Connecting,
            level,
            user,
            password,
            rest: Vec::new(),
            unsent: Vec::new(),
            extranonce1: Vec::new(),
            extranonce2_size: 0,
            difficulty: 1.0,
            job: None,
            notify_line: Vec::new(),
            begun,
            connected_after: Duration::ZERO,
            ready_after: Duration::ZERO,
            closed: None,
        });
        Ok(())
    }

    /// Waits for events up to `wait` and handles them all.
    pub(crate) fn turn(&mut self, wait: Duration, visitor: &mut impl Visitor) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let Some(connection) = self.connections.get_mut(event.token().0) else { continue };
            if connection.phase == Phase::Closed {
                continue;
            }
            if event.is_writable() {
                connection.writable();
            }
            if event.is_readable() && connection.phase != Phase::Connecting {
                connection.readable(&mut self.buffer, event.is_read_closed(), visitor);
            }
        }
        Ok(())
    }

    /// Connections that stand.
    pub(crate) fn ready(&self) -> usize {
        self.connections.iter().filter(|connection| connection.is_ready()).count()
    }

    pub(crate) fn closed(&self) -> impl Iterator<Item = &str> {
        self.connections.iter().filter_map(|connection| connection.closed.as_deref())
    }

    /// Milliseconds from the call to connect until the connection stood, and until it was ready.
    pub(crate) fn opening_times(&self) -> (Vec<f64>, Vec<f64>) {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        self.connections.iter().map(|one| (ms(one.connected_after), ms(one.ready_after))).unzip()
    }
}
