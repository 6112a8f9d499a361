//! What no broadcast can beat by much: one thread writing a line of the same size to as many loopback sockets, one
//! after the other, read by the very reader the pool's miners have.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::arrivals::{Arrivals, PrevHash, prev_hash};
use crate::load::swarm::{Level, Swarm};

const SETTLE: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_mins(1);

/// One round, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// From the first socket's arrival to the last one's.
    pub(crate) first_to_last: f64,
    /// From before the first write to the last arrival.
    pub(crate) total: f64,
}

/// Socket pairs that stand ready for rounds.
pub(crate) struct BareLoop {
    swarm: Swarm,
    arrivals: Arrivals,
    line: Vec<u8>,
    hash_at: usize,
    round: u64,
    go: mpsc::Sender<Vec<u8>>,
    begun: mpsc::Receiver<std::io::Result<Instant>>,
}

impl BareLoop {
    /// `line` is a notify of the pool's.
    pub(crate) fn open(count: usize, line: &[u8]) -> Result<Self> {
        let (hash_at, _) = prev_hash(line).context("the pool's notify has no previous hash")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let target = listener.local_addr()?.to_string();
        let (go, lines) = mpsc::channel::<Vec<u8>>();
        let (begin, begun) = mpsc::channel();
        std::thread::Builder::new().name("sim-bare-loop".into()).spawn(move || {
            let accept = || -> std::io::Result<TcpStream> {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(stream)
            };
            let mut streams = match (0..count).map(|_| accept()).collect::<std::io::Result<Vec<_>>>() {
                Ok(streams) => streams,
                Err(error) => {
                    // Nobody listens only if opening has failed for another reason, which is told.
                    let _ = begin.send(Err(error));
                    return;
                }
            };
            for line in lines {
                // Woken by the reader it would start on the reader's core and share it; after a sleep it has its own, as
                // a pool has.
                std::thread::sleep(SETTLE);
                let at = Instant::now();
                let written = streams.iter_mut().try_for_each(|stream| stream.write_all(&line));
                if begin.send(written.map(|()| at)).is_err() {
                    return;
                }
            }
        })?;
        let mut swarm = Swarm::new(&target)?;
        let mut arrivals = Arrivals::new((0..count).map(|_| None));
        if let Err(error) = swarm.open(count, Level::Connected, "", "", PATIENCE, &mut arrivals) {
            // The accepting side knows better why.
            begun.try_recv().unwrap_or_else(|_| Ok(Instant::now())).context("the bare loop cannot take its sockets")?;
            return Err(error);
        }
        let mut line = line.to_vec();
        line.push(b'\n');
        Ok(Self { swarm, arrivals, line, hash_at, round: 0, go, begun })
    }

    pub(crate) fn run(&mut self) -> Result<Round> {
        self.round += 1;
        let hash: PrevHash = format!("{:064x}", self.round).into_bytes().try_into().expect("64 digits");
        self.line[self.hash_at..self.hash_at + 64].copy_from_slice(&hash);
        self.arrivals.arm();
        self.go.send(self.line.clone()).context("the bare loop's thread ended")?;
        let deadline = Instant::now() + PATIENCE;
        while self.arrivals.changed < self.swarm.connections.len() {
            self.swarm.turn(Duration::from_millis(2), &mut self.arrivals)?;
            ensure!(Instant::now() < deadline, "the bare loop did not end within 60 s");
        }
        let begun = self.begun.recv().context("the bare loop's thread ended")?.context("a bare write failed")?;
        let arrived = self.arrivals.of(&hash);
        let (first, last) = arrived.iter().min().zip(arrived.iter().max()).context("there are no sockets")?;
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        Ok(Round { first_to_last: ms(*first, *last), total: ms(begun, *last) })
    }
}
