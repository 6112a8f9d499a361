//! A real Bitcoin Core on a chain of its own, which can be stopped, killed, frozen and started again.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Block, BlockHash, Network};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Log, Process};
use crate::wait::{LONG, until};
use crate::{build, http};

/// Error code of RPC "not found".
pub const NOT_FOUND: i64 = -5;

/// An error a call was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
}

/// The node. It ends with this value.
#[derive(Debug)]
pub struct Bitcoind {
    process: Option<Process>,
    log: Log,
    dir: TempDir,
    network: Network,
    rpc_port: u16,
    zmq_port: u16,
    p2p_port: u16,
}

impl Bitcoind {
    pub async fn regtest() -> Self {
        Self::start(Network::Regtest).await
    }

    /// A signet whose blocks anybody may make.
    pub async fn open_signet() -> Self {
        Self::start(Network::Signet).await
    }

    async fn start(network: Network) -> Self {
        let mut node = Self {
            process: None,
            log: Log::default(),
            dir: tempfile::tempdir().unwrap(),
            network,
            rpc_port: free_port(),
            zmq_port: free_port(),
            p2p_port: free_port(),
        };
        node.restart().await;
        node
    }

    /// Starts the node again, on the same data and ports and with a new cookie.
    pub async fn restart(&mut self) {
        self.launch();
        until(LONG, "Bitcoin Core answers", async || match self.call("getblockcount", json!([])).await {
            Ok(answer) => answer.map_err(|error| error.message),
            Err(why) => Err(format!("{why}\n{}", self.log.last(20))),
        })
        .await;
    }

    /// Starts the process without waiting for it to answer.
    pub fn launch(&mut self) {
        let mut command = Command::new(build::bitcoind());
        command.arg(format!("-datadir={}", self.dir.path().display())).args(match self.network {
            Network::Signet => &["-signet", "-signetchallenge=51"][..],
            _ => &["-regtest"],
        });
        for option in [
            format!("-rpcport={}", self.rpc_port),
            format!("-bind=127.0.0.1:{}", self.p2p_port),
            format!("-zmqpubhashblock={}", self.zmq_url()),
            format!("-zmqpubrawblock={}", self.zmq_url()),
        ] {
            command.arg(option);
        }
        command.args([
            "-server",
            "-dnsseed=0",
            "-fixedseeds=0",
            "-listenonion=0",
            "-discover=0",
            "-natpmp=0",
            "-persistmempool=0",
            "-checkblockindex=0",
            "-checkmempool=0",
            "-par=1",
            "-dbcache=8",
            "-rpcthreads=8",
            "-nodebuglogfile",
            "-printtoconsole",
        ]);
        self.process = Some(Process::start("bitcoind", &mut command, self.log.clone()));
    }

    pub fn rpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rpc_port)
    }

    pub fn zmq_url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.zmq_port)
    }

    pub fn cookie_path(&self) -> PathBuf {
        self.dir.path().join(self.network.to_core_arg()).join(".cookie")
    }

    /// One call; the outer error is one of the connection.
    pub async fn call(&self, method: &str, params: Value) -> std::io::Result<Result<Value, RpcError>> {
        let cookie = std::fs::read_to_string(self.cookie_path())?;
        let authorization = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(cookie));
        let body = json!({ "id": 1, "method": method, "params": params }).to_string();
        let answer = http::post(self.rpc_port, &authorization, body, LONG).await?;
        if answer.body.is_empty() {
            return Err(std::io::Error::other(format!("HTTP {}", answer.status)));
        }
        let mut answer = answer.json();
        let error = &answer["error"];
        Ok(if error.is_null() {
            Ok(answer["result"].take())
        } else {
            let code = error["code"].as_i64().unwrap();
            Err(RpcError { code, message: error["message"].as_str().unwrap().to_owned() })
        })
    }

    /// A call that must succeed.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        answer
            .unwrap_or_else(|why| panic!("{method} does not reach Bitcoin Core: {why}"))
            .unwrap_or_else(|why| panic!("{method}: {why:?}"))
    }

    pub async fn height(&self) -> u32 {
        self.rpc("getblockcount", json!([])).await.as_u64().unwrap() as u32
    }

    pub async fn tip(&self) -> BlockHash {
        hash(&self.rpc("getbestblockhash", json!([])).await)
    }

    pub async fn block(&self, hash: BlockHash) -> Block {
        deserialize_hex(self.rpc("getblock", json!([hash.to_string(), 0])).await.as_str().unwrap()).unwrap()
    }

    /// The whole chain above genesis, lowest first.
    pub async fn chain(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for height in 1..=self.height().await {
            blocks.push(self.block(hash(&self.rpc("getblockhash", json!([height])).await)).await);
        }
        blocks
    }

    /// Somebody else's blocks.
    pub async fn generate(&self, count: u32, address: &str) -> Vec<BlockHash> {
        let hashes = self.rpc("generatetoaddress", json!([count, address, 100_000_000])).await;
        hashes.as_array().unwrap().iter().map(hash).collect()
    }

    pub async fn submit(&self, block: &Block) -> Value {
        self.rpc("submitblock", json!([bitcoin::consensus::encode::serialize_hex(block)])).await
    }

    /// Connects to another node, and waits until both have the same tip.
    pub async fn meet(&self, other: &Self) {
        let address = format!("127.0.0.1:{}", other.p2p_port);
        self.rpc("addnode", json!([address, "onetry"])).await;
        until(LONG, "two nodes agree on the tip", async || {
            let (own, theirs) = (self.tip().await, other.tip().await);
            if own == theirs { Ok(()) } else { Err(format!("{own} and {theirs}")) }
        })
        .await;
    }

    /// Ends it as its operator would.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("the node runs");
        process.signal(Signal::SIGTERM);
        process.end(LONG).await;
    }

    /// Ends it as a power cut would. What it had not written yet is lost, and so is all on its sockets.
    pub fn kill9(&mut self) {
        self.process.take().expect("the node runs").kill9();
    }

    /// From now on it takes connections and requests but does nothing with them.
    pub fn freeze(&self) {
        self.process.as_ref().expect("the node runs").signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.process.as_ref().expect("the node runs").signal(Signal::SIGCONT);
    }
}

/// A hash as RPC tells it.
pub fn hash(value: &Value) -> BlockHash {
    value.as_str().unwrap().parse().unwrap()
}

/// A port nobody listens at, from below those the system hands out itself: a restarted node must find it free again. Tests
/// are processes of their own; a locked file keeps a port from the others until this one ends.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let locks = std::env::temp_dir().join("warppool-test-ports");
    fs::create_dir_all(&locks).unwrap();
    let moment = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).subsec_nanos();
    let seed = std::process::id().wrapping_mul(2_654_435_761) ^ moment;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(7919);
        let port = 10_000 + (seed.wrapping_add(step) % 20_000) as u16;
        let lock = File::create(locks.join(port.to_string())).unwrap();
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap().push(lock);
            return port;
        }
    }
}
