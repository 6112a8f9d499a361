//! Keeps a number of submits in flight on every connection and counts what comes back.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

use super::{
    answers::{Answers, Line, Verdict},
    feed::Feed,
    swarm::{Connection, Swarm, Visitor},
};

/// The ids below belong to the set-up.
const FIRST_ID: u64 = 10;
const LONGEST_LATENCY_NS: u64 = 60_000_000_000;

/// What was counted while measuring.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) accepted: u64,
    pub(crate) refused_by_code: BTreeMap<i64, u64>,
    /// Nanoseconds from before the write of a submit to after the read of its answer.
    pub(crate) latency: Histogram<u64>,
    /// Changes of job, difficulty or extranonce.
    pub(crate) changes: u64,
    /// The highest difficulty worked for.
    pub(crate) difficulty: f64,
}

pub(crate) struct Engine {
    answers: Answers,
    lanes: Vec<Lane>,
    real: bool,
    feeding: bool,
    measuring: bool,
    /// Answers of the read at hand, to be replaced by as many submits.
    answered: usize,
    lines: Vec<u8>,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
struct Lane {
    feed: Feed,
    next_id: u64,
    in_flight: VecDeque<(u64, Instant)>,
}

impl Engine {
    /// `real` shares meet the difficulty, the others are for a pool that refuses them as too low.
    pub(crate) fn new(user: &str, connections: &[Connection], real: bool) -> Self {
        let lane = |connection: &Connection| {
            let mut feed = Feed::new(&user.replace("{n}", &connection.index.to_string()));
            feed.retarget(connection, real);
            Lane { feed, next_id: FIRST_ID, in_flight: VecDeque::new() }
        };
        let latency = Histogram::new_with_bounds(1, LONGEST_LATENCY_NS, 3).expect("bounds the histogram can hold");
        Self {
            answers: Answers::new(),
            lanes: connections.iter().map(lane).collect(),
            real,
            feeding: false,
            measuring: false,
            answered: 0,
            lines: Vec::new(),
            tally: Tally {
                accepted: 0,
                refused_by_code: BTreeMap::new(),
                latency,
                changes: 0,
                difficulty: connections.iter().map(|one| one.difficulty).fold(0.0, f64::max),
            },
        }
    }

    /// Puts the first submits into flight.
    pub(crate) fn begin(&mut self, swarm: &mut Swarm, pipeline: usize) {
        self.feeding = true;
        for connection in &mut swarm.connections {
            self.submit(connection, pipeline);
        }
    }

    /// Runs for some time.
    pub(crate) fn run(&mut self, swarm: &mut Swarm, time: Duration, measuring: bool) -> Result<Duration> {
        self.measuring = measuring;
        let begun = Instant::now();
        let mut last = self.count();
        let mut heard = begun;
        while begun.elapsed() < time {
            let left = time.saturating_sub(begun.elapsed()).min(Duration::from_millis(50));
            swarm.turn(left, self)?;
            if self.count() != last || !measuring {
                last = self.count();
                heard = Instant::now();
            }
            if swarm.ready() == 0 {
                bail!("the pool closed every connection: {}", swarm.closed().next().unwrap_or("no reason seen"));
            }
            if heard.elapsed() > Duration::from_secs(30) {
                bail!("the pool has answered no submit for 30 s; {} are in flight", self.in_flight());
            }
        }
        self.measuring = false;
        Ok(begun.elapsed())
    }

    /// Sends no more and waits for the answers due; the number that never came.
    pub(crate) fn drain(&mut self, swarm: &mut Swarm, within: Duration) -> Result<usize> {
        self.feeding = false;
        let begun = Instant::now();
        while self.in_flight() > 0 && begun.elapsed() < within {
            swarm.turn(Duration::from_millis(20), self)?;
        }
        Ok(self.in_flight())
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.in_flight.len()).sum()
    }

    fn count(&self) -> u64 {
        self.tally.accepted + self.tally.refused_by_code.values().sum::<u64>()
    }

    fn submit(&mut self, connection: &mut Connection, count: usize) {
        let Some(lane) = self.lanes.get_mut(connection.index).filter(|_| connection.is_ready()) else { return };
        self.lines.clear();
        let now = Instant::now();
        for _ in 0..count {
            lane.feed.push(&mut self.lines, lane.next_id);
            lane.in_flight.push_back((lane.next_id, now));
            lane.next_id += 1;
        }
        // Looking for shares may have taken a while: it is no part of their latency.
        let now = Instant::now();
        lane.in_flight.iter_mut().rev().take(count).for_each(|flight| flight.1 = now);
        connection.send(&self.lines);
    }

    fn answer(&mut self, connection: usize, id: u64, verdict: Verdict, at: Instant) {
        let in_flight = &mut self.lanes[connection].in_flight;
        // Pools answer in order, nearly always.
        let position = match in_flight.front() {
            Some((first, _)) if *first == id => Some(0),
            _ => in_flight.iter().position(|(one, _)| *one == id),
        };
        let Some((_, sent)) = position.and_then(|position| in_flight.remove(position)) else { return };
        self.answered += 1;
        if !self.measuring {
            return;
        }
        let latency = at.duration_since(sent).as_nanos() as u64;
        self.tally.latency.saturating_record(latency.max(1));
        match verdict {
            Verdict::Accepted => self.tally.accepted += 1,
            Verdict::Refused(code) => *self.tally.refused_by_code.entry(code).or_default() += 1,
        }
    }
}

impl Visitor for Engine {
    fn line(&mut self, connection: &mut Connection, line: &[u8], at: Instant) {
        match self.answers.read(line) {
            Line::Answer { id, verdict } => self.answer(connection.index, id, verdict, at),
            Line::Other => {
                if connection.observe(line) {
                    self.lanes[connection.index].feed.retarget(connection, self.real);
                    self.tally.difficulty = self.tally.difficulty.max(connection.difficulty);
                    self.tally.changes += u64::from(self.measuring);
                }
            }
        }
    }

    fn turned(&mut self, connection: &mut Connection) {
        let answered = std::mem::take(&mut self.answered);
        if self.feeding && answered > 0 {
            self.submit(connection, answered);
        }
    }
}
