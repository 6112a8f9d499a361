//! A pool that remembers what it is told, jobs to publish, and a miner that reads jobs as firmware does: from the lines alone.

#![allow(dead_code, reason = "each test, bench and example uses its part")]
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, missing_debug_implementations, unreachable_pub)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, transaction};
use serde_json::{Value, json};
use warppool_events::Bus;
use warppool_stratum::{
    Admitted, Conversation, Found, Login, Outcome, Pool, Rates, Reason, Server, SessionInfo, Settings, ShareReport,
    WorkerId,
};
use warppool_work::{
    Difficulty, ExtranonceAllocator, Job, JobFactory, Payout, Reserve, START_TAG_SIZE, Tags, Template, TemplateTx,
    VardiffSettings, VardiffState,
};

/// A network target no test meets by chance.
pub const HARD: u32 = 0x1703_a30c;
/// Half of all hashes are blocks.
pub const REGTEST: u32 = 0x207f_ffff;
/// Every hash is a share.
pub const ANY_HASH: f64 = 2e-10;

pub type Told<T> = std::sync::Mutex<Vec<T>>;

/// Admits everyone but `refused…`; names worker after username; pays the part before the dot.
#[derive(Default)]
pub struct TestPool {
    pub shares: Told<ShareReport>,
    pub blocks: Told<Found>,
    pub connected: Told<SessionInfo>,
    pub disconnected: Told<(SessionInfo, Reason, Option<VardiffState>)>,
    pub logins: Told<(String, String, String, bool)>,
    pub resume: std::sync::Mutex<Option<VardiffState>>,
    next: AtomicU32,
}

impl Pool for TestPool {
    fn authorize(&self, login: &Login<'_>) -> Result<Admitted, String> {
        self.logins.lock().unwrap().push((login.username.into(), login.password.into(), login.agent.into(), login.tls));
        if login.username.starts_with("refused") {
            return Err("the address \"refused\" has a typing error".into());
        }
        let payee = login.username.split('.').next().unwrap_or_default();
        Ok(Admitted {
            worker: WorkerId(self.next.fetch_add(1, Ordering::Relaxed)),
            name: login.username.into(),
            payout: Arc::new(payout(payee)),
            vardiff: *self.resume.lock().unwrap(),
        })
    }

    fn shares(&self, shares: &[ShareReport]) {
        self.shares.lock().unwrap().extend_from_slice(shares);
    }

    fn block(&self, found: Found) {
        self.blocks.lock().unwrap().push(found);
    }

    fn connected(&self, session: &SessionInfo) {
        self.connected.lock().unwrap().push(session.clone());
    }

    fn disconnected(&self, session: &SessionInfo, reason: Reason, vardiff: Option<VardiffState>) {
        self.disconnected.lock().unwrap().push((session.clone(), reason, vardiff));
    }
}

impl TestPool {
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.shares.lock().unwrap().iter().map(|share| share.outcome).collect()
    }
}

/// A P2WPKH output, different for each name.
pub fn payout(name: &str) -> Payout {
    let hash = sha256d::Hash::hash(name.as_bytes());
    Payout::new([&[0x00, 0x14][..], &hash.as_byte_array()[..20]].concat(), Vec::new()).unwrap()
}

pub fn d(value: f64) -> Difficulty {
    Difficulty::new(value).unwrap()
}

/// Settings without rate limits, where every hash is a share to begin with.
pub fn settings() -> Settings {
    Settings {
        max_connections: 100_000,
        max_per_address: 100_000,
        rates: Rates { enabled: false, ..Rates::default() },
        vardiff: VardiffSettings { enabled: false, min: d(1e-10), ..VardiffSettings::default() },
        initial_difficulty: Some(d(ANY_HASH)),
        ..Settings::default()
    }
}

fn spend(n: u32) -> TemplateTx {
    let spent = OutPoint::new(Txid::hash(&n.to_le_bytes()), 0);
    let transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output: spent, ..TxIn::default() }],
        output: vec![TxOut { value: Amount::from_sat(1000), script_pubkey: ScriptBuf::from(vec![0x51]) }],
    };
    TemplateTx {
        txid: transaction.compute_txid().to_byte_array(),
        wtxid: transaction.compute_wtxid().to_byte_array(),
        data: serialize(&transaction).into(),
        fee: 100,
        sigops: 0,
        weight: transaction.weight().to_wu() as u32,
    }
}

pub fn template(prev: u8, bits: u32, transactions: u32) -> Arc<Template> {
    let transactions = (0..transactions).map(|n| Arc::new(spend(n))).collect();
    Arc::new(Template {
        height: 840_000 + u32::from(prev),
        version: 0x2000_0000,
        prev_hash: std::array::from_fn(|n| prev.wrapping_add(n as u8)),
        bits,
        min_time: 1_700_000_000,
        max_time: u32::MAX,
        cur_time: 1_700_000_600,
        coinbase_value: 312_500_000,
        transactions,
        witness_commitment: Some([&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[9; 32]].concat()),
        segwit: true,
        weight_limit: 4_000_000,
        sigop_limit: 80_000,
    })
}

pub struct Bench {
    pub server: Arc<Server>,
    pub pool: Arc<TestPool>,
    pub bus: Bus,
    pub factory: JobFactory,
}

impl Bench {
    pub fn new(settings: Settings) -> Self {
        let (pool, bus) = (Arc::new(TestPool::default()), Bus::new());
        let server = Server::new(settings, pool.clone(), ExtranonceAllocator::new(0x0100_0000), bus.clone());
        let tags = Tags::new("WarpPool", [7; START_TAG_SIZE]).unwrap();
        Self { server, pool, bus, factory: JobFactory::new(tags, Reserve::default(), 1_700_000_000) }
    }

    /// A job on a tip of its own for each `prev`.
    pub fn job(&self, prev: u8, bits: u32) -> Arc<Job> {
        Arc::new(self.factory.build(&template(prev, bits, 5), true).unwrap())
    }

    pub fn publish(&self, prev: u8) -> Arc<Job> {
        self.publish_with(prev, HARD)
    }

    pub fn publish_with(&self, prev: u8, bits: u32) -> Arc<Job> {
        let job = self.job(prev, bits);
        self.server.publish(Arc::clone(&job));
        job
    }

    pub fn talk(&self) -> Talk {
        Talk::new(self.server.converse(peer()))
    }

    /// A miner that has subscribed and authorized, and its first job.
    pub fn miner(&self, username: &str) -> (Talk, Miner) {
        let mut talk = self.talk();
        let miner = talk.log_in(username, "x");
        (talk, miner)
    }
}

pub fn peer() -> SocketAddr {
    "192.0.2.7:50000".parse().unwrap()
}

pub fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap_or_else(|_| panic!("no JSON: {}", line.escape_ascii())))
        .collect()
}

/// A conversation in JSON values.
pub struct Talk {
    pub with: Conversation,
    pub later: Duration,
}

impl Talk {
    pub fn new(with: Conversation) -> Self {
        Self { with, later: Duration::ZERO }
    }

    /// Sends text as it stands, gives what came back.
    pub fn raw(&mut self, text: impl AsRef<[u8]>) -> Result<Vec<Value>, (Reason, Vec<Value>)> {
        let mut out = Vec::new();
        let ended = self.with.receive_later(self.later, text.as_ref(), &mut out);
        ended.map(|()| lines(&out)).map_err(|reason| (reason, lines(&out)))
    }

    pub fn say(&mut self, message: &Value) -> Vec<Value> {
        self.raw(format!("{message}\n")).unwrap()
    }

    /// Calls a method; gives the answer, and what was sent beside it.
    pub fn call(&mut self, method: &str, params: Value) -> (Value, Vec<Value>) {
        let mut sent = self.say(&json!({"id": 7, "method": method, "params": params}));
        assert_eq!(sent[0]["id"], 7, "the answer comes first");
        (sent.remove(0), sent)
    }

    pub fn result(&mut self, method: &str, params: Value) -> Value {
        self.call(method, params).0["result"].clone()
    }

    pub fn tick(&mut self) -> Result<Vec<Value>, Reason> {
        let mut out = Vec::new();
        self.with.tick_later(self.later, &mut out).map(|()| lines(&out))
    }

    /// What a publish would have sent.
    pub fn newest(&mut self) -> Vec<Value> {
        let mut out = Vec::new();
        self.with.take_newest(&mut out);
        lines(&out)
    }

    pub fn log_in(&mut self, username: &str, password: &str) -> Miner {
        let subscribed = self.result("mining.subscribe", json!(["test/1"]));
        let (answer, sent) = self.call("mining.authorize", json!([username, password]));
        assert_eq!(answer["result"], true, "{answer}");
        Miner::new(username, &subscribed, &sent)
    }
}

/// Understands jobs from what it was sent.
#[derive(Clone, Debug)]
pub struct Miner {
    pub username: String,
    pub en1: Vec<u8>,
    pub difficulty: f64,
    pub job: Value,
    next_en2: u64,
}

#[derive(Clone, Debug)]
pub struct Share {
    pub job: String,
    pub en2: String,
    pub time: u32,
    pub nonce: u32,
    pub version_bits: u32,
}

impl Miner {
    pub fn new(username: &str, subscribed: &Value, sent: &[Value]) -> Self {
        assert_eq!(subscribed[2], 8, "extranonce 2 has 8 bytes");
        let en1 = const_hex::decode(subscribed[1].as_str().unwrap()).unwrap();
        let mut miner = Self { username: username.into(), en1, difficulty: 0.0, job: Value::Null, next_en2: 0 };
        miner.hear(sent);
        miner
    }

    /// Takes notifications in; answers are skipped.
    pub fn hear(&mut self, sent: &[Value]) {
        for line in sent {
            match line["method"].as_str() {
                Some("mining.set_difficulty") => self.difficulty = line["params"][0].as_f64().unwrap(),
                Some("mining.notify") => self.job = line["params"].clone(),
                _ => {}
            }
        }
    }

    pub fn share(&mut self) -> Share {
        self.next_en2 += 1;
        Share {
            job: self.job[0].as_str().unwrap().into(),
            en2: format!("{:016x}", self.next_en2),
            time: u32::from_str_radix(self.job[7].as_str().unwrap(), 16).unwrap(),
            nonce: 1,
            version_bits: 0,
        }
    }

    /// Looks for a share of at least `difficulty`.
    pub fn mine(&mut self, difficulty: f64) -> Share {
        let mut share = self.share();
        let target = d(difficulty).target();
        while !target.is_met_by(&self.hash(&share)) {
            share.nonce += 1;
        }
        share
    }

    /// The hash of a share for the present job, put together from the job's line.
    pub fn hash(&self, share: &Share) -> [u8; 32] {
        sha256d::Hash::hash(&self.header(share)).to_byte_array()
    }

    pub fn header(&self, share: &Share) -> Vec<u8> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let hex = |value: &Value| const_hex::decode(text(value)).unwrap();
        let number = |n: usize| u32::from_str_radix(&text(&self.job[n]), 16).unwrap();
        let coinbase = [hex(&self.job[2]), self.en1.clone(), const_hex::decode(&share.en2).unwrap(), hex(&self.job[3])];
        let mut root = sha256d::Hash::hash(&coinbase.concat());
        for branch in self.job[4].as_array().unwrap() {
            root = sha256d::Hash::hash(&[root.as_byte_array().as_slice(), &hex(branch)].concat());
        }
        let prev: Vec<u8> = hex(&self.job[1]).chunks(4).flat_map(|group| group.iter().rev().copied()).collect();
        [
            &(number(5) ^ share.version_bits).to_le_bytes()[..],
            &prev,
            root.as_byte_array(),
            &share.time.to_le_bytes(),
            &number(6).to_le_bytes(),
            &share.nonce.to_le_bytes(),
        ]
        .concat()
    }

    pub fn params(&self, share: &Share) -> Value {
        let mut params = vec![
            json!(self.username),
            json!(share.job),
            json!(share.en2),
            json!(format!("{:08x}", share.time)),
            json!(format!("{:08x}", share.nonce)),
        ];
        if share.version_bits != 0 {
            params.push(json!(format!("{:08x}", share.version_bits)));
        }
        Value::Array(params)
    }

    pub fn line(&self, share: &Share) -> String {
        format!("{}\n", json!({"id": 4, "method": "mining.submit", "params": self.params(share)}))
    }
}
