//! The node's misbehaviour, switched while it runs: everything a pool must survive of its Bitcoin node.
//! A fault stays until it is taken back or [`Faults::clear`] heals them all; those that count, run out.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::options::StartError;
use super::shared::{ReorgError, Shared};

/// The RPC methods a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    All,
    Only(Vec<String>),
}

impl Methods {
    fn contain(&self, method: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == method),
        }
    }
}

impl From<&str> for Methods {
    fn from(method: &str) -> Self {
        Self::Only(vec![method.to_owned()])
    }
}

impl<const N: usize> From<[&str; N]> for Methods {
    fn from(methods: [&str; N]) -> Self {
        Self::Only(methods.map(str::to_owned).to_vec())
    }
}

/// A template that is wrong in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokenTemplate {
    /// `result` is null.
    Null,
    /// This field is missing.
    Missing(String),
    /// The first transaction's data (or the witness commitment, where there is none) is no hex.
    BadHex,
    /// The first transaction's data ends in the middle.
    CutTransaction,
    /// The first transaction's txid is another one's.
    WrongTxid,
    NegativeCoinbaseValue,
    /// More than 21 million coins.
    AbsurdCoinbaseValue,
    /// Another commitment than the transactions have.
    WrongCommitment,
    /// 2^40.
    AbsurdHeight,
    NegativeHeight,
    /// A compact target that is none.
    BadBits,
    /// A previous block hash of 31 bytes.
    ShortPreviousHash,
    /// Numbers where strings belong.
    WrongTypes,
    /// A transaction depends on one after it.
    ForwardDependency,
    /// `mintime` lies after `curtime`.
    MinimumTimeInFuture,
    /// A rule nobody knows is mandatory.
    UnknownRule,
}

impl BrokenTemplate {
    /// Breaks a good template.
    pub(crate) fn apply(&self, template: &mut Value) {
        let place = match self {
            Self::Null => {
                *template = Value::Null;
                return;
            }
            Self::Missing(field) => {
                if let Some(fields) = template.as_object_mut() {
                    fields.remove(field);
                }
                return;
            }
            Self::ForwardDependency => {
                if let Some(first) = template["transactions"].get_mut(0) {
                    first["depends"] = json!([2]);
                }
                return;
            }
            Self::CutTransaction => {
                if let Some(first) = template["transactions"].get_mut(0) {
                    let data = first["data"].as_str().unwrap_or_default();
                    let half = data.len() / 4 * 2;
                    first["data"] = json!(&data[..half]);
                }
                return;
            }
            Self::BadHex | Self::WrongTxid => {
                let (field, value) =
                    if *self == Self::BadHex { ("data", "not hex".to_owned()) } else { ("txid", "11".repeat(32)) };
                match template["transactions"].get_mut(0) {
                    Some(first) => first[field] = json!(value),
                    None => template["default_witness_commitment"] = json!(value),
                }
                return;
            }
            Self::NegativeCoinbaseValue => ("coinbasevalue", json!(-1)),
            Self::AbsurdCoinbaseValue => ("coinbasevalue", json!(2_100_000_000_000_001_u64)),
            Self::WrongCommitment => ("default_witness_commitment", json!(format!("6a24aa21a9ed{}", "11".repeat(32)))),
            Self::AbsurdHeight => ("height", json!(1_u64 << 40)),
            Self::NegativeHeight => ("height", json!(-1)),
            Self::BadBits => ("bits", json!("ff123456")),
            Self::ShortPreviousHash => ("previousblockhash", json!("00".repeat(31))),
            Self::WrongTypes => ("bits", json!(545_259_519)),
            Self::MinimumTimeInFuture => ("mintime", json!(template["curtime"].as_u64().unwrap_or(0) + 7_200)),
            Self::UnknownRule => ("rules", json!(["csv", "!segwit", "taproot", "!unheard-of"])),
        };
        template[place.0] = place.1;
    }
}

/// Where the connection of a `submitblock` dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Before the node looked at the block.
    Request,
    /// After the block was judged (and perhaps accepted), before the answer.
    Answer,
}

/// How an answer ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The connection dies in the middle of the announced length.
    Connection,
    /// A complete HTTP answer whose JSON is cut off.
    Json,
}

/// An answer that does not come as it should.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) cut: Option<(usize, Cut)>,
    pub(crate) slow: Option<(usize, Duration)>,
}

/// An error in place of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Rpc { code: i32, message: String },
    Busy,
}

#[derive(Debug)]
struct Counted<T> {
    methods: Methods,
    left: u32,
    fault: T,
}

impl<T: Clone> Counted<T> {
    fn take(list: &mut Vec<Self>, method: &str) -> Option<T> {
        let place = list.iter().position(|counted| counted.methods.contain(method))?;
        let fault = list[place].fault.clone();
        list[place].left -= 1;
        if list[place].left == 0 {
            list.remove(place);
        }
        Some(fault)
    }

    fn add(list: &mut Vec<Self>, methods: Methods, count: u32, fault: T) {
        if count > 0 {
            list.push(Self { methods, left: count, fault });
        }
    }
}

/// What is wrong right now.
#[derive(Debug, Default)]
pub(crate) struct FaultState {
    stalled: Option<Methods>,
    failures: Vec<Counted<Failure>>,
    cuts: Vec<Counted<(usize, Cut)>>,
    losses: Vec<Counted<Loss>>,
    latency: Vec<(Methods, Duration)>,
    slow: Option<(Methods, usize, Duration)>,
    pub(crate) unauthorized: bool,
    pub(crate) no_peers: bool,
    pub(crate) initial_download: bool,
    pub(crate) chain_name: Option<String>,
    pub(crate) template: Option<BrokenTemplate>,
}

impl FaultState {
    pub(crate) fn stalls(&self, method: &str) -> bool {
        self.stalled.as_ref().is_some_and(|methods| methods.contain(method))
    }

    pub(crate) fn delay(&self, method: &str) -> Duration {
        self.latency.iter().filter(|(methods, _)| methods.contain(method)).map(|(_, latency)| *latency).sum()
    }

    pub(crate) fn failure(&mut self, method: &str) -> Option<Failure> {
        Counted::take(&mut self.failures, method)
    }

    pub(crate) fn loss(&mut self, method: &str) -> Option<Loss> {
        Counted::take(&mut self.losses, method)
    }

    pub(crate) fn delivery(&mut self, method: &str) -> Delivery {
        let slow = self.slow.as_ref().filter(|(methods, ..)| methods.contain(method));
        Delivery { slow: slow.map(|(_, bytes, pause)| (*bytes, *pause)), cut: Counted::take(&mut self.cuts, method) }
    }
}

/// The switchboard of a running node's faults. Clones switch the same node.
#[derive(Clone, Debug)]
pub struct Faults {
    pub(super) shared: Arc<Shared>,
}

impl Faults {
    fn set(&self, change: impl FnOnce(&mut FaultState)) {
        self.shared.faults.send_modify(change);
    }

    /// Heals everything but a closed listener, a closed publisher and a changed cookie.
    pub fn clear(&self) {
        self.set(|faults| *faults = FaultState::default());
    }

    /// Calls of these methods are taken and not answered until [`Faults::release`]; then they are.
    pub fn stall(&self, methods: impl Into<Methods>) {
        let methods = methods.into();
        self.set(|faults| faults.stalled = Some(methods));
    }

    /// Ends a stall.
    pub fn release(&self) {
        self.set(|faults| faults.stalled = None);
    }

    /// The next `count` calls of these methods are answered with this error (−28 is warming up).
    pub fn fail(&self, count: u32, methods: impl Into<Methods>, code: i32, message: &str) {
        let fault = Failure::Rpc { code, message: message.to_owned() };
        let methods = methods.into();
        self.set(|faults| Counted::add(&mut faults.failures, methods, count, fault));
    }

    /// The next `count` calls of these methods are turned away with HTTP 503, as with a full work queue.
    pub fn busy(&self, count: u32, methods: impl Into<Methods>) {
        let methods = methods.into();
        self.set(|faults| Counted::add(&mut faults.failures, methods, count, Failure::Busy));
    }

    /// Calls of these methods take this much longer, on top of what was said before; zero takes all latencies back.
    pub fn latency(&self, methods: impl Into<Methods>, latency: Duration) {
        let methods = methods.into();
        self.set(|faults| {
            if latency.is_zero() {
                faults.latency.clear();
            } else {
                faults.latency.push((methods, latency));
            }
        });
    }

    /// Answers come in pieces of so many bytes with a pause between them; `None` heals.
    pub fn slow(&self, methods: impl Into<Methods>, pieces: Option<(usize, Duration)>) {
        let methods = methods.into();
        self.set(|faults| faults.slow = pieces.map(|(bytes, pause)| (methods, bytes.max(1), pause)));
    }

    /// The next `count` answers to these methods end after so many bytes.
    pub fn cut(&self, count: u32, methods: impl Into<Methods>, bytes: usize, how: Cut) {
        let methods = methods.into();
        self.set(|faults| Counted::add(&mut faults.cuts, methods, count, (bytes, how)));
    }

    /// The connections of the next `count` submissions die without an answer.
    pub fn lose_submissions(&self, count: u32, loss: Loss) {
        self.set(|faults| Counted::add(&mut faults.losses, "submitblock".into(), count, loss));
    }

    /// Every call is answered with HTTP 401.
    pub fn unauthorized(&self, on: bool) {
        self.set(|faults| faults.unauthorized = on);
    }

    /// The node says that it has no peers, and gives no template (−9).
    pub fn no_peers(&self, on: bool) {
        self.set(|faults| faults.no_peers = on);
    }

    /// The node says that it is in initial block download, and gives no template (−10).
    pub fn initial_download(&self, on: bool) {
        self.set(|faults| faults.initial_download = on);
    }

    /// The node says that it is on another chain.
    pub fn chain_name(&self, name: Option<&str>) {
        let name = name.map(str::to_owned);
        self.set(|faults| faults.chain_name = name);
    }

    /// Templates are wrong in this way; `None` heals.
    pub fn template(&self, broken: Option<BrokenTemplate>) {
        self.set(|faults| faults.template = broken);
    }

    /// Makes a new cookie and writes it, as a restarted Core does. Without a cookie file nothing happens.
    pub fn new_cookie(&self) -> Result<(), StartError> {
        self.shared.new_cookie()
    }

    /// Closes the RPC listener and every connection: callers are refused.
    pub async fn rpc_down(&self) {
        self.shared.rpc.stop().await;
    }

    /// Opens the RPC listener again, on the same port.
    pub async fn rpc_up(&self) -> Result<(), StartError> {
        self.shared.rpc.start(&self.shared).await
    }

    /// Closes the ZMQ publisher and its connections.
    pub async fn zmq_down(&self) {
        self.shared.zmq.close().await;
    }

    /// Opens the ZMQ publisher again, on the same port, counting from zero.
    pub async fn zmq_up(&self) -> Result<(), StartError> {
        self.shared.zmq.open().await
    }

    /// The next `count` blocks are not published, but counted: subscribers see a gap in the sequence.
    pub fn zmq_skip(&self, count: u32) {
        self.shared.zmq.skip(count);
    }

    /// Replaces the last `depth` blocks by a branch of one block more, and says only the new tip, as Core does.
    ///
    /// Gives the hashes that are in the chain no more, lowest first.
    pub fn reorg(&self, depth: u32) -> Result<Vec<BlockHash>, ReorgError> {
        self.shared.reorg(depth)
    }

    /// Follows the faults, for calls that wait for one to end.
    pub(crate) fn channel() -> watch::Sender<FaultState> {
        watch::Sender::new(FaultState::default())
    }
}
