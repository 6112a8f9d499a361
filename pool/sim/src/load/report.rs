//! What a load run comes down to, for people and as JSON.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{Mode, floor::Compressions, spread::Spread};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Report {
    Load(Box<LoadReport>),
    Idle(Box<IdleReport>),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    pub target: String,
    pub mode: Mode,
    pub connections: usize,
    pub pipeline: usize,
    /// The measured time, without the warm-up before it.
    pub seconds: f64,
    pub accepted: u64,
    pub refused: u64,
    pub refused_by_code: BTreeMap<i64, u64>,
    pub answers_per_second: f64,
    pub accepted_per_second: f64,
    pub latency_ms: Option<Spread>,
    pub connect_ms: Option<Spread>,
    /// From the call to connect until authorized with a first job.
    pub ready_ms: Option<Spread>,
    /// The highest difficulty the pool set.
    pub difficulty: f64,
    pub coinbase_bytes: usize,
    pub branches: usize,
    /// Jobs, difficulties and extranonces that came while measuring, over all connections.
    pub changes: u64,
    pub disconnects: usize,
    pub first_disconnect: Option<String>,
    /// Submits that had no answer 2 s after the end.
    pub unanswered: usize,
    pub process: Option<ProcessReport>,
    /// The process's CPU time by the shares of the kind asked for (accepted, or refused).
    pub cpu_ns_per_share: Option<f64>,
    /// The compressions of one share with 12 branches and this pool's coinbase.
    pub hash_floor_ns: f64,
    pub hash_floor_compressions: Compressions,
    /// The same for the branches of the job at hand.
    pub actual_floor_ns: f64,
    pub actual_floor_compressions: Compressions,
    /// `cpu_ns_per_share / hash_floor_ns`
    pub ratio: Option<f64>,
    /// `cpu_ns_per_share / actual_floor_ns`
    pub actual_ratio: Option<f64>,
    /// What this generator itself spent a share.
    pub generator_cpu_ns_per_share: Option<f64>,
    /// What a reader of the figures must know.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessReport {
    pub pid: u32,
    pub cpu_seconds: f64,
    pub resident_before_bytes: u64,
    pub resident_after_bytes: u64,
}

/// Connections that do nothing, and what they cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdleReport {
    pub target: String,
    pub mode: Mode,
    pub connections: usize,
    pub held_seconds: f64,
    pub connect_ms: Option<Spread>,
    pub ready_ms: Option<Spread>,
    pub disconnects: usize,
    pub first_disconnect: Option<String>,
    /// The process before the first connection and at the end of the hold.
    pub process: Option<ProcessReport>,
    pub resident_bytes_per_connection: Option<f64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(report) => report.fmt(f),
            Self::Idle(report) => report.fmt(f),
        }
    }
}

fn optional(f: &mut fmt::Formatter<'_>, name: &str, spread: Option<Spread>) -> fmt::Result {
    spread.map_or(Ok(()), |spread| writeln!(f, "{name:<12}{spread}"))
}

fn losses(f: &mut fmt::Formatter<'_>, disconnects: usize, first: Option<&str>) -> fmt::Result {
    first.map_or(Ok(()), |why| writeln!(f, "lost        {disconnects} connections, the first because {why}"))
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, connections, pipeline, seconds, .. } = self;
        writeln!(f, "{target}: {connections} connections, {pipeline} submits in flight on each, {seconds:.1} s")?;
        writeln!(
            f,
            "answers     {:.0}/s, accepted {:.0}/s ({} accepted, {} refused {:?})",
            self.answers_per_second, self.accepted_per_second, self.accepted, self.refused, self.refused_by_code
        )?;
        optional(f, "latency", self.latency_ms)?;
        optional(f, "connect", self.connect_ms)?;
        optional(f, "ready", self.ready_ms)?;
        let Self { difficulty, coinbase_bytes, branches, .. } = self;
        writeln!(f, "job         difficulty {difficulty}, coinbase {coinbase_bytes} bytes, {branches} branches")?;
        let floor = |f: &mut fmt::Formatter<'_>, branches: usize, ns: f64, count: Compressions, ratio: Option<f64>| {
            let Compressions { coinbase, merkle, header, total } = count;
            write!(f, "hash_floor/{branches}: {ns:.0} ns, {total} compressions ({coinbase}+{merkle}+{header})")?;
            ratio.map_or(Ok(()), |ratio| write!(f, ", ratio {ratio:.2}"))?;
            writeln!(f)
        };
        floor(f, super::floor::BRANCHES, self.hash_floor_ns, self.hash_floor_compressions, self.ratio)?;
        if self.branches != super::floor::BRANCHES {
            floor(f, self.branches, self.actual_floor_ns, self.actual_floor_compressions, self.actual_ratio)?;
        }
        if let Some(process) = &self.process {
            writeln!(
                f,
                "process     {} used {:.2} s of CPU{}, resident {:.1} MiB before, {:.1} MiB after",
                process.pid,
                process.cpu_seconds,
                self.cpu_ns_per_share.map_or(String::new(), |ns| format!(", {ns:.0} ns a share")),
                mib(process.resident_before_bytes),
                mib(process.resident_after_bytes),
            )?;
        }
        if let Some(ns) = self.generator_cpu_ns_per_share {
            writeln!(f, "generator   {ns:.0} ns a share")?;
        }
        losses(f, self.disconnects, self.first_disconnect.as_deref())?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note        {note}"))
    }
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} idle connections, held {:.1} s", self.target, self.connections, self.held_seconds)?;
        optional(f, "connect", self.connect_ms)?;
        optional(f, "ready", self.ready_ms)?;
        if let Some(process) = &self.process {
            let (before, after) = (mib(process.resident_before_bytes), mib(process.resident_after_bytes));
            writeln!(f, "resident    {before:.1} MiB before, {after:.1} MiB with them")?;
        }
        if let Some(bytes) = self.resident_bytes_per_connection {
            writeln!(f, "each        {:.2} KiB", bytes / 1024.0)?;
        }
        losses(f, self.disconnects, self.first_disconnect.as_deref())
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
