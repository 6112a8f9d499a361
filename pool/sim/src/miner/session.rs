//! One connection of an honest miner, from the first line to the last: set-up in the persona's own order, jobs in,
//! shares out, and a record of everything the pool did that the device would not have borne.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    Budget, MinerOptions,
    net::{Connection, Writer},
    persona::{Ids, MAX_BRANCHES, Profile, Say, Then, VersionBits},
    stats::MinerStats,
    violation::Violation,
    wire::{self, MAX_LINE, Notify, ServerLine},
    work::{Found, Work},
};

/// Hashing happens in slices this far apart.
const TICK: Duration = Duration::from_millis(20);
/// A miner never hashes longer at once than this many hashes (about a millisecond).
const SLICE: u64 = 8192;
/// The most hashes a second one simulated miner does, whatever its budget asks for.
const MAX_HASHES: f64 = 400_000.0;
const REMEMBERED_JOB_IDS: usize = 16;
/// Submits without an answer that are kept in mind.
const MAX_PENDING: usize = 4096;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the pool refused {method}: {error}")]
    Refused { method: &'static str, error: Value },
    #[error("the pool said something else where its answer to {0} was due")]
    FirstLine(&'static str),
    #[error("nothing was heard for {0} s")]
    Silence(u64),
    #[error("the pool asked to reconnect")]
    Reconnect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Setup(Say),
    Submit { difficulty: f64, block: bool },
}

#[derive(Debug)]
struct Pending {
    id: u64,
    asked: Asked,
    at: Instant,
}

pub(crate) struct Session<'a> {
    options: &'a MinerOptions,
    profile: &'static Profile,
    stats: &'a watch::Sender<MinerStats>,
    writer: Writer,
    user: String,
    seed: u64,
    last_id: u64,
    pending: VecDeque<Pending>,
    extranonce: Option<(Vec<u8>, usize)>,
    mask: u32,
    authorized: bool,
    /// The latest `set_difficulty`; a job takes it when it comes.
    difficulty: Option<f64>,
    work: Option<Work>,
    job_ids: VecDeque<String>,
}

impl<'a> Session<'a> {
    /// Runs until the connection ends.
    pub(crate) async fn run(
        connection: Connection,
        options: &'a MinerOptions,
        stats: &'a watch::Sender<MinerStats>,
        seed: u64,
    ) -> End {
        let profile = options.persona.profile();
        let user = match profile.user_limit {
            Some(limit) => options.user.chars().take(limit).collect(),
            None => options.user.clone(),
        };
        let Connection { mut lines, writer } = connection;
        let mut session = Session {
            options,
            profile,
            stats,
            writer,
            user,
            seed,
            last_id: 0,
            pending: VecDeque::new(),
            extranonce: None,
            mask: 0,
            authorized: false,
            difficulty: None,
            work: None,
            job_ids: VecDeque::new(),
        };
        match session.drive(&mut lines).await {
            Ok(()) => End::Reconnect,
            Err(end) => end,
        }
    }

    async fn drive(&mut self, lines: &mut super::net::Lines) -> Result<(), End> {
        let silence = self.options.scaled(self.profile.silence);
        let mut deadline = tokio::time::Instant::now() + silence;
        let mut steps = self.profile.steps.iter();
        let mut waiting: Option<(Say, Then)> = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let keep_alive = self.profile.keep_alive.map(|every| self.options.scaled(every));
        let mut next_keep_alive = keep_alive.map(|every| tokio::time::Instant::now() + every);
        let mut hashed_until = Instant::now();
        loop {
            while waiting.is_none()
                && let Some(&(say, then)) = steps.next()
            {
                self.say(say).await?;
                waiting = (then != Then::GoOn).then_some((say, then));
            }
            let kept_alive = next_keep_alive.unwrap_or_else(|| tokio::time::Instant::now() + silence);
            tokio::select! {
                biased;
                line = lines.next() => {
                    deadline = tokio::time::Instant::now() + silence;
                    let line = match line {
                        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                            self.violate(Violation::LineTooLong { limit: MAX_LINE });
                            return Err(error.into());
                        }
                        other => other?,
                    };
                    let answered = self.hear(line).await?;
                    match waiting {
                        Some((say, _)) if answered == Some(Asked::Setup(say)) => waiting = None,
                        Some((say, Then::FirstLine)) => {
                            let method = method_of(say);
                            self.violate(Violation::FirstLineNotAnswer { method, line: excerpt(line) });
                            return Err(End::FirstLine(method));
                        }
                        _ => {}
                    }
                }
                _ = tick.tick(), if self.authorized && self.work.is_some() => {
                    let now = Instant::now();
                    let since = now.duration_since(hashed_until).min(TICK * 10);
                    hashed_until = now;
                    self.grind(since).await?;
                }
                () = sleep_until(kept_alive), if next_keep_alive.is_some() && waiting.is_none() => {
                    next_keep_alive = keep_alive.map(|every| tokio::time::Instant::now() + every);
                    self.say(Say::SuggestDifficulty).await?;
                }
                () = sleep_until(deadline) => {
                    let seconds = self.profile.silence.as_secs();
                    self.violate(Violation::Silence { seconds });
                    return Err(End::Silence(seconds));
                }
            }
        }
    }

    fn violate(&self, violation: Violation) {
        tracing::debug!(persona = %self.options.persona, %violation, "the pool violates the protocol");
        self.stats.send_modify(|stats| stats.violate(violation));
    }

    async fn say(&mut self, say: Say) -> Result<(), End> {
        let profile = self.profile;
        let params = match say {
            Say::Configure => profile.configure.to_owned(),
            Say::Subscribe => Value::from(vec![profile.agent]).to_string(),
            Say::Authorize => Value::from(vec![&*self.user, &*self.options.password]).to_string(),
            Say::SuggestDifficulty => format!("[{}]", profile.suggests),
            Say::ExtranonceSubscribe => "[]".to_owned(),
        };
        self.last_id += 1;
        let id = self.last_id;
        let line = format!("{{\"id\":{id},\"method\":\"{}\",\"params\":{params}}}\n", method_of(say));
        self.pending.push_back(Pending { id, asked: Asked::Setup(say), at: Instant::now() });
        Ok(self.writer.send(line.as_bytes()).await?)
    }

    /// Takes one line in; the request it answers, if it is an answer.
    async fn hear(&mut self, line: &[u8]) -> Result<Option<Asked>, End> {
        match wire::parse(line) {
            Err(error) => self.violate(Violation::Malformed { why: error.to_string(), line: excerpt(line) }),
            Ok(ServerLine::Answer { id, result, error, complete }) => {
                if !complete {
                    self.violate(Violation::IncompleteAnswer { line: excerpt(line) });
                }
                return self.answer(&id, &result, &error);
            }
            Ok(ServerLine::Notify(notify)) => self.notify(*notify),
            Ok(ServerLine::SetDifficulty(difficulty)) => {
                self.difficulty = Some(difficulty);
                if let Some(work) = self.work.as_mut().filter(|_| !self.profile.difficulty_waits_for_job) {
                    work.set_difficulty(difficulty);
                    self.stats.send_modify(|stats| stats.difficulty = difficulty);
                }
            }
            Ok(ServerLine::SetExtranonce { extranonce1, extranonce2_size }) => {
                self.set_extranonce(extranonce1, extranonce2_size);
            }
            Ok(ServerLine::SetVersionMask(mask)) => self.set_mask(mask),
            Ok(ServerLine::Reconnect) => return Err(End::Reconnect),
            Ok(ServerLine::Request { id, method }) => {
                let result = if method == "mining.ping" { "pong" } else { self.profile.agent };
                let line = serde_json::json!({"id": id, "result": result, "error": null});
                self.writer.send(format!("{line}\n").as_bytes()).await?;
            }
            Ok(ServerLine::Other) => {}
        }
        Ok(None)
    }

    fn answer(&mut self, id: &Value, result: &Value, error: &Value) -> Result<Option<Asked>, End> {
        let position = id.as_u64().and_then(|id| self.pending.iter().position(|pending| pending.id == id));
        let Some(Pending { asked, at, .. }) = position.and_then(|position| self.pending.remove(position)) else {
            self.violate(Violation::UnknownAnswerId { id: id.to_string() });
            return Ok(None);
        };
        let refused = !error.is_null() || result == &Value::Bool(false);
        match asked {
            Asked::Submit { difficulty, block } => self.stats.send_modify(|stats| {
                stats.submit_latency.record(at.elapsed());
                if refused || result != &Value::Bool(true) {
                    stats.rejected += 1;
                    *stats.rejected_by_code.entry(wire::error_code(error)).or_default() += 1;
                } else {
                    stats.accepted += 1;
                    stats.blocks += u64::from(block);
                    stats.best_difficulty = stats.best_difficulty.max(difficulty);
                }
            }),
            Asked::Setup(Say::Subscribe) if refused => {
                return Err(End::Refused { method: "mining.subscribe", error: error.clone() });
            }
            Asked::Setup(Say::Subscribe) => {
                if !result.pointer("/0/0/1").is_some_and(Value::is_string) {
                    self.violate(Violation::SubscriptionShape { result: result.to_string() });
                }
                match wire::extranonce("mining.subscribe", result.get(1), result.get(2)) {
                    Ok((extranonce1, size)) => self.set_extranonce(extranonce1, size),
                    Err(why) => {
                        self.violate(Violation::Malformed { why: why.to_string(), line: result.to_string() });
                        return Err(End::Refused { method: "mining.subscribe", error: error.clone() });
                    }
                }
            }
            Asked::Setup(Say::Authorize) => {
                self.authorized = !refused;
                self.stats.send_modify(|stats| {
                    stats.authorized = !refused;
                    stats.refused_authorizations += u64::from(refused);
                });
                if refused {
                    return Err(End::Refused { method: "mining.authorize", error: error.clone() });
                }
            }
            Asked::Setup(Say::Configure) => {
                if result.get("version-rolling") == Some(&Value::Bool(true)) {
                    match wire::number("mining.configure", "mask", result.get("version-rolling.mask")) {
                        Ok(mask) => self.set_mask(mask),
                        Err(why) => {
                            self.violate(Violation::Malformed { why: why.to_string(), line: result.to_string() });
                        }
                    }
                }
            }
            // Older pools refuse these two; every device lives with that.
            Asked::Setup(Say::SuggestDifficulty | Say::ExtranonceSubscribe) => {}
        }
        Ok(Some(asked))
    }

    fn set_extranonce(&mut self, extranonce1: Vec<u8>, size: usize) {
        if !self.profile.extranonce2_sizes.contains(&size) {
            self.violate(Violation::Extranonce2Size { size, allowed: self.profile.extranonce2_words });
        }
        self.extranonce = Some((extranonce1, size));
        self.rework();
    }

    fn set_mask(&mut self, mask: u32) {
        if self.profile.version_bits == VersionBits::None {
            return;
        }
        self.mask = mask;
        self.stats.send_modify(|stats| stats.version_mask = mask);
        self.rework();
    }

    /// Starts the current job anew under a changed extranonce or mask.
    fn rework(&mut self) {
        if let Some(work) = self.work.take() {
            self.start(work.notify, work.difficulty);
        }
    }

    fn notify(&mut self, notify: Notify) {
        let now = Instant::now();
        let job_id = || notify.job_id.clone();
        let Some((extranonce1, extranonce2_size)) = &self.extranonce else {
            return self.violate(Violation::NotifyBeforeSubscribed { job_id: job_id() });
        };
        let bytes = notify.coinbase_len(extranonce1.len(), *extranonce2_size);
        let limit = self.profile.coinbase_limit;
        if bytes > limit {
            self.violate(Violation::CoinbaseTooLong { job_id: job_id(), bytes, limit });
        }
        if notify.branches.len() > MAX_BRANCHES {
            let branches = notify.branches.len();
            self.violate(Violation::TooManyBranches { job_id: job_id(), branches, limit: MAX_BRANCHES });
        }
        if notify.version & self.mask != 0 {
            let (version, mask) = (notify.version, self.mask);
            self.violate(Violation::VersionBitsInMask { job_id: job_id(), version, mask });
        }
        let Some(difficulty) = self.difficulty else {
            self.violate(Violation::NotifyBeforeDifficulty { job_id: job_id() });
            return self.start(notify, 1.0);
        };
        let repeated = self.job_ids.contains(&notify.job_id);
        if repeated && !notify.clean {
            self.violate(Violation::RepeatedJobId { job_id: job_id() });
            if self.profile.drops_repeated_ids {
                return;
            }
        }
        if !repeated {
            self.job_ids.push_back(notify.job_id.clone());
            if self.job_ids.len() > REMEMBERED_JOB_IDS {
                self.job_ids.pop_front();
            }
        }
        let mut tip = notify.prev_hash;
        tip.reverse();
        self.stats.send_modify(|stats| {
            stats.jobs += 1;
            stats.clean_jobs += u64::from(notify.clean);
            stats.tip = Some(hex::encode(tip));
            stats.last_notify = Some(now);
        });
        self.start(notify, difficulty);
    }

    fn start(&mut self, notify: Notify, difficulty: f64) {
        let Some((extranonce1, extranonce2_size)) = &self.extranonce else { return };
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.work = Some(Work::new(notify, difficulty, extranonce1, *extranonce2_size, self.mask, self.seed));
        self.stats.send_modify(|stats| stats.difficulty = difficulty);
    }

    /// Hashes as much as the budget gives for this stretch of time and submits what it finds.
    async fn grind(&mut self, since: Duration) -> Result<(), End> {
        let Some(work) = self.work.as_mut() else { return Ok(()) };
        let rate = match self.options.budget {
            Budget::HashesPerSecond(hashes) => hashes,
            Budget::SharesPerSecond(shares) => shares * (work.difficulty / super::hash::EVERY_HASH_MEETS).max(1.0),
        };
        // The fraction that makes no whole hash is drawn by lot from the seed, so that slow miners hash too.
        let exact = rate.clamp(0.0, MAX_HASHES) * since.as_secs_f64();
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let lot = (self.seed >> 11) as f64 / (1u64 << 53) as f64;
        let hashes = ((exact + lot) as u64).min(SLICE);
        let found: Vec<Found> = (0..hashes).filter_map(|_| work.step()).collect();
        let mut lines = String::new();
        for share in &found {
            let line = self.submit_line(share);
            lines.push_str(&line);
        }
        self.stats.send_modify(|stats| {
            stats.hashes += hashes;
            stats.submitted += found.len() as u64;
        });
        if !lines.is_empty() {
            self.writer.send(lines.as_bytes()).await?;
        }
        Ok(())
    }

    fn submit_line(&mut self, share: &Found) -> String {
        self.last_id += 1;
        let id = match self.profile.ids {
            Ids::Counting => self.last_id,
            Ids::SubmitAlways(id) => id,
        };
        let asked = Asked::Submit { difficulty: share.difficulty, block: share.block };
        self.pending.push_back(Pending { id, asked, at: Instant::now() });
        if self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
        let work = self.work.as_ref().expect("a share was found in it");
        let mut params = vec![
            self.user.clone(),
            work.notify.job_id.clone(),
            hex::encode(&share.extranonce2),
            format!("{:08x}", share.ntime),
            if self.profile.unpadded_nonce { format!("{:x}", share.nonce) } else { format!("{:08x}", share.nonce) },
        ];
        match self.profile.version_bits {
            _ if self.mask == 0 => {}
            VersionBits::None => {}
            VersionBits::Masked => params.push(format!("{:08x}", share.version & self.mask)),
            VersionBits::Xor => params.push(format!("{:08x}", share.version ^ work.notify.version)),
        }
        format!("{{\"id\":{id},\"method\":\"mining.submit\",\"params\":{}}}\n", Value::from(params))
    }
}

fn method_of(say: Say) -> &'static str {
    match say {
        Say::Configure => "mining.configure",
        Say::Subscribe => "mining.subscribe",
        Say::Authorize => "mining.authorize",
        Say::SuggestDifficulty => "mining.suggest_difficulty",
        Say::ExtranonceSubscribe => "mining.extranonce.subscribe",
    }
}

/// The start of a foreign line, for a report.
fn excerpt(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned()
}
