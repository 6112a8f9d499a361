//! No room on the disk: statistics wait, and a block goes out all the same.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::node::{Options, Origin, SimNode};
use crate::scenario::crew::{Crew, Shape, finder};
use crate::scenario::http::Events;
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const SOON: Duration = Duration::from_secs(15);
/// Bytes of the small disk.
const DISK: u64 = 3 << 20;

/// A small disk, as far as this system gives one.
enum Disk {
    /// A file system of its own, filled up by a file.
    Mounted(PathBuf),
    /// No file may grow beyond this.
    Limited,
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted(at) = self {
            // Nothing keeps it when the pool has gone; lazily, if it has not yet.
            let _ = std::process::Command::new("umount").arg("-l").arg(at).status();
        }
    }
}

impl Disk {
    /// Whether room can be made again.
    fn heals(&self) -> bool {
        matches!(self, Self::Mounted(_))
    }

    async fn make(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        let size = format!("size={DISK}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "warppool-sim"]).arg(at).output().await;
        let mounted = cfg!(target_os = "linux") && mount.is_ok_and(|output| output.status.success());
        Ok(if mounted { Self::Mounted(at.to_owned()) } else { Self::Limited })
    }
}

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.expect_errors();
    let node =
        SimNode::start(Options { bits: crate::scenario::stories::HARD, initial_blocks: 5, ..Options::default() })
            .await?;
    let small = stage.dir().join("small-disk");
    let disk = Disk::make(&small).await?;
    let mut setup = Setup::new(&node).by_password();
    setup.data = Some(small.join("data"));
    if !disk.heals() {
        stage.note(
            "no file system can be mounted here: files are limited to some ten KiB instead (ulimit -f), for good",
        );
        setup.limits = Some("trap '' XFSZ; ulimit -f 96".into());
    }
    let mut pool = stage.pool(setup).await?;
    let mut events = Events::open(pool.page()).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();
    let filler = small.join("filler");
    if disk.heals() {
        let durable = pool.will_show(SOON, "/ledger/state", |state| state == "durable").await;
        stage.happened(durable, "the ledger is durable");
        fill(&filler)?;
    }
    // A ledger that finds no room at its start is kept in memory; one that runs out of it waits.
    let (state, word) =
        if disk.heals() { ("statistics_paused", "free some space") } else { ("memory_only", "kept in memory") };
    let shown = pool.will_show(SOON, "/ledger/state", |shown| shown == state).await;
    stage.happened(shown, format!("the disk is full: the ledger is shown as {state}"));
    let message = pool.shows("/ledger/message").await;
    stage.check(message.as_str().is_some_and(|text| text.contains(word)), format!("the operator reads: {message}"));

    let stop = CancellationToken::new();
    let miner = finder(pool.plain(), "finder", 400_000.0, 2e-4, &stop);
    let found = events.wait_for("block_found", Duration::from_secs(40), |_| true).await;
    miner.stop().await;
    let hash = found?["hash"].as_str().context("block_found has no hash")?.to_owned();
    let fate = events.wait_for("block_fate", SOON, |e| e["hash"] == *hash && e["fate"] == "confirmed").await;
    let block = node.blocks().into_iter().find(|block| block.hash.to_string() == hash);
    stage.check(
        fate.is_ok() && block.is_some_and(|block| block.origin == Origin::Submitted),
        "a block found on the full disk is accepted",
    );
    let told = pool.log().find("cannot be written to disk");
    stage.check(told.is_some() || !disk.heals(), "the log says that it could not be kept on disk");
    let listed = pool.get("/api/blocks").await?;
    let is_listed = listed["blocks"].as_array().is_some_and(|blocks| blocks.iter().any(|b| b["hash"] == *hash));
    stage.check(is_listed, "/api/blocks lists it");
    stage.happened(crew.more(5, SOON).await, "miners have shares accepted");
    stage.check(pool.is_alive(), "the pool lives");

    if disk.heals() {
        let accepted = crew.standing().sum(|stats| stats.accepted);
        std::fs::remove_file(&filler)?;
        let durable = pool.will_show(SOON, "/ledger/state", |state| state == "durable").await;
        stage.happened(durable, "there is room again: the ledger is durable");
        let kept = pool.metric("warppool_shares_accepted_total").await?;
        stage.check(kept >= accepted as f64, format!("nothing was lost: {kept} shares are counted"));
        let spooled = crate::scenario::stage::until(SOON, "the block on disk", || async {
            std::fs::read_dir(pool.data().join("spool"))
                .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains(&hash)))
        });
        stage.happened(spooled.await, "the block is on disk now, too");
        // What was written down late must not undo what is known since.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let listed = pool.get("/api/blocks").await?;
        let block = listed["blocks"].as_array().and_then(|blocks| blocks.iter().find(|block| block["hash"] == *hash));
        let fate = block.map_or(&serde_json::Value::Null, |block| &block["fate"]);
        stage.check(fate == "confirmed", format!("/api/blocks shows it as {fate}"));
    }
    crew.judge(stage, &begin, "through all of it");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}

/// Takes all the room there is, to the last byte.
fn fill(file: &Path) -> Result<()> {
    let mut file = std::fs::File::create(file)?;
    for chunk in [64 << 10, 4 << 10, 512, 1] {
        let bytes = vec![0xff; chunk];
        while file.write_all(&bytes).is_ok() {}
    }
    Ok(())
}
