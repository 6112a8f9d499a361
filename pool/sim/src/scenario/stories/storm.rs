//! Hundreds of connections from one address: what is too much is refused, in words where there are words yet, and the
//! miners at work do not notice.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::OUT_OF_REACH;
use crate::node::{Options, SimNode};
use crate::scenario::crew::{Crew, Shape, address};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::Raw;
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

/// Connections of the first wave, all of which are let in.
const ATTACKERS: usize = 200;
/// Authorizations at once and a second, by default.
const BURST: usize = 10;
/// Connections of the second wave, for which no token is left.
const TOO_MANY: usize = 100;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let setup = Setup::new(&node)
        .limited()
        .set("stratum.max_connections", 1_000)
        .set("stratum.max_connections_per_address", 500)
        .set("ratelimit.connect_burst", ATTACKERS)
        .set("ratelimit.connects_per_sec", 1);
    let mut pool = stage.pool(setup).await?;
    let crew = Crew::at_work(pool.plain(), &Shape { miners: 4, ..Shape::default() }).await?;
    let begin = crew.standing();
    crew.more(15, Duration::from_secs(20)).await?;
    let quiet = crew.standing();

    let started = Instant::now();
    let mut wave = JoinSet::new();
    for n in 0..ATTACKERS {
        let at = pool.plain();
        wave.spawn(async move {
            let mut raw = Raw::connect(at, STRANGER).await?;
            let answer = raw.ask("mining.authorize", json!([format!("{}.{n}", address(99)), "x"])).await?;
            anyhow::Ok((raw, answer))
        });
    }
    let mut answered: Vec<_> = wave.join_all().await.into_iter().flatten().collect();
    let took = started.elapsed();
    stage.check(answered.len() == ATTACKERS, format!("{} of {ATTACKERS} authorizations are answered", answered.len()));
    let granted = answered.iter().filter(|(_, answer)| answer["result"] == true).count();
    let most = BURST + 2 + took.as_secs() as usize;
    stage.check(
        (BURST..=most).contains(&granted),
        format!("{granted} are granted (a burst of {BURST} and one a second, within {:.2} s)", took.as_secs_f64()),
    );
    answered.retain(|(_, answer)| answer["result"] == false);
    let told = answered.iter().filter(|(_, answer)| answer["error"][0] == 24 && answer["error"][1].is_string()).count();
    stage.check(
        answered.len() == ATTACKERS - granted && told == answered.len(),
        format!("{} are refused with result false and the reason in words", answered.len()),
    );
    let mut open = 0;
    for (raw, _) in &mut answered {
        open += usize::from(raw.is_alive().await);
    }
    stage.check(open == answered.len(), format!("{open} of the refused connections stay open and are answered"));

    let mut wave = JoinSet::new();
    for _ in 0..TOO_MANY {
        let at = pool.plain();
        wave.spawn(async move {
            match Raw::connect(at, STRANGER).await {
                Ok(mut raw) => !raw.is_alive().await,
                Err(_) => true,
            }
        });
    }
    let away = wave.join_all().await.into_iter().filter(|away| *away).count();
    let counted = pool.metric("warppool_connects_turned_away_total{cause=\"too_often\"}").await?;
    stage.check(
        away >= TOO_MANY - 10 && counted >= away as f64,
        format!("{away} of {TOO_MANY} further connects are turned away, /metrics counts {counted}"),
    );
    let limited = pool.metric("warppool_authorizations_limited_total").await?;
    stage.check(
        limited as usize == answered.len(),
        format!("/metrics counts {limited} authorizations refused as too many"),
    );

    sleep(Duration::from_millis(1_500)).await;
    let again = match answered.first_mut() {
        Some((raw, _)) => raw.ask("mining.authorize", json!([address(99), "x"])).await?["result"] == true,
        None => false,
    };
    stage.check(again, "one of the refused gets in on the same connection once a token has come back");

    crew.more(10, Duration::from_secs(20)).await?;
    let (before, during) = (quiet.latency_since(&begin), crew.standing().latency_since(&quiet));
    stage.check(
        during < (5.0 * before).max(before + 25.0),
        format!("a share's answer takes {before:.2} ms before and {during:.2} ms during the storm, on average"),
    );
    crew.judge(stage, &begin, "through the storm");
    stage.check(pool.is_alive(), "the pool lives");
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}
