//! The node in every state in which it is of no use.

use std::time::Duration;

use anyhow::Result;

use crate::node::{Faults, Options, SimNode};
use crate::scenario::crew::{Crew, Shape};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;
use crate::scenario::stories::OUT_OF_REACH;

const SOON: Duration = Duration::from_secs(12);

/// A state that is switched on and off without waiting.
type Switch = fn(&Faults, bool);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let setup = Setup::new(&node).set("stratum.job_keepalive_seconds", 2);
    let pool = stage.pool(setup).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let begin = crew.standing();

    node.faults().rpc_down().await;
    let shown = pool.will_show(SOON, "/nodes/0/state", |state| state == "unreachable").await;
    stage.happened(shown, "the node's port is closed: it is shown as unreachable");
    let jobs: Vec<u64> = crew.standing().each().iter().map(|stats| stats.jobs).collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let fresh = crew.standing().each().iter().zip(&jobs).map(|(stats, jobs)| stats.jobs - jobs).min().unwrap_or(0);
    stage.check(fresh >= 2, format!("every miner gets at least {fresh} more jobs within 5 s all the same"));
    let ready = crate::scenario::http::get(pool.page(), "/readyz").await?;
    stage.check(ready.text().contains("unreachable") || ready.text().contains("listens"), "/readyz names the trouble");
    node.faults().rpc_up().await?;
    let shown = pool.will_show(SOON, "/nodes/0/state", |state| state == "ready").await;
    stage.happened(shown, "it is back and shown as ready");

    let states: [(&str, &str, Switch); 4] = [
        ("unauthorized", "it refuses the password", |faults, on| faults.unauthorized(on)),
        ("no_peers", "it has no peers", |faults, on| faults.no_peers(on)),
        ("initial_download", "it downloads the chain", |faults, on| faults.initial_download(on)),
        ("wrong_chain", "it follows another chain", |faults, on| faults.chain_name(on.then_some("main"))),
    ];
    for (state, what, switch) in states {
        switch(&node.faults(), true);
        // The next template is asked for at once.
        node.mine_block().await;
        let shown = pool.will_show(SOON, "/nodes/0/state", |shown| shown == state).await;
        let remedy = pool.shows("/nodes/0/remedy").await;
        stage.happened(shown, format!("{what}: it is shown as {state}, with the advice: {remedy}"));
        stage.check(remedy.as_str().is_some_and(|remedy| remedy.len() > 5), "there is an advice");
        switch(&node.faults(), false);
        let shown = pool.will_show(SOON, "/nodes/0/state", |shown| shown == "ready").await;
        stage.happened(shown, "healed: shown as ready");
    }
    let tip = node.mine_block().await.to_string();
    stage.happened(crew.on_tip(&tip, SOON).await, "the next tip reaches every miner");
    crew.judge(stage, &begin, "through all of it");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}
