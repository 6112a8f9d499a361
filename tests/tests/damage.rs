//! What the disk does to the pool: cut off, flipped, gone, full, not to be written, and a power cut at any moment. In every
//! case the pool mines on, and a block found then is accepted.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use warppool_sim::miner::{Budget, Miner, MinerOptions, MinerStats, Persona};
use warppool_sim::node::{Options, SimNode};
use warppool_tests::bitcoind::{Bitcoind, free_port};
use warppool_tests::damage::{Dice, flip, length, truncate};
use warppool_tests::hand::Hand;
use warppool_tests::pool::{NodeLine, Pool, Settings};
use warppool_tests::wait::{LONG, hold, until};

const USER: &str = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202.rig";
/// Two million hashes a block: easy shares are no blocks, and a block is found within a moment.
const SOME_WORK: u32 = 0x1e07_ffff;
/// How often the ledger is committed here.
const COMMIT: Duration = Duration::from_secs(1);

async fn sim_node() -> SimNode {
    SimNode::start(Options { transactions: 5, ..Options::default() }).await.unwrap()
}

fn settings(node: &SimNode) -> Settings {
    Settings::new("regtest", [NodeLine::of_sim(node)]).with("ledger.commit_seconds", COMMIT.as_secs().to_string())
}

/// Finds one block, however often the pool starts itself anew meanwhile, and sees it become the node's tip.
async fn finds_a_block(pool: &mut Pool, node: &SimNode) -> BlockHash {
    let found = until(LONG, "a block is found", async || {
        let target = pool.try_target().await.map_err(|why| format!("{why}: {}", pool.log.last(5)))?;
        let mut hand = Hand::try_connect(&target, USER).await.map_err(|why| why.to_string())?;
        let job = hand.job_on(node.tip()).await;
        let solution = hand.solve(&job, 1).await;
        let answer = hand.try_submit(&solution).await.map_err(|why| why.to_string())?;
        assert_eq!(answer["result"], true, "{answer}");
        Ok::<_, String>(solution.hash)
    })
    .await;
    until(LONG, "the node takes it", async || hold(node.tip() == found, (), node.tip())).await;
    found
}

/// A pool that has something in its ledger, stopped; with a copy of the sound ledger.
async fn stopped_pool(node: &SimNode) -> (Pool, PathBuf) {
    let mut pool = Pool::start(settings(node)).await;
    for _ in 0..3 {
        finds_a_block(&mut pool, node).await;
    }
    assert!(pool.stop().await.success());
    let sound = pool.dir().join("sound.mdb");
    std::fs::copy(pool.ledger_file(), &sound).unwrap();
    (pool, sound)
}

/// Starts on a damaged ledger, mines, and stops.
async fn mines_on(pool: &mut Pool, node: &SimNode, damage: &str) {
    pool.run().await;
    let found = finds_a_block(pool, node).await;
    pool.fate(found, "confirmed").await;
    // What was found before is known from the spool at least.
    let blocks = pool.blocks().await.len();
    assert!(blocks >= 4, "{damage}: {blocks} blocks in the list");
    let ledger = pool.overview().await["ledger"].clone();
    assert!(ledger["state"].is_string(), "{ledger}");
    assert!(pool.stop().await.success(), "{damage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_cut_off_while_the_pool_is_stopped_stops_no_mining() {
    let node = sim_node().await;
    let (mut pool, sound) = stopped_pool(&node).await;
    let whole = length(&sound);
    for size in [0, 1, 4095, 4096, 8192, 3 * 4096 + 7, whole / 2, whole - 4096, whole - 1] {
        std::fs::copy(&sound, pool.ledger_file()).unwrap();
        truncate(&pool.ledger_file(), size);
        mines_on(&mut pool, &node, &format!("cut to {size} of {whole} bytes")).await;
    }
}

/// Two hundred in all, ten at a time.
async fn flipped_bits(seed: u64) {
    let node = sim_node().await;
    let (mut pool, sound) = stopped_pool(&node).await;
    let mut dice = Dice(seed);
    for batch in 0..5 {
        std::fs::copy(&sound, pool.ledger_file()).unwrap();
        let bits: Vec<u64> = (0..10).map(|_| dice.roll(length(&sound) * 8)).collect();
        for bit in &bits {
            flip(&pool.ledger_file(), *bit);
        }
        mines_on(&mut pool, &node, &format!("seed {seed}, batch {batch}: bits {bits:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_of_a_stopped_pool_s_ledger_stop_no_mining_1() {
    flipped_bits(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_of_a_stopped_pool_s_ledger_stop_no_mining_2() {
    flipped_bits(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_of_a_stopped_pool_s_ledger_stop_no_mining_3() {
    flipped_bits(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_of_a_stopped_pool_s_ledger_stop_no_mining_4() {
    flipped_bits(4).await;
}

/// The ledger is mapped into memory: reading where the file has ended is SIGBUS.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_cut_off_under_the_running_pool_makes_it_go_on_in_memory_as_the_same_process() {
    for part in [0, 1, 2] {
        let node = sim_node().await;
        let mut pool = Pool::start(settings(&node)).await;
        let first = finds_a_block(&mut pool, &node).await;
        let pid = pool.pid();
        truncate(&pool.ledger_file(), length(&pool.ledger_file()) * part / 4 / 4096 * 4096);
        // This one is found on the old ledger or while it fails.
        let second = finds_a_block(&mut pool, &node).await;
        let third = finds_a_block(&mut pool, &node).await;
        until(LONG, "the pool is up, with all its blocks", async || {
            pool.try_target().await.map_err(|why| why.to_string())?;
            let blocks = pool.blocks().await;
            let has = |hash: BlockHash| blocks.iter().any(|block| block["hash"] == hash.to_string());
            hold([first, second, third].into_iter().all(has), (), format!("{blocks:?}"))
        })
        .await;
        assert_eq!(pool.pid(), pid);
        assert!(pool.is_running());
        if part == 0 {
            assert!(pool.log.find("starting anew").is_some(), "{}", pool.log.last(20));
            let state = pool.overview().await["ledger"]["state"].clone();
            assert_ne!(state, "durable", "there is no file to be durable in: {}", pool.log.last(20));
        }
        assert!(pool.stop().await.success());
        // The next start has a durable ledger again.
        pool.run().await;
        assert_eq!(pool.overview().await["ledger"]["state"], "durable");
        pool.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn core_accepts_a_block_found_while_the_ledger_dies() {
    let node = Bitcoind::regtest().await;
    node.generate(3, USER.split('.').next().unwrap()).await;
    let settings = Settings::new("regtest", [NodeLine::of("core", &node)]).with("ledger.commit_seconds", "1");
    let mut pool = Pool::start(settings).await;
    let mut hand = Hand::connect(&pool.target().await, USER).await;
    let tip = node.tip().await;
    let solution = hand.solve(&hand.job_on(tip).await, 1).await;
    truncate(&pool.ledger_file(), 0);
    // The answer may be lost with the process that gives it.
    let _ = hand.try_submit(&solution).await;
    until(LONG, "Core has the block", async || {
        let tip = node.tip().await;
        hold(tip == solution.hash, (), tip)
    })
    .await;
    until(LONG, "the pool shows it", async || {
        pool.try_target().await.map_err(|why| why.to_string())?;
        let blocks = pool.blocks().await;
        hold(blocks.iter().any(|block| block["fate"] == "confirmed"), (), format!("{blocks:?}"))
    })
    .await;
    let target = pool.target().await;
    let found = Hand::connect(&target, USER).await.find_on(solution.hash).await;
    pool.fate(found, "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_deleted_under_the_running_pool_stops_no_mining() {
    let node = sim_node().await;
    let mut pool = Pool::start(settings(&node)).await;
    finds_a_block(&mut pool, &node).await;
    std::fs::remove_dir_all(pool.data().join("ledger")).unwrap();
    finds_a_block(&mut pool, &node).await;
    // Through a commit of the statistics, too.
    let commits = pool.overview().await["ledger"]["last_commit_at_ms"].clone();
    let _ = pool
        .shows("a commit, or what is wrong with it", |overview| {
            overview["ledger"]["last_commit_at_ms"] != commits || overview["ledger"]["message"] != ""
        })
        .await;
    finds_a_block(&mut pool, &node).await;
    assert!(pool.stop().await.success());
    pool.run().await;
    assert_eq!(pool.overview().await["ledger"]["state"], "durable");
    assert_eq!(pool.blocks().await.len(), 3, "the list is made anew from the spool");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_behind_the_spool_learns_the_fate_of_its_blocks() {
    let node = sim_node().await;
    let mut pool = Pool::start(settings(&node)).await;
    let mut hand = Hand::connect(&pool.target().await, USER).await;
    hand.job().await;
    node.faults().rpc_down().await;
    let found = hand.find().await;
    let at = pool.fate(found, "pending").await["at_ms"].as_u64();
    until(LONG, "the block is in the spool", async || hold(pool.spooled() == 1, (), pool.spooled())).await;
    pool.shows("the block in the ledger", |overview| overview["ledger"]["last_commit_at_ms"].as_u64() > at).await;
    pool.kill9();
    let behind = pool.dir().join("behind.mdb");
    std::fs::copy(pool.ledger_file(), &behind).unwrap();

    node.faults().rpc_up().await.unwrap();
    pool.run().await;
    pool.fate(found, "confirmed").await;
    assert!(pool.stop().await.success());
    std::fs::copy(&behind, pool.ledger_file()).unwrap();
    pool.run().await;
    pool.fate(found, "confirmed").await;
    assert_eq!(pool.blocks().await.len(), 1);
}

/// A file system of its own in memory, for those who may mount one.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("NOT RUN: only root can mount a file system for this test");
        None
    }

    fn fill(&self) {
        let junk = std::fs::File::create(self.0.join("junk")).unwrap();
        let mut writer = std::io::BufWriter::with_capacity(4096, junk);
        while std::io::Write::write_all(&mut writer, &[0x5a; 4096]).is_ok() {}
        // Its buffer cannot be written either.
        let _ = writer.into_parts();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("junk")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_pauses_the_statistics_and_stops_no_mining() {
    let node = sim_node().await;
    let mut pool = Pool::prepare(settings(&node));
    let Some(disk) = Mount::tmpfs(&pool.data(), "size=4m,mode=0700") else { return };
    pool.run().await;
    let first = finds_a_block(&mut pool, &node).await;
    pool.fate(first, "confirmed").await;
    disk.fill();
    let second = finds_a_block(&mut pool, &node).await;
    pool.fate(second, "confirmed").await;
    pool.shows("paused statistics", |overview| overview["ledger"]["state"] == "statistics_paused").await;
    let third = finds_a_block(&mut pool, &node).await;
    disk.make_room();
    pool.shows("a durable ledger again", |overview| overview["ledger"]["state"] == "durable").await;
    pool.fate(third, "confirmed").await;
    until(LONG, "all three are in the spool", async || hold(pool.spooled() == 3, (), pool.spooled())).await;
    assert!(pool.stop().await.success());
    pool.run().await;
    assert_eq!(pool.blocks().await.len(), 3);
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_from_the_start_stops_no_mining() {
    let node = sim_node().await;
    let mut pool = Pool::prepare(settings(&node));
    let Some(disk) = Mount::tmpfs(&pool.data(), "size=64k,mode=0700") else { return };
    disk.fill();
    pool.run().await;
    finds_a_block(&mut pool, &node).await;
    finds_a_block(&mut pool, &node).await;
    assert_ne!(pool.overview().await["ledger"]["state"], "durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_written_stops_no_mining() {
    let node = sim_node().await;
    let mut pool = Pool::prepare(settings(&node));
    let Some(_disk) = Mount::tmpfs(&pool.data(), "ro") else { return };
    pool.run().await;
    finds_a_block(&mut pool, &node).await;
    finds_a_block(&mut pool, &node).await;
    assert_eq!(pool.overview().await["ledger"]["state"], "memory_only");
    assert_eq!(pool.blocks().await.len(), 2);
    assert!(pool.stop().await.success());
}

/// What the miner has seen accepted, moment by moment.
struct Seen(Vec<(Instant, u64)>);

impl Seen {
    async fn watch(miner: &Miner, time: Duration) -> Self {
        let start = Instant::now();
        let mut seen = Vec::new();
        while start.elapsed() < time {
            seen.push((Instant::now(), miner.stats().accepted));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self(seen)
    }

    /// The last count that is at least so old.
    fn before(&self, age: Duration) -> u64 {
        let now = Instant::now();
        self.0.iter().rev().find(|(at, _)| now.duration_since(*at) >= age).map_or(0, |(_, count)| *count)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_moment_loses_no_block_and_at_most_one_commit_of_shares() {
    let options = Options { bits: SOME_WORK, transactions: 5, ..Options::default() };
    let node = SimNode::start(options).await.unwrap();
    let settings = settings(&node)
        .with("stratum.listen", format!("'127.0.0.1:{}'", free_port()))
        .with("vardiff.enabled", "false")
        .with("vardiff.min_diff", "1e-10")
        .with("vardiff.initial_diff", "2e-10");
    let mut pool = Pool::start(settings).await;
    let user = USER.replace("rig", "load");
    let options = MinerOptions {
        budget: Budget::SharesPerSecond(200.0),
        acceleration: 100.0,
        ..MinerOptions::new(pool.target().await, &user, Persona::Cpuminer)
    };
    let miner = Miner::start(options, &CancellationToken::new());
    let mut dice = Dice(7);
    let mut found = Vec::new();
    let (mut kept, mut answered, mut submitted) = (0, 0, 0);
    for _ in 0..4 {
        let MinerStats { connects, losses, .. } = miner.stats();
        miner.wait_for(LONG, |stats| stats.authorized && stats.connects >= connects).await.unwrap();
        let time = Duration::from_millis(2_000 + dice.roll(1_000));
        let seen = Seen::watch(&miner, time).await;
        let mut hand = Hand::connect(&pool.target().await, USER).await;
        found.push(hand.find_on(node.tip()).await);
        until(LONG, "the block is in the spool", async || hold(pool.spooled() == found.len(), (), pool.spooled()))
            .await;
        pool.kill9();
        let safe = seen.before(COMMIT + Duration::from_millis(500));
        let stats = miner.wait_for(LONG, |stats| stats.losses > losses).await.unwrap();
        pool.run().await;
        assert_eq!(pool.overview().await["ledger"]["state"], "durable", "{}", pool.log.last(20));
        // What earlier cuts took stays lost; this one took no more than what came since the last commit.
        let least = kept + safe.saturating_sub(answered);
        let most = kept + stats.submitted - submitted;
        (answered, submitted) = (stats.accepted, stats.submitted);
        kept = pool.worker(&user).await["accepted"].as_u64().unwrap_or(0);
        assert!((least..=most).contains(&kept), "{kept} shares kept of {least} to {most}");
        for hash in &found {
            pool.fate(hash, "confirmed").await;
        }
        assert_eq!(pool.blocks().await.len(), found.len());
    }
    let stats = miner.stop().await;
    assert_eq!(stats.violations, []);
    assert!(stats.accepted > 500, "{stats:?}");
    let blocks: Vec<Value> = pool.blocks().await;
    assert!(blocks.iter().all(|block| block["value_sat"].as_u64() > Some(0)));
}
