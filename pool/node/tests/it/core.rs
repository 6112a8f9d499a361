//! A stand-in for Bitcoin Core's RPC with canned answers: a chain that is a list of tips, and faults on demand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warppool_work::hash::{merkle_branches, merkle_root, sha256d_pair};

const TEMPLATE: &str = include_str!("../data/regtest.json");

/// What goes wrong with a method.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Rpc(i64, &'static str),
    Http(u16),
    Garbage,
    /// Never answers.
    Hang,
    /// Closes the connection instead of answering.
    Close,
}

/// The world as this node sees it.
#[derive(Clone, Debug)]
pub struct World {
    pub chain: &'static str,
    pub height: u32,
    /// Of the best header, where that is not the tip's.
    pub headers: Option<u32>,
    /// Every byte of the tip's hash.
    pub tip: u8,
    /// Counts the mempool's changes; each drops a transaction.
    pub fees: usize,
    pub initial_download: bool,
    pub peers: u32,
    /// Long polls return at once, changed or not.
    pub hasty: bool,
    /// Long polls are answered with an error.
    pub no_long_poll: bool,
    /// Long polls never return.
    pub deaf: bool,
    /// Templates stay on this tip and height for so many requests more.
    pub lag: Option<(u8, u32, usize)>,
    /// How long a plain request takes, after its template was made. Others may come at the same time.
    pub plain_takes: Duration,
    /// Of every block.
    pub time: u32,
    pub submit: Value,
    pub zmq: Value,
}

pub struct FakeCore {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Mutex<CancellationToken>,
}

struct Shared {
    world: watch::Sender<World>,
    faults: Mutex<HashMap<&'static str, Fault>>,
    /// `user:password`, when asked for.
    login: Mutex<Option<String>>,
    counts: Mutex<HashMap<String, usize>>,
    now: Mutex<HashMap<&'static str, usize>>,
    most: Mutex<HashMap<&'static str, usize>>,
}

impl FakeCore {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let core = Self {
            shared: Arc::new(Shared {
                world: watch::Sender::new(World {
                    chain: "regtest",
                    height: 105,
                    headers: None,
                    tip: 0x11,
                    fees: 0,
                    initial_download: false,
                    peers: 8,
                    hasty: false,
                    no_long_poll: false,
                    deaf: false,
                    lag: None,
                    plain_takes: Duration::from_millis(2),
                    time: 5,
                    submit: Value::Null,
                    zmq: json!([]),
                }),
                faults: Mutex::default(),
                login: Mutex::default(),
                counts: Mutex::default(),
                now: Mutex::default(),
                most: Mutex::default(),
            }),
            address: listener.local_addr().unwrap(),
            stop: Mutex::new(CancellationToken::new()),
        };
        core.serve(listener);
        core
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the port and every connection.
    pub fn stop(&self) {
        self.stop.lock().cancel();
    }

    /// Opens the same port again.
    pub async fn restart(&self) {
        self.stop();
        *self.stop.lock() = CancellationToken::new();
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        };
        self.serve(listener);
    }

    pub fn change(&self, change: impl FnOnce(&mut World)) {
        self.shared.world.send_modify(change);
    }

    /// A block on top of the tip.
    pub fn mine(&self, tip: u8) {
        self.change(|world| {
            world.tip = tip;
            world.height += 1;
        });
    }

    pub fn fault(&self, method: &'static str, fault: impl Into<Option<Fault>>) {
        match fault.into() {
            Some(fault) => self.shared.faults.lock().insert(method, fault),
            None => self.shared.faults.lock().remove(method),
        };
    }

    /// Every call from now on needs this `user:password`.
    pub fn login(&self, user_pass: &str) {
        *self.shared.login.lock() = Some(user_pass.to_owned());
    }

    /// How often `what` happened: a method's name, `longpoll`, `connection` or `refused`.
    pub fn count(&self, what: &str) -> usize {
        self.shared.counts.lock().get(what).copied().unwrap_or(0)
    }

    /// The most calls of `plain` or `longpoll` kind under way at once, ever.
    pub fn most(&self, kind: &str) -> usize {
        self.shared.most.lock().get(kind).copied().unwrap_or(0)
    }

    /// The calls of `plain` or `longpoll` kind under way.
    pub fn under_way_now(&self, kind: &str) -> usize {
        self.shared.now.lock().get(kind).copied().unwrap_or(0)
    }

    fn serve(&self, listener: TcpListener) {
        let (stop, shared) = (self.stop.lock().clone(), Arc::clone(&self.shared));
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (stop, shared) = (stop.clone(), Arc::clone(&shared));
                shared.tally("connection");
                tokio::spawn(async move {
                    let service = service_fn(|request| shared.clone().answer(request));
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    let _ = stop.run_until_cancelled(connection).await;
                });
            }
        });
    }
}

impl Drop for FakeCore {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Counts a call as under way for as long as it lives.
struct UnderWay(Arc<Shared>, &'static str);

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.now.lock().entry(self.1).or_default() -= 1;
    }
}

impl Shared {
    fn tally(&self, what: &str) {
        *self.counts.lock().entry(what.to_owned()).or_default() += 1;
    }

    fn under_way(self: &Arc<Self>, kind: &'static str) -> UnderWay {
        let mut now = self.now.lock();
        let count = now.entry(kind).or_default();
        *count += 1;
        let mut most = self.most.lock();
        let peak = most.entry(kind).or_default();
        *peak = (*peak).max(*count);
        UnderWay(Arc::clone(self), kind)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let respond = |status: u16, body: String| {
            Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap())
        };
        let expected = self
            .login
            .lock()
            .as_ref()
            .map(|login| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login)));
        let given = request.headers().get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        if expected.is_some() && given != expected {
            self.tally("refused");
            return respond(401, String::new());
        }
        let call: Value = serde_json::from_slice(&body).unwrap();
        let method = call["method"].as_str().unwrap().to_owned();
        self.tally(&method);
        let fault = self.faults.lock().get(method.as_str()).copied();
        match fault {
            Some(Fault::Rpc(code, message)) => {
                let body = json!({ "result": null, "error": { "code": code, "message": message }, "id": call["id"] });
                return respond(500, body.to_string());
            }
            Some(Fault::Http(status)) => return respond(status, "<html>no</html>".into()),
            Some(Fault::Garbage) => return respond(200, "{\"result\": tru".into()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Close) => return Err(std::io::Error::other("closed on purpose")),
            None => {}
        }
        let result = self.result(&method, &call["params"]).await;
        let body = match result {
            Ok(result) => json!({ "result": result, "error": null, "id": call["id"] }),
            Err((code, message)) => {
                json!({ "result": null, "error": { "code": code, "message": message }, "id": call["id"] })
            }
        };
        respond(if body["error"].is_null() { 200 } else { 500 }, body.to_string())
    }

    async fn result(self: &Arc<Self>, method: &str, params: &Value) -> Result<Value, (i64, &'static str)> {
        let world = self.world.borrow().clone();
        Ok(match method {
            "getblockchaininfo" => json!({
                "chain": world.chain,
                "blocks": world.height,
                "headers": world.headers.unwrap_or(world.height),
                "bestblockhash": hash(world.tip),
                "difficulty": 2.5,
                "verificationprogress": 0.25,
                "initialblockdownload": world.initial_download,
            }),
            "getnetworkinfo" => {
                json!({ "version": 280_100, "subversion": "/Satoshi:28.1.0/", "connections": world.peers })
            }
            "getzmqnotifications" => world.zmq,
            "getblocktemplate" => match params[0]["longpollid"].as_str() {
                Some(_) if world.no_long_poll => {
                    self.tally("longpoll");
                    return Err((-1, "no long poll here"));
                }
                Some(id) => self.long_poll(id).await,
                None => self.plain().await,
            },
            "submitblock" => world.submit,
            "getblockheader" => match params[0].as_str() {
                Some(known) if known == hash(world.tip) => json!({
                    "confirmations": 1, "height": world.height, "time": world.time, "mediantime": world.time - 3,
                    "bits": "207fffff",
                }),
                Some(known) if known == hash(0xb0) => json!({
                    "confirmations": 2, "height": world.height - 1, "time": world.time, "mediantime": world.time - 3,
                    "bits": "207fffff",
                }),
                Some(known) if known == hash(0xee) => json!({ "confirmations": -1, "height": 7, "time": world.time }),
                // A tip of a node that tells less than Core.
                Some(known) if known == hash(0xef) => json!({ "confirmations": 1, "height": 7, "time": world.time }),
                _ => return Err((-5, "Block not found")),
            },
            _ => return Err((-32601, "Method not found")),
        })
    }
}

impl Shared {
    async fn long_poll(self: &Arc<Self>, id: &str) -> Value {
        self.tally("longpoll");
        let _kind = self.under_way("longpoll");
        let mut changes = self.world.subscribe();
        let returns = |world: &World| !world.deaf && (world.hasty || long_poll_id(world) != id);
        template(&changes.wait_for(returns).await.unwrap().clone())
    }

    async fn plain(self: &Arc<Self>) -> Value {
        let _kind = self.under_way("plain");
        let mut world = self.world.borrow().clone();
        if let Some((tip, height, times)) = world.lag {
            self.world.send_if_modified(|w| {
                w.lag = (times > 1).then_some((tip, height, times - 1));
                false
            });
            (world.tip, world.height) = (tip, height);
        }
        tokio::time::sleep(world.plain_takes).await;
        template(&world)
    }
}

/// A hash in display order, all of whose bytes are `byte`.
pub fn hash(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn long_poll_id(world: &World) -> String {
    format!("{}{}", hash(world.tip), world.fees)
}

fn template(world: &World) -> Value {
    let mut template: Value = serde_json::from_str(TEMPLATE).unwrap();
    template["previousblockhash"] = json!(hash(world.tip));
    template["height"] = json!(world.height + 1);
    template["longpollid"] = json!(long_poll_id(world));
    let transactions = template["transactions"].as_array_mut().unwrap();
    transactions.truncate(3 - world.fees.min(3));
    let wtxids: Vec<[u8; 32]> = transactions
        .iter()
        .map(|tx| {
            let mut wtxid: [u8; 32] = const_hex::decode_to_array(tx["hash"].as_str().unwrap()).unwrap();
            wtxid.reverse();
            wtxid
        })
        .collect();
    let count = transactions.len() as u64;
    let commitment = sha256d_pair(&merkle_root([0; 32], &merkle_branches(&wtxids)), &[0; 32]);
    template["coinbasevalue"] = json!(5_000_000_000_u64 + 10_000 * count);
    template["default_witness_commitment"] = json!(format!("6a24aa21a9ed{}", const_hex::encode(commitment)));
    template
}
