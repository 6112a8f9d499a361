//! What the parts of a running node share, and the few things that change it: a block, transactions, a reorganisation.
//! A change under the lock tells ZMQ and the peers in its order, then wakes the renderer of templates.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bitcoin::{Block, BlockHash, Script};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::assemble::{assemble, grind, nobody};
use super::chain::{Accepted, Origin, State};
use super::faults::{FaultState, Faults};
use super::options::{Credentials, Options, StartError};
use super::peer::{Message, Peers};
use super::rng::Rng;
use super::rpc::server::{RpcServer, basic_auth, write_cookie};
use super::template::{Rendered, Snapshot};
use super::transactions::{PoolTx, Synth};
use super::validate::{self, Pow, Reason};
use super::zmq::Publisher;

/// Submissions remembered.
const REMEMBERED: usize = 1_000;

/// The best block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    pub hash: BlockHash,
    pub height: u32,
}

/// A call of `submitblock` and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    pub hash: BlockHash,
    /// `None` is Core's null: accepted as the new tip.
    pub answer: Option<String>,
}

/// Why the chain cannot be rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReorgError {
    #[error("a reorganisation of depth {depth} needs as many blocks on top of genesis, and there are {height}")]
    TooDeep { depth: u32, height: u32 },
    #[error("the blocks of the last {depth} are pruned: give the node more `keep_bytes` to roll back that far")]
    Pruned { depth: u32 },
    #[error("the node refuses the branch it made: set its clock no more than two hours behind the tip")]
    Refused,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) state: Mutex<State>,
    pub(crate) faults: watch::Sender<FaultState>,
    pub(crate) rpc: RpcServer,
    pub(crate) zmq: Publisher,
    pub(crate) stop: CancellationToken,
    pub(crate) started: Instant,
    /// The `Authorization` header callers must send; `None` lets everybody in.
    pub(crate) authorization: Mutex<Option<String>>,
    pub(crate) tips: watch::Sender<Tip>,
    peers: Mutex<Peers>,
    synth: Mutex<(Synth, BlockHash)>,
    dice: Mutex<Rng>,
    changed: Notify,
    rendered: watch::Sender<Option<Arc<Rendered>>>,
    submissions: Mutex<VecDeque<Submission>>,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        rpc: RpcServer,
        zmq: Publisher,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        options.target()?;
        let state = State::new(&options);
        let tip = Tip { hash: state.tip(), height: state.height() };
        let shared = Self {
            state: Mutex::new(state),
            faults: Faults::channel(),
            rpc,
            zmq,
            stop,
            started: Instant::now(),
            authorization: Mutex::new(None),
            tips: watch::Sender::new(tip),
            peers: Mutex::default(),
            synth: Mutex::new((Synth::new(options.seed), tip.hash)),
            dice: Mutex::new(Rng::new(options.seed)),
            changed: Notify::new(),
            rendered: watch::Sender::new(None),
            submissions: Mutex::default(),
            options,
        };
        match &shared.options.credentials {
            Credentials::Any => {}
            Credentials::UserPassword { user, password } => {
                *shared.authorization.lock() = Some(basic_auth(&format!("{user}:{password}")));
            }
            Credentials::Cookie(_) => shared.new_cookie()?,
        }
        shared.begin();
        Ok(shared)
    }

    /// Mines the blocks of the start and fills the mempool.
    fn begin(&self) {
        let count = self.options.initial_blocks;
        let mock = self.options.mock_time;
        let now = self.state.lock().now();
        for block in 0..count {
            self.state.lock().set_time(Some(now.saturating_sub(60 * (count - block))));
            self.extend_with(&nobody(), &[]);
        }
        self.state.lock().set_time(mock);
        self.fill();
        self.render();
    }

    pub(crate) fn new_cookie(&self) -> Result<(), StartError> {
        if let Credentials::Cookie(path) = &self.options.credentials {
            let secret = hex::encode(self.dice.lock().bytes::<32>());
            let cookie = format!("__cookie__:{secret}");
            write_cookie(path, &cookie).map_err(|error| StartError::Cookie { path: path.clone(), error })?;
            *self.authorization.lock() = Some(basic_auth(&cookie));
        }
        Ok(())
    }

    /// Changes the state and tells everybody who must know.
    fn change<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let (tip, sequence) = (state.tip(), state.sequence());
        let result = act(&mut state);
        if state.tip() != tip {
            let hash = state.tip();
            if let Some(body) = state.tip_entry().body.clone() {
                self.zmq.block(hash, body);
            }
            self.tips.send_replace(Tip { hash, height: state.height() });
        }
        if state.sequence() != sequence {
            self.changed.notify_one();
        }
        result
    }

    fn tell(&self, message: &Message) {
        self.peers.lock().tell(message);
    }

    /// Judges a block, stores it, tells the peers.
    pub(crate) fn accept(&self, block: &Block, origin: Origin, pow: Pow) -> Result<Accepted, Reason> {
        self.change(|state| self.accept_in(state, block, origin, pow))
    }

    fn accept_in(&self, state: &mut State, block: &Block, origin: Origin, pow: Pow) -> Result<Accepted, Reason> {
        let accepted = state.accept(block, origin, pow)?;
        if accepted != Accepted::Known {
            self.tell(&Message::Block { block: Arc::new(block.clone()), fiat: pow == Pow::Fiat });
        }
        Ok(accepted)
    }

    /// What `submitblock` does and answers.
    pub(crate) fn submit(&self, mut block: Block) -> Option<String> {
        validate::add_coinbase_witness(&self.state.lock(), &mut block);
        let answer = match self.accept(&block, Origin::Submitted, Pow::Required) {
            Ok(Accepted::Tip) => None,
            Ok(Accepted::Known) => Some("duplicate".to_owned()),
            Ok(Accepted::Side) => Some("inconclusive".to_owned()),
            Err("bad-version") => Some(format!("bad-version(0x{:08x})", block.header.version.to_consensus())),
            Err(reason) => Some(reason.to_owned()),
        };
        let mut submissions = self.submissions.lock();
        if submissions.len() == REMEMBERED {
            submissions.pop_front();
        }
        submissions.push_back(Submission { hash: block.block_hash(), answer: answer.clone() });
        answer
    }

    pub(crate) fn submissions(&self) -> Vec<Submission> {
        self.submissions.lock().iter().cloned().collect()
    }

    /// A block of the whole template on the tip, paid to `script`.
    pub(crate) fn extend(&self, script: &Script) -> BlockHash {
        let transactions = self.state.lock().select();
        self.extend_with(script, &transactions)
    }

    fn extend_with(&self, script: &Script, transactions: &[Arc<PoolTx>]) -> BlockHash {
        let made = self.change(|state| {
            let tip = state.tip();
            self.make(state, &tip, script, transactions)
        });
        match made {
            Some(hash) => hash,
            // Another block took a transaction in between: an empty block is good on any tip.
            None => self.change(|state| {
                let tip = state.tip();
                self.make(state, &tip, script, &[]).unwrap_or(tip)
            }),
        }
    }

    /// Makes a block on `parent` and takes it in; `None` where it is not good.
    fn make(
        &self,
        state: &mut State,
        parent: &BlockHash,
        script: &Script,
        transactions: &[Arc<PoolTx>],
    ) -> Option<BlockHash> {
        let salt = self.dice.lock().next();
        let mut block = assemble(state, parent, script, transactions, salt)?;
        let pow = if self.options.by_fiat() || !grind(&mut block.header) { Pow::Fiat } else { Pow::Required };
        match self.accept_in(state, &block, Origin::Node, pow) {
            Ok(_) => Some(block.block_hash()),
            Err(reason) => {
                tracing::warn!(reason, "the simulated node refuses a block of its own");
                None
            }
        }
    }

    pub(crate) fn reorg(&self, depth: u32) -> Result<Vec<BlockHash>, ReorgError> {
        self.change(|state| {
            let height = state.height();
            if depth > height {
                return Err(ReorgError::TooDeep { depth, height });
            }
            let gone = state.active()[(height - depth) as usize + 1..].to_vec();
            let mut parent = state.hash_at(height - depth).expect("not above the tip");
            for _ in 0..=depth {
                parent = self.make(state, &parent, &nobody(), &[]).ok_or(ReorgError::Refused)?;
            }
            if state.tip() == parent { Ok(gone) } else { Err(ReorgError::Pruned { depth }) }
        })
    }

    /// Adds new synthetic transactions to the mempool.
    pub(crate) fn add_synthetic(&self, count: usize) {
        let made = self.synthesize(count);
        self.tell(&Message::Transactions(made.clone()));
        self.change(|state| state.add_transactions(made, usize::MAX));
    }

    fn synthesize(&self, count: usize) -> Vec<Arc<PoolTx>> {
        let tip = self.state.lock().tip();
        let (synth, made_on) = &mut *self.synth.lock();
        if *made_on != tip {
            synth.forget();
            *made_on = tip;
        }
        synth.make(count).into_iter().map(Arc::new).collect()
    }

    fn fill(&self) {
        let waiting = self.state.lock().mempool().len();
        let missing = self.options.transactions.saturating_sub(waiting);
        if missing > 0 {
            let made = self.synthesize(missing);
            self.tell(&Message::Transactions(made.clone()));
            // The renderer, who calls this, is awake: nobody needs waking.
            self.state.lock().add_transactions(made, usize::MAX);
        }
    }

    pub(crate) fn hear_transactions(&self, transactions: Vec<Arc<PoolTx>>) {
        let waiting = self.state.lock().mempool().len();
        // A peer's transactions must be known, for its blocks hold them; they need not all wait here as well.
        let room = (2 * self.options.transactions).saturating_sub(waiting);
        self.change(|state| {
            let fresh = state.add_transactions(transactions, room);
            if !fresh.is_empty() {
                self.tell(&Message::Transactions(fresh));
            }
        });
    }

    /// Adds a peer and sends it all there is, so that nothing is missed in between.
    pub(crate) fn introduce(&self, peer: mpsc::UnboundedSender<(tokio::time::Instant, Message)>) {
        let state = self.state.lock();
        let mut first = vec![];
        for (block, fiat, transactions) in state.history() {
            first.push(Message::Transactions(transactions));
            first.push(Message::Block { block, fiat });
        }
        first.push(Message::Transactions(state.mempool().to_vec()));
        self.peers.lock().add(peer, first);
    }

    pub(crate) fn peer_count(&self) -> usize {
        if self.faults.borrow().no_peers { 0 } else { self.options.peers + self.peers.lock().count() }
    }

    /// Renders templates as the state changes, until the node stops.
    pub(crate) async fn keep_rendering(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.changed.notified() => {}
            }
            let me = Arc::clone(&self);
            let rendering = tokio::task::spawn_blocking(move || {
                if me.options.refill {
                    me.fill();
                }
                me.render();
            });
            if let Err(error) = rendering.await {
                tracing::error!(%error, "the simulated node cannot render templates any more");
                return;
            }
        }
    }

    fn render(&self) {
        let snapshot = {
            let state = self.state.lock();
            let sequence = state.sequence();
            if self.rendered.borrow().as_ref().is_some_and(|rendered| rendered.sequence == sequence) {
                return;
            }
            Snapshot::take(&state)
        };
        self.rendered.send_replace(Some(Arc::new(snapshot.render())));
    }

    /// The template of the state as it is now or later, and not the one called `other`.
    pub(crate) async fn template(&self, other: Option<&str>) -> Option<Arc<Rendered>> {
        let sequence = self.state.lock().sequence();
        let wanted = |rendered: &Option<Arc<Rendered>>| {
            let rendered = rendered.as_ref();
            rendered.is_some_and(|it| it.sequence >= sequence && other.is_none_or(|other| it.longpollid != other))
        };
        let mut rendered = self.rendered.subscribe();
        tokio::select! {
            () = self.stop.cancelled() => None,
            found = rendered.wait_for(wanted) => found.ok().and_then(|found| found.clone()),
        }
    }
}
