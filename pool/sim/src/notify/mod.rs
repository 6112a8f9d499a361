//! From a new block to the miners of any Stratum V1 pool: the node finds a block on request, and every miner's notify is
//! timed against the node's own ZMQ message and against a bare loop of writes to as many sockets in the same run.

mod arrivals;
mod bare;
mod report;
mod rpc;
mod tip;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::mpsc as std_mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::mpsc;

pub use self::report::{Block, Report};
use self::{
    arrivals::{Arrivals, PrevHash, as_in_notify, prev_hash},
    bare::{BareLoop, Round},
    rpc::Rpc,
    tip::Tips,
};
use crate::load::{
    Spread,
    process::allow_open_files,
    swarm::{Level, Swarm},
};

#[derive(Clone)]
pub struct Options {
    /// `host:port`.
    pub target: String,
    /// `{n}` in it stands for the number of the connection.
    pub user: String,
    pub password: String,
    /// `http://user:password@host:port` of a regtest node.
    pub rpc: String,
    /// Where the node publishes `hashblock`, as `tcp://host:port`.
    pub zmq: String,
    pub connections: usize,
    pub blocks: usize,
    /// Blocks in front that are not counted.
    pub warm_up_blocks: usize,
    /// Who the node's blocks pay.
    pub address: String,
    /// How long a miner's notify may take before it counts as missing.
    pub patience: Duration,
    /// Quiet time before and after each block, for the pool to finish what it does beside.
    pub pause: Duration,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, user, zmq, connections, blocks, .. } = self;
        let mut shown = f.debug_struct("Options");
        shown.field("target", target).field("user", user).field("zmq", zmq);
        shown.field("connections", connections).field("blocks", blocks).finish_non_exhaustive()
    }
}

impl Options {
    /// 100 miners, 20 blocks after one that is not counted.
    pub fn new(
        target: impl Into<String>,
        user: impl Into<String>,
        rpc: impl Into<String>,
        zmq: impl Into<String>,
    ) -> Self {
        Self {
            target: target.into(),
            user: user.into(),
            password: "x".into(),
            rpc: rpc.into(),
            zmq: zmq.into(),
            connections: 100,
            blocks: 20,
            warm_up_blocks: 1,
            address: "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".into(),
            patience: Duration::from_secs(30),
            pause: Duration::from_millis(300),
        }
    }
}

/// At least so many rounds of the bare loop: one before each block, so that both see the same machine, and the rest at
/// the end.
const BARE_ROUNDS: usize = 10;

/// Finds the blocks and measures.
pub async fn run(options: Options) -> Result<Report> {
    ensure!((1..=20_000).contains(&options.connections), "--connections must be 1 to 20000");
    ensure!((1..=10_000).contains(&options.blocks), "--blocks must be 1 to 10000");
    let rpc = Rpc::new(&options.rpc)?;
    rpc.call("getblockcount", &serde_json::json!([])).await?;
    let address = options.address.clone();
    let (ask, mut asked) = mpsc::unbounded_channel::<()>();
    let (answer, answers) = std_mpsc::channel();
    let measuring = tokio::task::spawn_blocking(move || Run::new(options, ask, answers)?.measure());
    while asked.recv().await.is_some() {
        // The measurement has failed when nobody takes the answer; its own error tells why.
        let _ = answer.send(rpc.generate(&address).await);
    }
    measuring.await.context("the measurement panicked")?
}

/// The measuring thread: it alone reads the miners' sockets, and asks for blocks through a channel.
struct Run {
    options: Options,
    swarm: Swarm,
    arrivals: Arrivals,
    notify_line: Vec<u8>,
    tips: Tips,
    tip_times: HashMap<String, Instant>,
    ask: mpsc::UnboundedSender<()>,
    answers: std_mpsc::Receiver<Result<String>>,
}

impl Run {
    fn new(
        options: Options,
        ask: mpsc::UnboundedSender<()>,
        answers: std_mpsc::Receiver<Result<String>>,
    ) -> Result<Self> {
        // The miners, and two ends of each pair of the bare loop.
        allow_open_files(options.connections as u64 * 3 + 64)?;
        let tips = Tips::subscribe(&options.zmq)?;
        let mut swarm = Swarm::new(&options.target)?;
        // Lines of connections that are ready while others are not yet: they only matter by their last job.
        let mut early = Arrivals::new((0..options.connections).map(|_| None));
        let within = Duration::from_secs(30 + options.connections as u64 / 50);
        swarm.open(options.connections, Level::Working, &options.user, &options.password, within, &mut early)?;
        let notify_line = swarm.connections[0].notify_line.clone();
        let starting = |line: &[u8]| prev_hash(line).map(|(_, hash)| *hash);
        ensure!(starting(&notify_line).is_some(), "the pool's mining.notify has no previous hash of 64 digits");
        let arrivals = Arrivals::new(swarm.connections.iter().map(|one| starting(&one.notify_line)));
        Ok(Self { options, swarm, arrivals, notify_line, tips, tip_times: HashMap::new(), ask, answers })
    }

    fn measure(mut self) -> Result<Report> {
        let mut bare = BareLoop::open(self.options.connections, &self.notify_line)?;
        // The first of each grow buffers and are not counted.
        bare.run()?;
        for _ in 0..self.options.warm_up_blocks {
            self.block()?;
        }
        let mut rounds = Vec::new();
        let mut blocks = Vec::new();
        for _ in 0..self.options.blocks {
            rounds.push(bare.run()?);
            self.rest()?;
            blocks.push(self.block()?);
            self.rest()?;
        }
        while rounds.len() < BARE_ROUNDS {
            rounds.push(bare.run()?);
            self.rest()?;
        }
        Ok(self.report(blocks, &rounds))
    }

    /// Has the node find a block and waits for every miner's notify.
    fn block(&mut self) -> Result<Block> {
        self.arrivals.arm();
        self.ask.send(()).ok().context("the run was stopped")?;
        let deadline = Instant::now() + self.options.patience;
        let mut found: Option<(String, PrevHash)> = None;
        loop {
            self.swarm.turn(Duration::from_millis(2), &mut self.arrivals)?;
            if found.is_none() {
                match self.answers.try_recv() {
                    Ok(hash) => {
                        let hash = hash?;
                        let expected = as_in_notify(&hash).with_context(|| format!("{hash:?} is no block hash"))?;
                        found = Some((hash, expected));
                    }
                    Err(std_mpsc::TryRecvError::Empty) => {}
                    Err(std_mpsc::TryRecvError::Disconnected) => bail!("the run was stopped"),
                }
            }
            let listening = self.swarm.ready();
            ensure!(
                listening > 0,
                "the pool closed every connection: {}",
                self.swarm.closed().next().unwrap_or("no reason seen")
            );
            if let Some((_, expected)) = found.as_ref().filter(|_| self.arrivals.changed >= listening)
                && self.arrivals.of(expected).len() >= listening
            {
                break;
            }
            if Instant::now() > deadline {
                break;
            }
        }
        let Some((hash, expected)) = found else {
            bail!("the node did not find a block within {} s", self.options.patience.as_secs())
        };
        let zmq = self.tip_time(&hash)?;
        let arrived = self.arrivals.of(&expected);
        let (Some(first), Some(last)) = (arrived.iter().min(), arrived.iter().max()) else {
            bail!(
                "no miner heard of block {hash} within {} s; does the pool work on the node of --rpc? {}",
                self.options.patience.as_secs(),
                self.swarm.closed().next().unwrap_or_default()
            )
        };
        let since_zmq = |at: &Instant| zmq.map(|zmq| signed_ms(zmq, *at));
        let each_ms: Vec<f64> = arrived.iter().filter_map(since_zmq).collect();
        Ok(Block {
            hash,
            notified: arrived.len(),
            zmq_to_first_ms: since_zmq(first),
            zmq_to_last_ms: since_zmq(last),
            first_to_last_ms: signed_ms(*first, *last),
            zmq_to_each_ms: Spread::of(each_ms.clone()),
            each_ms,
        })
    }

    /// Reads on, quietly, while the pool finishes what it does beside.
    fn rest(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < self.options.pause {
            self.swarm.turn(Duration::from_millis(20), &mut self.arrivals)?;
        }
        Ok(())
    }

    /// When the node's message of this block came; `None` if it does not come within a second.
    fn tip_time(&mut self, hash: &str) -> Result<Option<Instant>> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            self.tip_times.extend(self.tips.messages.try_iter());
            let time = self.tip_times.remove(hash);
            if time.is_some() || Instant::now() > deadline {
                self.tip_times.clear();
                return Ok(time);
            }
            self.swarm.turn(Duration::from_millis(2), &mut self.arrivals)?;
        }
    }

    fn report(&self, blocks: Vec<Block>, rounds: &[Round]) -> Report {
        let over = |figure: fn(&Block) -> Option<f64>| Spread::of(blocks.iter().filter_map(figure).collect());
        let bare = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect());
        let first_to_last_ms = over(|block| Some(block.first_to_last_ms));
        let bare_first_to_last_ms = bare(|round| round.first_to_last);
        let bare_loop_ms = bare(|round| round.total);
        let ratio = |bare: Option<Spread>, of: fn(Spread) -> f64| {
            let (pool, bare) = (of(first_to_last_ms?), of(bare?));
            // One socket has no way from first to last.
            (bare > 0.0).then_some(pool / bare)
        };
        Report {
            target: self.options.target.clone(),
            connections: self.options.connections,
            notify_bytes: self.notify_line.len() + 1,
            ready_ms: Spread::of(self.swarm.opening_times().1),
            zmq_to_first_ms: over(|block| block.zmq_to_first_ms),
            zmq_to_last_ms: over(|block| block.zmq_to_last_ms),
            zmq_to_each_ms: Spread::of(blocks.iter().flat_map(|block| block.each_ms.iter().copied()).collect()),
            ratio: ratio(bare_first_to_last_ms, |spread| spread.p50),
            ratio_of_least: ratio(bare_first_to_last_ms, |spread| spread.min),
            ratio_to_whole_loop: ratio(bare_loop_ms, |spread| spread.p50),
            first_to_last_ms,
            bare_first_to_last_ms,
            bare_loop_ms,
            missing: blocks.iter().map(|block| self.options.connections - block.notified).sum(),
            disconnects: self.swarm.closed().count(),
            first_disconnect: self.swarm.closed().next().map(str::to_owned),
            blocks,
        }
    }
}

/// Milliseconds, below zero if `to` is before `from`.
fn signed_ms(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(after) => after.as_secs_f64() * 1e3,
        None => from.duration_since(to).as_secs_f64() * -1e3,
    }
}
