//! The life of the process: started, asked, reloaded, refused, stopped, started again; and its other commands.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto};
use tokio_util::sync::CancellationToken;
use warppool_sim::miner::{Budget, Miner, MinerOptions, MinerStats, Persona, Tls};
use warppool_sim::node::{Credentials, Options, SimNode};
use warppool_tests::bitcoind::free_port;
use warppool_tests::hand::Hand;
use warppool_tests::pool::{NodeLine, Pool, STOP, Settings, command, warppool, write_file};
use warppool_tests::wait::{LONG, hold, until};
use warppool_tests::{content, listener, miner};

const ADDRESS: &str = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202";
/// No test finds a block of it by chance.
const HARD: u32 = 0x1d00_ffff;

/// A node whose blocks nobody finds, and settings with which shares are easy whatever a device asks for.
async fn hard_node() -> SimNode {
    SimNode::start(Options { bits: HARD, transactions: 5, ..Options::default() }).await.unwrap()
}

fn settings(node: &SimNode) -> Settings {
    Settings::new("regtest", [NodeLine::of_sim(node)])
        .with("vardiff.enabled", "false")
        .with("vardiff.initial_diff", "1e-7")
        .with("vardiff.max_diff", "1e-7")
}

/// A node of which every second hash is a block.
async fn easy_node() -> SimNode {
    SimNode::start(Options { transactions: 5, ..Options::default() }).await.unwrap()
}

fn user(name: &str) -> String {
    format!("{ADDRESS}.{name}")
}

async fn accepts(miner: &Miner, shares: u64) -> MinerStats {
    miner.wait_for(LONG, |stats| stats.accepted >= shares).await.unwrap_or_else(|stats| panic!("{stats:?}"))
}

/// What the pool has accepted from this worker.
async fn counted(pool: &Pool, name: &str) -> u64 {
    pool.worker(&user(name)).await["accepted"].as_u64().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

// --- Stopping, and what is there after the next start ---

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_quick_and_every_share_accepted_before_it_is_there_after_it() {
    let node = hard_node().await;
    // Only the stop itself can have written them.
    let mut pool = Pool::start(settings(&node).with("ledger.commit_seconds", "3600")).await;
    let target = pool.target().await;
    let gone = miner(target.clone(), &user("gone"), Persona::Cpuminer, Budget::SharesPerSecond(100.0));
    let here = miner(target, &user("here"), Persona::Whatsminer, Budget::SharesPerSecond(100.0));
    accepts(&gone, 50).await;
    let stats = gone.stop().await;
    content(&stats);
    // Shares the pool has taken, but whose answers did not reach a miner that hung up.
    let before = counted(&pool, "gone").await;
    assert!((stats.accepted..=stats.submitted).contains(&before), "{before}: {stats:?}");
    accepts(&here, 50).await;

    let start = Instant::now();
    let status = pool.stop().await;
    assert_eq!(status.code(), Some(0), "{}", pool.log.last(20));
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    let stats = here.wait_for(LONG, |stats| !stats.connected).await.unwrap();

    pool.run().await;
    assert_eq!(counted(&pool, "gone").await, before);
    let after = counted(&pool, "here").await;
    assert!((stats.accepted..=stats.submitted).contains(&after), "{after}: {stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_difficulty_a_worker_had_come_to_outlives_a_restart() {
    let node = hard_node().await;
    let settings = Settings::new("regtest", [NodeLine::of_sim(&node)])
        .with("stratum.listen", format!("'127.0.0.1:{}'", free_port()))
        // Devices take a new difficulty with the next job.
        .with("stratum.job_keepalive_seconds", "1")
        .with("vardiff.initial_diff", "1e-8")
        .with("vardiff.target_seconds_per_share", "0.1")
        .with("vardiff.hysteresis", "0.0");
    let mut pool = Pool::start(settings).await;
    let worker = user("learner");
    let budget = Budget::HashesPerSecond(40_000.0);
    let options = MinerOptions { budget, ..MinerOptions::new(pool.target().await, &worker, Persona::Cpuminer) };
    let miner = Miner::start(options, &CancellationToken::new());
    let learned =
        miner.wait_for(LONG, |stats| stats.difficulty > 3e-7).await.unwrap_or_else(|stats| panic!("{stats:?}"));
    miner.stop().await;
    assert_eq!(pool.stop().await.code(), Some(0));
    pool.run().await;
    let hand = Hand::connect(&pool.target().await, &worker).await;
    hand.job().await;
    let resumed = hand.heard().difficulty;
    assert!(resumed >= learned.difficulty / 4.0, "{resumed} after {}", learned.difficulty);
    // Another worker begins where everybody begins.
    let other = Hand::connect(&pool.target().await, &user("other")).await;
    other.job().await;
    assert!(other.heard().difficulty < learned.difficulty / 4.0, "{}", other.heard().difficulty);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_workers_and_blocks_to_another_data_folder() {
    let node = easy_node().await;
    let mut pool = Pool::start(settings(&node)).await;
    let target = pool.target().await;
    let mut hand = Hand::connect(&target, &user("finder")).await;
    let found = hand.find_on(node.tip()).await;
    let block = pool.fate(found, "confirmed").await;
    let workers = pool.get("/api/workers").await;
    assert_eq!(pool.stop().await.code(), Some(0));

    let file = pool.dir().join("backup");
    let backup = command([Path::new("backup"), &pool.data(), &file]);
    assert!(backup.status.success(), "{}", text(&backup));
    let mut other = Pool::prepare(settings(&node));
    let restored = command([Path::new("restore"), &file, &other.data()]);
    assert!(restored.status.success(), "{}", text(&restored));
    other.run().await;
    let same =
        |worker: &Value| ["name", "accepted", "work", "blocks_found", "first_seen_ms"].map(|key| worker[key].clone());
    let kept = other.get("/api/workers").await;
    assert_eq!(same(&kept["workers"][0]), same(&workers["workers"][0]));
    assert_eq!(kept["total"], 1);
    let kept = other.blocks().await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["hash"], block["hash"]);
    assert_eq!(kept[0]["payouts"], block["payouts"]);

    // A pool that runs keeps its data folder to itself.
    let refused = command([Path::new("restore"), &file, &other.data()]);
    assert!(!refused.status.success());
    assert!(text(&refused).contains("another pool is running"), "{}", text(&refused));
}

// --- Reload ---

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_moves_the_port_and_keeps_those_who_are_connected() {
    let node = easy_node().await;
    let mut pool = Pool::start(settings(&node)).await;
    let old = pool.target().await;
    let strict = listener(old.clone(), &user("strict"), Persona::NerdminerV2);
    let mut early = Hand::connect(&old, &user("early")).await;
    early.job().await;
    strict.wait_for(LONG, |stats| stats.jobs > 0).await.unwrap();

    let port = free_port();
    pool.settings.set("stratum.listen", format!("'127.0.0.1:{port}'"));
    pool.reload();
    pool.shows("the new port", |overview| overview["connect"]["plain_port"] == port).await;
    until(LONG, "the old port is closed", async || {
        let taken = TcpStream::connect(&old).await;
        hold(taken.is_err(), (), "it takes connections")
    })
    .await;
    let mut late = Hand::connect(&format!("127.0.0.1:{port}"), &user("late")).await;
    let found = late.find_on(node.tip()).await;
    let found = early.find_on(found).await;
    pool.fate(found, "confirmed").await;
    content(&strict.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_cap_and_a_smaller_one_sends_nobody_away() {
    let node = easy_node().await;
    let mut pool = Pool::start(settings(&node)).await;
    let target = pool.target().await;
    let mut hands = Vec::new();
    for n in 0..3 {
        hands.push(Hand::connect(&target, &user(&n.to_string())).await);
    }
    let cap = async |pool: &mut Pool, most: u32| {
        let before = pool.log.count("configuration read again");
        pool.settings.set("stratum.max_connections", most.to_string());
        pool.reload();
        until(LONG, "the reload", async || {
            hold(pool.log.count("configuration read again") > before, (), pool.log.last(5))
        })
        .await;
    };
    cap(&mut pool, 2).await;
    assert!(Hand::try_connect(&target, &user("3")).await.is_err(), "a third is there already");
    let mut tip = node.tip();
    for hand in &mut hands {
        tip = hand.find_on(tip).await;
    }
    cap(&mut pool, 4).await;
    let mut fourth = Hand::connect(&target, &user("3")).await;
    fourth.find_on(tip).await;
    assert!(hands.iter().all(|hand| !hand.heard().closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_configuration_changes_nothing_and_the_log_says_why() {
    let node = easy_node().await;
    let mut pool = Pool::start(settings(&node)).await;
    let target = pool.target().await;
    let mut hand = Hand::connect(&target, &user("rig")).await;
    let sound = pool.settings.clone();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = format!("'{}'", taken.local_addr().unwrap());
    let cases = [
        ("stratum.max_connections", "0", "stratum.max_connections"),
        ("mining.pool_tag", "'far too long for a coinbase tag'", "mining.pool_tag"),
        ("stratum.listen", &*taken, "cannot listen"),
        ("stratum.tls_listen", "'127.0.0.1:0'", "tls_cert_path"),
    ];
    for (n, (key, value, told)) in cases.into_iter().enumerate() {
        pool.settings = sound.clone().with(key, value).with("branding.status_brand_name", "'Other'");
        pool.reload();
        until(LONG, "the refusal is logged", async || {
            hold(pool.log.count("is not taken over") == n + 1, (), pool.log.last(5))
        })
        .await;
        let line = pool.log.find("is not taken over").unwrap();
        assert!(line.contains(told) || pool.log.last(3).contains(told), "{key}: {}", pool.log.last(5));
        let overview = pool.overview().await;
        assert_eq!(overview["brand"], "WarpPool", "{key}");
        assert_eq!(format!("127.0.0.1:{}", overview["connect"]["plain_port"]), target, "{key}");
        let tip = node.tip();
        hand.find_on(tip).await;
    }
    // And a sound one is taken after all that.
    pool.settings = sound.with("branding.status_brand_name", "'Other'");
    pool.reload();
    pool.shows("the new name", |overview| overview["brand"] == "Other").await;
}

// --- TLS ---

/// A certificate for 127.0.0.1 with its key, as PEM.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn install(pool: &Pool, (certificate, key): &(String, String)) {
    write_file(&pool.dir().join("cert.pem"), certificate, 0o644);
    write_file(&pool.dir().join("key.pem"), key, 0o600);
}

async fn tls_pool(node: &SimNode, certificate: &(String, String)) -> Pool {
    let settings = settings(node)
        .with("stratum.tls_listen", "'127.0.0.1:0'")
        .with("stratum.tls_cert_path", "'cert.pem'")
        .with("stratum.tls_key_path", "'key.pem'");
    let mut pool = Pool::prepare(settings);
    install(&pool, certificate);
    pool.run().await;
    pool
}

fn tls_miner(target: &str, name: &str, pem: &str, persona: Persona) -> Miner {
    let options = MinerOptions {
        tls: Tls::Roots(pem.to_owned()),
        budget: Budget::SharesPerSecond(20.0),
        acceleration: 50.0,
        ..MinerOptions::new(target, user(name), persona)
    };
    Miner::start(options, &CancellationToken::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_offered_after_a_reload_and_old_connections_stay() {
    let node = hard_node().await;
    let (first, second) = (certificate(), certificate());
    let pool = tls_pool(&node, &first).await;
    let target = pool.tls_target().await;
    let old = tls_miner(&target, "old", &first.0, Persona::BitaxeUltra);
    accepts(&old, 5).await;

    install(&pool, &second);
    pool.reload();
    pool.log.says("configuration read again", LONG).await;
    let new = tls_miner(&target, "new", &second.0, Persona::BitaxeUltra);
    accepts(&new, 5).await;
    let mistaken = tls_miner(&target, "mistaken", &first.0, Persona::BitaxeUltra);
    let mistaken_stats = mistaken.wait_for(LONG, |stats| stats.losses > 0).await.unwrap();
    assert_eq!(mistaken_stats.connects, 0, "the old certificate is offered no more");
    let so_far = old.stats().accepted;
    accepts(&old, so_far + 5).await;
    content(&old.stop().await);
    content(&new.stop().await);
    mistaken.stop().await;

    // A broken one is refused, and the one in use stays.
    install(&pool, &("nonsense".into(), "nonsense".into()));
    pool.reload();
    pool.log.says("is not taken over", LONG).await;
    let still = tls_miner(&target, "still", &second.0, Persona::BitaxeUltra);
    accepts(&still, 5).await;
    content(&still.stop().await);
}

/// Takes plain connections and carries them on in this version of TLS, trusting `pem` alone.
async fn tunnel(target: String, version: &'static SupportedProtocolVersion, pem: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let (connector, target) = (connector.clone(), target.clone());
            tokio::spawn(async move {
                let stream = TcpStream::connect(target).await.unwrap();
                let mut tls = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
                assert_eq!(tls.get_ref().1.protocol_version(), Some(version.version));
                let _ = copy_bidirectional(&mut plain, &mut tls).await;
            });
        }
    });
    address
}

/// Every honest persona at once.
async fn all_mine(pool: &Pool, target: &str, way: &str) {
    let miners: Vec<_> = Persona::honest()
        .map(|persona| {
            let name = format!("{way}-{persona}");
            (name.clone(), miner(target.to_owned(), &user(&name), persona, Budget::SharesPerSecond(20.0)))
        })
        .collect();
    for (name, miner) in miners {
        accepts(&miner, 20).await;
        let stats = miner.stop().await;
        content(&stats);
        assert_eq!(stats.rejected, 0, "{name}: {stats:?}");
        // Avalon cuts a name at 63 characters.
        let worker: String = if name.contains("avalon") { user(&name).chars().take(63).collect() } else { user(&name) };
        assert!(pool.worker(&worker).await["accepted"].as_u64() >= Some(20), "{worker}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_honest_persona_mines_without_finding_fault_plain_and_over_both_versions_of_tls() {
    let node = hard_node().await;
    let certificate = certificate();
    let pool = tls_pool(&node, &certificate).await;
    let (plain, tls) = (pool.target().await, pool.tls_target().await);
    all_mine(&pool, &plain, "plain").await;
    for (version, way) in [(&TLS12, "tls12"), (&TLS13, "tls13")] {
        let through = tunnel(tls.clone(), version, &certificate.0).await;
        all_mine(&pool, &through, way).await;
    }
}

// --- What is refused, with a remedy ---

#[test]
fn check_config_names_file_line_key_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let file = path.display();
    for (content, told) in [
        (
            "[mining]\nchain = 'regtest'\n[stratum]\nlisten = 'nowhere'\n",
            [format!("{file}:4:"), "stratum.listen".into(), "host:port".into()],
        ),
        (
            "[stratum]\nlisten_ = ':3333'\n",
            [format!("{file}:2:"), "stratum.listen_".into(), "did you mean stratum.listen?".into()],
        ),
        (
            "[mining]\nchain = 'regtest'\npayout_address = 'bcrt1qbroken'\n",
            [format!("{file}:3:"), "mining.payout_address".into(), String::new()],
        ),
        ("[stratum\n", [format!("{file}:1:"), String::new(), String::new()]),
    ] {
        std::fs::write(&path, content).unwrap();
        let output = command([Path::new("check-config"), &path]);
        assert!(!output.status.success(), "{content}");
        for words in told {
            assert!(text(&output).contains(&words), "{words}\n{}", text(&output));
        }
        // The pool itself says the same and does not start.
        let output = command([Path::new("run"), Path::new("--config"), &path]);
        assert!(!output.status.success());
        assert!(text(&output).contains(&format!("{file}:")), "{}", text(&output));
    }
    let missing = dir.path().join("missing.toml");
    let output = command([Path::new("check-config"), &missing]);
    assert!(!output.status.success());
    assert!(text(&output).contains("there is no such file"), "{}", text(&output));
}

#[test]
fn the_default_configuration_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let defaults = command(["default-config"]);
    assert!(defaults.status.success());
    std::fs::write(&path, &defaults.stdout).unwrap();
    let checked = command([Path::new("check-config"), &path]);
    assert!(checked.status.success(), "{}", text(&checked));
    assert!(text(&checked).contains("is sound"), "{}", text(&checked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pool_on_the_same_data_folder_is_refused() {
    let node = easy_node().await;
    let pool = Pool::start(settings(&node)).await;
    let start = Instant::now();
    let config = pool.config_path();
    let second =
        tokio::task::spawn_blocking(move || command([Path::new("run"), Path::new("--config"), &config])).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(!second.status.success());
    let told = text(&second);
    assert!(told.contains("another pool is running") && told.contains("server.data_dir"), "{told}");
    // The first does not mind.
    let found = Hand::connect(&pool.target().await, &user("rig")).await.find_on(node.tip()).await;
    pool.fate(found, "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_others_can_read_are_refused_and_private_ones_are_used() {
    let credentials = Credentials::UserPassword { user: "pool".into(), password: "a password".into() };
    let node = SimNode::start(Options { credentials, ..Options::default() }).await.unwrap();
    let line = NodeLine { rpc_url: node.rpc_url(), ..NodeLine::of_sim(&node) };
    let mut pool = Pool::prepare(Settings::new("regtest", [line]));
    let secrets = pool.dir().join("secrets.toml");
    let content = "rpc_user = 'pool'\nrpc_pass = 'a password'\n";
    for mode in [0o644, 0o640] {
        write_file(&secrets, content, mode);
        pool.launch();
        let status = pool.end().await;
        assert!(!status.success());
        let told = pool.log.says("secrets.toml", LONG).await;
        assert!(told.contains("chmod 600") && !told.contains("a password"), "{told}");
    }
    write_file(&secrets, content, 0o600);
    pool.run().await;
    let found = Hand::connect(&pool.target().await, &user("rig")).await.find_on(node.tip()).await;
    pool.fate(found, "confirmed").await;
    assert!(!pool.log.last(400).contains("a password"), "no secret is logged");
}

// --- The other commands ---

#[tokio::test(flavor = "multi_thread")]
async fn status_says_how_a_running_pool_is_and_what_to_do_without_one() {
    let node = easy_node().await;
    let pool = Pool::start(settings(&node)).await;
    let found = Hand::connect(&pool.target().await, &user("rig")).await.find_on(node.tip()).await;
    pool.fate(found, "confirmed").await;
    let ask = |port: u16, more: &'static [&str]| {
        let mut status = warppool();
        status.args(["status", "--url"]).arg(format!("http://127.0.0.1:{port}")).args(more);
        tokio::task::spawn_blocking(move || status.output().unwrap())
    };
    let status = ask(pool.http_port(), &[]).await.unwrap();
    assert!(status.status.success(), "{}", text(&status));
    for words in ["on regtest", "hashrate", "1 found", "simulated: ready, mined on"] {
        assert!(text(&status).contains(words), "{words}\n{}", text(&status));
    }
    let json = ask(pool.http_port(), &["--json"]).await.unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["blocks_found"], 1);

    let nobody = ask(free_port(), &[]).await.unwrap();
    assert!(!nobody.status.success());
    assert!(text(&nobody).contains("is it running?") && text(&nobody).contains("--url"), "{}", text(&nobody));
}

#[test]
fn the_demo_finds_a_block_without_anything_set_up() {
    let output =
        command(["demo", "--once", "--set", "stratum.listen=127.0.0.1:0", "--set", "server.http_listen=127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("was found and accepted"), "{}", text(&output));
}
