//! A tiny Stratum V1 pool for the tests of everything here that is a client: as well-behaved as a real one unless a
//! test bends it, and it keeps every line it was sent.

use std::{
    collections::HashSet,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::{broadcast, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// How the pool is bent.
#[derive(Clone, Debug)]
pub(crate) struct Bent {
    pub(crate) difficulty: Option<f64>,
    pub(crate) coinb1: usize,
    pub(crate) branches: usize,
    pub(crate) extranonce2_size: usize,
    /// Every so many-th submit is refused with 23.
    pub(crate) reject_every: Option<u64>,
    /// Lines pushed out in front of the answer to subscribe.
    pub(crate) before_subscribe: Vec<String>,
    /// What the answer to this method is instead; `$ID` stands for the request's id.
    pub(crate) instead: Option<(&'static str, String)>,
    /// Lines sent after the first job.
    pub(crate) after_first_job: Vec<String>,
    pub(crate) version: &'static str,
    pub(crate) nbits: &'static str,
    pub(crate) refuse_authorize: bool,
    /// The connection is closed after this many submits.
    pub(crate) hang_up_after: Option<u64>,
    /// Answers come in two writes, split in the middle.
    pub(crate) split_writes: bool,
}

impl Default for Bent {
    fn default() -> Self {
        Self {
            difficulty: Some(1e-10),
            coinb1: 60,
            branches: 4,
            extranonce2_size: 8,
            reject_every: None,
            before_subscribe: Vec::new(),
            instead: None,
            after_first_job: Vec::new(),
            version: "20000000",
            nbits: "207fffff",
            refuse_authorize: false,
            hang_up_after: None,
            split_writes: false,
        }
    }
}

pub(crate) struct FakePool {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    bent: Bent,
    lines: watch::Sender<Vec<String>>,
    submits: AtomicU64,
    repeated: AtomicU64,
    seen: Mutex<HashSet<String>>,
    jobs: broadcast::Sender<String>,
    connections: AtomicU64,
}

impl FakePool {
    pub(crate) async fn start(bent: Bent) -> Self {
        Self::with_tls(bent, None).await
    }

    pub(crate) async fn with_tls(bent: Bent, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            bent,
            lines: watch::channel(Vec::new()).0,
            submits: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            seen: Mutex::default(),
            jobs: broadcast::channel(16).0,
            connections: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    stream.set_nodelay(true).unwrap();
                    match tls {
                        None => serve(stream, &shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn submits(&self) -> u64 {
        self.shared.submits.load(Ordering::Relaxed)
    }

    /// Submits whose parameters had been seen before from the same extranonce 1.
    pub(crate) fn repeated(&self) -> u64 {
        self.shared.repeated.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Sends all connections a clean job on this previous hash (in notify's order).
    pub(crate) fn new_job(&self, job_id: &str, prev_hash: &str) {
        let _ = self.shared.jobs.send(self.shared.notify(job_id, prev_hash, true));
    }

    /// Sends all connections a line.
    pub(crate) fn say(&self, line: &str) {
        let _ = self.shared.jobs.send(line.to_owned());
    }

    /// Waits until the lines received so far fulfil a condition.
    pub(crate) async fn heard(&self, condition: impl FnMut(&Vec<String>) -> bool) -> Vec<String> {
        let mut lines = self.shared.lines.subscribe();
        let waited = timeout(Duration::from_secs(10), lines.wait_for(condition)).await;
        let heard = waited.map(|lines| lines.unwrap().clone());
        heard.unwrap_or_else(|_| panic!("not within 10 s; heard {:#?}", self.shared.lines.borrow()))
    }
}

impl Shared {
    fn notify(&self, job_id: &str, prev_hash: &str, clean: bool) -> String {
        let Bent { coinb1, branches, version, nbits, .. } = &self.bent;
        let branches = vec!["ab".repeat(32); *branches];
        json!({"id": null, "method": "mining.notify", "params":
            [job_id, prev_hash, "01".repeat(*coinb1), "02".repeat(60), branches, version, nbits, "65000000", clean]})
        .to_string()
    }

    fn answer(&self, request: &Value, extranonce1: u64) -> Vec<String> {
        let id = &request["id"];
        let method = request["method"].as_str().unwrap_or_default();
        if let Some((_, instead)) = self.bent.instead.as_ref().filter(|(which, _)| *which == method) {
            return vec![instead.replace("$ID", &id.to_string())];
        }
        let ok = |result: Value| json!({"id": id, "result": result, "error": null}).to_string();
        match method {
            "mining.configure" => {
                vec![ok(json!({"version-rolling": true, "version-rolling.mask": "1fffe000"}))]
            }
            "mining.subscribe" => {
                let mut lines = self.bent.before_subscribe.clone();
                let subscriptions = json!([["mining.set_difficulty", "1"], ["mining.notify", "1"]]);
                lines.push(ok(json!([subscriptions, format!("{extranonce1:08x}"), self.bent.extranonce2_size])));
                lines
            }
            "mining.authorize" if self.bent.refuse_authorize => {
                vec![json!({"id": id, "result": false, "error": [24, "unauthorized", null]}).to_string()]
            }
            "mining.authorize" => {
                let mut lines = vec![ok(true.into())];
                if let Some(difficulty) = self.bent.difficulty {
                    let line = json!({"id": null, "method": "mining.set_difficulty", "params": [difficulty]});
                    lines.push(line.to_string());
                }
                lines.push(self.notify("j0", &"0".repeat(64), true));
                lines.extend(self.bent.after_first_job.clone());
                lines
            }
            "mining.submit" => {
                let number = self.submits.fetch_add(1, Ordering::Relaxed) + 1;
                if !self.seen.lock().insert(format!("{extranonce1} {}", request["params"])) {
                    self.repeated.fetch_add(1, Ordering::Relaxed);
                }
                if self.bent.reject_every.is_some_and(|every| number.is_multiple_of(every)) {
                    return vec![json!({"id": id, "result": null, "error": [23, "low difficulty", null]}).to_string()];
                }
                vec![ok(true.into())]
            }
            _ => vec![ok(true.into())],
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + 'static, shared: &Shared) {
    let extranonce1 = shared.connections.fetch_add(1, Ordering::Relaxed);
    let mut jobs = shared.jobs.subscribe();
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    let mut submits = 0;
    loop {
        let out = tokio::select! {
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return };
                let Ok(request) = serde_json::from_str::<Value>(&line) else { continue };
                if request["method"] == "mining.submit" {
                    submits += 1;
                }
                shared.lines.send_if_modified(|lines| {
                    let room = lines.len() < 1000;
                    if room {
                        lines.push(line);
                    }
                    room
                });
                if request["method"].is_null() {
                    continue;
                }
                shared.answer(&request, extranonce1)
            }
            job = jobs.recv() => {
                let Ok(job) = job else { return };
                vec![job]
            }
        };
        let out = out.into_iter().fold(String::new(), |all, line| all + &line + "\n");
        let middle = if shared.bent.split_writes { out.len() / 2 } else { 0 };
        for part in [&out[..middle], &out[middle..]] {
            if writer.write_all(part.as_bytes()).await.is_err() || writer.flush().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if shared.bent.hang_up_after.is_some_and(|after| submits >= after) {
            return;
        }
    }
}
