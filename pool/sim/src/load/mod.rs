//! Load on any Stratum V1 pool: submits a second, their latency, and the pool's CPU time a share against the hashing a
//! share cannot do without; or the memory of connections that do nothing.
//! One thread, so that the pool has the other cores.

mod answers;
mod engine;
mod feed;
pub mod floor;
pub(crate) mod process;
mod report;
pub(crate) mod spread;
pub(crate) mod swarm;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::{
    engine::{Engine, Tally},
    floor::Compressions,
    process::{Usage, allow_open_files, usage},
    swarm::{Level, Nobody, Swarm},
};
pub use self::{
    report::{IdleReport, LoadReport, ProcessReport, Report},
    spread::Spread,
};
use crate::miner::hash::EVERY_HASH_MEETS;

/// What is put on the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Shares that meet the difficulty, as far as some thousand hashes a share get.
    Accepted,
    /// Shares that are to be refused as too low, for pools whose least difficulty is out of reach.
    Refused,
    /// Authorized connections that submit nothing.
    Idle,
    /// Connections that say nothing at all.
    IdleConnected,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port`.
    pub target: String,
    /// `{n}` in it stands for the number of the connection.
    pub user: String,
    pub password: String,
    pub connections: usize,
    /// Submits in flight on each connection.
    pub pipeline: usize,
    /// Measured time; idle connections are held so long.
    pub seconds: f64,
    /// Load before the measured time.
    pub warm_up_seconds: f64,
    /// The pool's process, for its CPU time and memory.
    pub pid: Option<u32>,
    pub mode: Mode,
}

impl Options {
    /// 50 connections, 16 submits in flight, 10 s after 1 s of warm-up.
    pub fn new(target: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            user: user.into(),
            password: "x".into(),
            connections: 50,
            pipeline: 16,
            seconds: 10.0,
            warm_up_seconds: 1.0,
            pid: None,
            mode: Mode::Accepted,
        }
    }
}

/// Connections a second that even a slow pool sets up.
const SLOWEST_SET_UP: u64 = 50;

/// Puts the load on the pool and measures; takes as long as the options say and a little more.
pub async fn run(options: Options) -> Result<Report> {
    tokio::task::spawn_blocking(move || measure(&options)).await.context("the load generator panicked")?
}

fn measure(options: &Options) -> Result<Report> {
    let Options { target, connections, pipeline, seconds, warm_up_seconds, .. } = options;
    ensure!((1..=60_000).contains(connections), "--connections must be 1 to 60000");
    ensure!((1..=10_000).contains(pipeline), "--pipeline must be 1 to 10000");
    let sane = |seconds: &f64| (0.0..=86_400.0).contains(seconds);
    ensure!(sane(seconds) && *seconds > 0.0 && sane(warm_up_seconds), "--seconds must be above 0 and at most 86400");
    allow_open_files(*connections as u64 + 64)?;
    let before = options.pid.map(usage).transpose()?;
    let level = match options.mode {
        Mode::Accepted | Mode::Refused => Level::Working,
        Mode::Idle => Level::Authorized,
        Mode::IdleConnected => Level::Connected,
    };
    let mut swarm = Swarm::new(target)?;
    let within = Duration::from_secs(30 + *connections as u64 / SLOWEST_SET_UP);
    swarm.open(*connections, level, &options.user, &options.password, within, &mut Nobody)?;
    if matches!(options.mode, Mode::Idle | Mode::IdleConnected) {
        hold(options, &mut swarm, before).map(|report| Report::Idle(Box::new(report)))
    } else {
        load(options, &mut swarm, before).map(|report| Report::Load(Box::new(report)))
    }
}

fn hold(options: &Options, swarm: &mut Swarm, before: Option<Usage>) -> Result<IdleReport> {
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < options.seconds {
        swarm.turn(Duration::from_millis(50), &mut Nobody)?;
    }
    let process = process_report(options, before, before)?;
    let (connect, ready) = swarm.opening_times();
    let resident_bytes_per_connection = process.as_ref().map(|process| {
        (process.resident_after_bytes as f64 - process.resident_before_bytes as f64) / options.connections as f64
    });
    Ok(IdleReport {
        target: options.target.clone(),
        mode: options.mode,
        connections: options.connections,
        held_seconds: begun.elapsed().as_secs_f64(),
        connect_ms: Spread::of(connect),
        ready_ms: Spread::of(ready),
        disconnects: swarm.closed().count(),
        first_disconnect: swarm.closed().next().map(str::to_owned),
        process,
        resident_bytes_per_connection,
    })
}

/// What the process used since `began`, and its memory now and at `before`.
fn process_report(options: &Options, before: Option<Usage>, began: Option<Usage>) -> Result<Option<ProcessReport>> {
    let Some(((pid, before), began)) = options.pid.zip(before).zip(began) else { return Ok(None) };
    let now = usage(pid)?;
    Ok(Some(ProcessReport {
        pid,
        cpu_seconds: now.cpu.saturating_sub(began.cpu).as_secs_f64(),
        resident_before_bytes: before.resident_bytes,
        resident_after_bytes: now.resident_bytes,
    }))
}

fn load(options: &Options, swarm: &mut Swarm, before: Option<Usage>) -> Result<LoadReport> {
    let first = &swarm.connections[0];
    let job = first.job.clone().context("a connection is ready without a job")?;
    let coinbase_bytes = job.coinbase_len(first.extranonce1.len(), first.extranonce2_size);
    let floor_count = Compressions::of_share(coinbase_bytes, job.coinb1.len(), floor::BRANCHES);
    let actual_count = Compressions::of_share(coinbase_bytes, job.coinb1.len(), job.branches.len());
    let mut floor_times = floor::time(floor_count.total);
    let mut actual_times = floor::time(actual_count.total);

    let mut engine = Engine::new(&options.user, &swarm.connections, options.mode == Mode::Accepted);
    engine.begin(swarm, options.pipeline);
    engine.run(swarm, Duration::from_secs_f64(options.warm_up_seconds), false)?;
    let began = options.pid.map(usage).transpose()?;
    let own_began = usage(std::process::id()).ok();
    let took = engine.run(swarm, Duration::from_secs_f64(options.seconds), true)?;
    let process = process_report(options, before, began)?;
    let own = own_began.zip(usage(std::process::id()).ok()).map(|(began, now)| now.cpu.saturating_sub(began.cpu));
    let unanswered = engine.drain(swarm, Duration::from_secs(2))?;

    floor_times.extend(floor::time(floor_count.total));
    actual_times.extend(floor::time(actual_count.total));
    let hash_floor_ns = floor::median(floor_times);
    let actual_floor_ns = floor::median(actual_times);

    let Tally { accepted, refused_by_code, latency, changes, difficulty } = &engine.tally;
    let refused: u64 = refused_by_code.values().sum();
    let shares = if options.mode == Mode::Accepted { *accepted } else { refused };
    let a_share = |seconds: f64, shares: u64| (shares > 0).then(|| seconds * 1e9 / shares as f64);
    let cpu_ns_per_share = process.as_ref().and_then(|process| a_share(process.cpu_seconds, shares));
    let ms = |ns: u64| ns as f64 / 1e6;
    let latency_ms = (!latency.is_empty()).then(|| Spread {
        min: ms(latency.min()),
        p50: ms(latency.value_at_quantile(0.5)),
        p99: ms(latency.value_at_quantile(0.99)),
        max: ms(latency.max()),
    });
    let seconds = took.as_secs_f64();
    let (connect, ready) = swarm.opening_times();
    Ok(LoadReport {
        target: options.target.clone(),
        mode: options.mode,
        connections: options.connections,
        pipeline: options.pipeline,
        seconds,
        accepted: *accepted,
        refused,
        refused_by_code: refused_by_code.clone(),
        answers_per_second: (accepted + refused) as f64 / seconds,
        accepted_per_second: *accepted as f64 / seconds,
        latency_ms,
        connect_ms: Spread::of(connect),
        ready_ms: Spread::of(ready),
        difficulty: *difficulty,
        coinbase_bytes,
        branches: job.branches.len(),
        changes: *changes,
        disconnects: swarm.closed().count(),
        first_disconnect: swarm.closed().next().map(str::to_owned),
        unanswered,
        cpu_ns_per_share,
        hash_floor_ns,
        hash_floor_compressions: floor_count,
        actual_floor_ns,
        actual_floor_compressions: actual_count,
        ratio: cpu_ns_per_share.map(|ns| ns / hash_floor_ns),
        actual_ratio: cpu_ns_per_share.map(|ns| ns / actual_floor_ns),
        generator_cpu_ns_per_share: own.and_then(|own| a_share(own.as_secs_f64(), accepted + refused)),
        notes: notes(options, &engine.tally, refused, &job),
        process,
    })
}

/// What a reader of the figures must know.
fn notes(options: &Options, tally: &Tally, refused: u64, job: &crate::miner::wire::Notify) -> Vec<String> {
    let mut notes = Vec::new();
    let total = tally.accepted + refused;
    if options.mode == Mode::Accepted && refused * 100 > total {
        notes.push(format!(
            "{refused} of {total} shares were refused; give the pool a fixed difficulty of {EVERY_HASH_MEETS:.2e} or less, \
             or measure with refused shares"
        ));
    } else if options.mode == Mode::Accepted && tally.difficulty > EVERY_HASH_MEETS {
        notes.push(format!(
            "at difficulty {} the generator tries {:.0} hashes a share; at {EVERY_HASH_MEETS:.2e} or less it need not",
            tally.difficulty,
            tally.difficulty / EVERY_HASH_MEETS
        ));
    }
    if options.mode == Mode::Refused && tally.accepted > 0 {
        notes.push(format!("{} shares were accepted though they were made to be refused", tally.accepted));
    }
    let network = bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(job.nbits)).difficulty_float();
    if network < 1.0 {
        notes.push(format!(
            "the network target ({:08x}) is within reach, so that shares are blocks and cost the pool more; \
             measure with a target out of reach",
            job.nbits
        ));
    }
    notes
}
