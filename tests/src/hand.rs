//! A miner that finds a block at the moment a test wants it, by doing the work: it connects, listens, and grinds on demand.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, CompactTarget, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use warppool_work::hash::{merkle_root, sha256d, sha256d_header};

use crate::wait::{LONG, hold, until};

/// Bits a miner may roll.
const MASK: u32 = 0x1fff_e000;

/// A job as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    pub prev: BlockHash,
    coinb1: Vec<u8>,
    coinb2: Vec<u8>,
    branches: Vec<[u8; 32]>,
    version: u32,
    pub nbits: u32,
    pub ntime: u32,
    pub clean: bool,
}

/// What meets the network's target.
#[derive(Clone, Debug)]
pub struct Solution {
    pub hash: BlockHash,
    job: String,
    en2: String,
    ntime: u32,
    nonce: u32,
    bits: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub job: Option<Job>,
    pub jobs: u64,
    pub difficulty: f64,
    /// The connection is gone.
    pub closed: bool,
}

/// The miner. It hangs up with this value.
#[derive(Debug)]
pub struct Hand {
    user: String,
    writer: OwnedWriteHalf,
    heard: watch::Receiver<Heard>,
    answers: Answers,
    reader: JoinHandle<()>,
    en1: Vec<u8>,
    last_id: u64,
    mask: u32,
}

type Answers = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

impl Hand {
    /// A miner at work that does not roll the version.
    pub async fn connect(target: &str, user: &str) -> Self {
        Self::try_connect(target, user).await.unwrap()
    }

    /// A miner at work that rolls the version.
    pub async fn connect_rolling(target: &str, user: &str) -> Self {
        Self::start(target, user, MASK).await.unwrap()
    }

    /// An error when nobody listens there, or the pool hangs up.
    pub async fn try_connect(target: &str, user: &str) -> io::Result<Self> {
        Self::start(target, user, 0).await
    }

    async fn start(target: &str, user: &str, mask: u32) -> io::Result<Self> {
        let (read, writer) = TcpStream::connect(target).await?.into_split();
        let (sender, heard) = watch::channel(Heard::default());
        let answers = Answers::default();
        let reader = tokio::spawn(listen(read, sender, Arc::clone(&answers)));
        let mut hand = Self { user: user.into(), writer, heard, answers, reader, en1: Vec::new(), last_id: 0, mask: 0 };
        if mask != 0 {
            let rolling = json!([["version-rolling"], { "version-rolling.mask": format!("{mask:08x}") }]);
            let granted = hand.ask("mining.configure", rolling).await?;
            let granted = granted["result"]["version-rolling.mask"].as_str().expect("the version may be rolled");
            hand.mask = u32::from_str_radix(granted, 16).unwrap();
            assert_ne!(hand.mask, 0);
        }
        let subscribed = hand.ask("mining.subscribe", json!(["test-hand/1.0"])).await?;
        hand.en1 = hex::decode(subscribed["result"][1].as_str().unwrap()).unwrap();
        assert_eq!(subscribed["result"][2], 8, "bytes of extranonce 2");
        let admitted = hand.ask("mining.authorize", json!([user, "x"])).await?;
        assert_eq!(admitted["result"], true, "{admitted}");
        Ok(hand)
    }

    async fn ask(&mut self, method: &str, params: Value) -> io::Result<Value> {
        self.last_id += 1;
        let (sender, answer) = oneshot::channel();
        self.answers.lock().unwrap().insert(self.last_id, sender);
        // Looked at after that: from now on the end of the connection ends the waiting.
        if self.heard.borrow().closed {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let line = json!({ "id": self.last_id, "method": method, "params": params });
        self.writer.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = tokio::time::timeout(LONG, answer).await;
        answer.unwrap_or_else(|_| panic!("{method} is not answered")).map_err(|_| io::ErrorKind::ConnectionReset.into())
    }

    pub fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// The present job, once there is one.
    pub async fn job(&self) -> Job {
        until(LONG, "a job", async || self.heard().job.ok_or("none")).await
    }

    /// A job on this tip.
    pub async fn job_on(&self, tip: BlockHash) -> Job {
        self.job_on_within(tip, LONG).await
    }

    pub async fn job_on_within(&self, tip: BlockHash, within: Duration) -> Job {
        until(within, format!("a job on {tip}"), async || {
            let job = self.job().await;
            hold(job.prev == tip, job.clone(), job.prev)
        })
        .await
    }

    /// Waits for one more job than there were.
    pub async fn another_job(&self, than: u64) {
        until(LONG, "another job", async || {
            let heard = self.heard();
            hold(heard.jobs > than, (), format!("{} jobs, closed {}", heard.jobs, heard.closed))
        })
        .await;
    }

    /// Works on a job until it has a block, on as many threads as are said.
    pub async fn solve(&self, job: &Job, threads: usize) -> Solution {
        let (job, en1, mask) = (job.clone(), self.en1.clone(), self.mask);
        tokio::task::spawn_blocking(move || solve(&job, &en1, mask, threads)).await.unwrap()
    }

    /// Hands a solution in; the pool's answer.
    pub async fn submit(&mut self, solution: &Solution) -> Value {
        self.try_submit(solution).await.unwrap()
    }

    /// An error when the pool hangs up before it has answered.
    pub async fn try_submit(&mut self, solution: &Solution) -> io::Result<Value> {
        let Solution { job, en2, ntime, nonce, bits, .. } = solution;
        let mut params = vec![
            json!(self.user),
            json!(job),
            json!(en2),
            json!(format!("{ntime:08x}")),
            json!(format!("{nonce:08x}")),
        ];
        params.extend(bits.map(|bits| json!(format!("{bits:08x}"))));
        self.ask("mining.submit", Value::from(params)).await
    }

    /// Finds a block for the present job and hands it in.
    pub async fn find(&mut self) -> BlockHash {
        let job = self.job().await;
        self.find_for(&job).await
    }

    /// Finds a block on this tip and hands it in.
    pub async fn find_on(&mut self, tip: BlockHash) -> BlockHash {
        let job = self.job_on(tip).await;
        self.find_for(&job).await
    }

    async fn find_for(&mut self, job: &Job) -> BlockHash {
        let solution = self.solve(job, 1).await;
        let answer = self.submit(&solution).await;
        assert_eq!((&answer["result"], &answer["error"]), (&json!(true), &Value::Null), "{answer}");
        solution.hash
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn listen(read: OwnedReadHalf, heard: watch::Sender<Heard>, answers: Answers) {
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line: Value = serde_json::from_str(&line).unwrap();
        match line["method"].as_str() {
            Some("mining.notify") => heard.send_modify(|heard| {
                heard.job = Some(job(&line["params"]));
                heard.jobs += 1;
            }),
            Some("mining.set_difficulty") => {
                heard.send_modify(|heard| heard.difficulty = line["params"][0].as_f64().unwrap());
            }
            Some(_) => {}
            None => {
                let waiting = line["id"].as_u64().and_then(|id| answers.lock().unwrap().remove(&id));
                if let Some(waiting) = waiting {
                    let _ = waiting.send(line);
                }
            }
        }
    }
    heard.send_modify(|heard| heard.closed = true);
    // Who still waits for an answer learns that there is none.
    answers.lock().unwrap().clear();
}

fn job(params: &Value) -> Job {
    let text = |at: usize| params[at].as_str().unwrap();
    let bytes = |at: usize| hex::decode(text(at)).unwrap();
    let number = |at: usize| u32::from_str_radix(text(at), 16).unwrap();
    let mut prev: [u8; 32] = bytes(1).try_into().unwrap();
    prev.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    let branches = params[4].as_array().unwrap().iter();
    Job {
        id: text(0).into(),
        prev: BlockHash::from_byte_array(prev),
        coinb1: bytes(2),
        coinb2: bytes(3),
        branches: branches.map(|branch| hex::decode(branch.as_str().unwrap()).unwrap().try_into().unwrap()).collect(),
        version: number(5),
        nbits: number(6),
        ntime: number(7),
        clean: params[8].as_bool().unwrap(),
    }
}

/// Each thread has an extranonce 2, and where it may a version, of its own.
fn solve(job: &Job, en1: &[u8], mask: u32, threads: usize) -> Solution {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| grind(job, en1, mask, &done))).collect();
        workers.into_iter().find_map(|worker| worker.join().unwrap()).expect("one thread has found it")
    })
}

fn grind(job: &Job, en1: &[u8], mask: u32, done: &AtomicBool) -> Option<Solution> {
    static EN2: AtomicU64 = AtomicU64::new(1);
    let target = Target::from_compact(CompactTarget::from_consensus(job.nbits));
    let highest = u64::from_be_bytes(target.to_be_bytes()[..8].try_into().unwrap());
    loop {
        let count = EN2.fetch_add(1, Ordering::Relaxed);
        let en2 = count.to_be_bytes();
        let rolled = (count as u32).wrapping_mul(0x0001_2000) & mask;
        let coinbase = [&job.coinb1[..], en1, &en2, &job.coinb2].concat();
        let root = merkle_root(sha256d(&coinbase), &job.branches);
        let mut header = [0; 80];
        header[..4].copy_from_slice(&(job.version & !mask | rolled).to_le_bytes());
        header[4..36].copy_from_slice(job.prev.as_byte_array());
        header[36..68].copy_from_slice(&root);
        header[68..72].copy_from_slice(&job.ntime.to_le_bytes());
        header[72..76].copy_from_slice(&job.nbits.to_le_bytes());
        for nonce in 0..1 << 22 {
            header[76..].copy_from_slice(&u32::to_le_bytes(nonce));
            let hash = sha256d_header(&header);
            // The high bytes stand last; they decide nearly always.
            if u64::from_le_bytes(hash[24..].try_into().unwrap()) > highest {
                continue;
            }
            let hash = BlockHash::from_byte_array(hash);
            if target.is_met_by(hash) {
                done.store(true, Ordering::Relaxed);
                let bits = (mask != 0).then_some(rolled);
                return Some(Solution {
                    hash,
                    job: job.id.clone(),
                    en2: hex::encode(en2),
                    ntime: job.ntime,
                    nonce,
                    bits,
                });
            }
        }
        if done.load(Ordering::Relaxed) {
            return None;
        }
    }
}
