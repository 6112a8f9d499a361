//! A bad network between miners and pool, made by a proxy in this process.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::miner::Persona;
use crate::node::{Options, SimNode};
use crate::scenario::crew::{Crew, Shape};
use crate::scenario::proxy::{Proxy, Weather};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;
use crate::scenario::stories::OUT_OF_REACH;

const SOON: Duration = Duration::from_secs(15);

pub(super) async fn latency(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node)).await?;
    let proxy = Proxy::start(pool.plain()).await?;
    let near = Crew::at_work(pool.plain(), &Shape { miners: 2, ..Shape::default() }).await?;
    let delay = Duration::from_millis(300);
    proxy.set(Weather { delay, ..Weather::default() });
    let personas: Vec<_> = Persona::honest().collect();
    let far = Shape { miners: personas.len(), personas, shares_per_second: 2.0, seed: 2, ..Shape::default() };
    let far = Crew::at_work(proxy.address(), &far).await?;
    let (near_begin, far_begin) = (near.standing(), far.standing());
    far.more(5, SOON).await?;
    let answer = far.standing().latency_since(&far_begin);
    stage.check(answer >= 600.0, format!("with 300 ms each way a share's answer takes {answer:.0} ms"));
    let tip = node.mine_block().await.to_string();
    stage.happened(near.on_tip(&tip, SOON).await, "a new tip reaches the miners nearby");
    stage.happened(far.on_tip(&tip, SOON).await, "and those far away");
    far.more(3, SOON).await?;
    far.judge(stage, &far_begin, "over 600 ms of round trip");

    proxy.set(Weather { single_bytes: true, ..Weather::default() });
    let begin = far.standing();
    far.more(5, Duration::from_secs(30)).await?;
    far.judge(stage, &begin, "with every byte sent on its own");

    proxy.set(Weather { silence: true, ..Weather::default() });
    sleep(Duration::from_secs(3)).await;
    let begin = far.standing();
    proxy.set(Weather::default());
    stage.happened(far.more(5, SOON).await, "after 3 s of silence all have shares accepted again");
    far.judge(stage, &begin, "after the silence");
    near.judge(stage, &near_begin, "nearby through all of it");
    near.stop().await;
    far.stop().await;
    stage.stop(pool).await;
    Ok(())
}

pub(super) async fn loss(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let pool = stage.pool(Setup::new(&node)).await?;
    let proxy = Proxy::start(pool.plain()).await?;
    stage.note("a lost packet is what TCP makes of it: a stall of 200 ms until it is sent again; no tc netem is used");
    let near = Crew::at_work(pool.plain(), &Shape { miners: 2, ..Shape::default() }).await?;
    let near_begin = near.standing();
    proxy.set(Weather { lose_one_in: Some(10), ..Weather::default() });
    let far = Crew::at_work(proxy.address(), &Shape { miners: 4, seed: 2, ..Shape::default() }).await?;
    let begin = far.standing();
    far.more(20, Duration::from_secs(30)).await?;
    let tip = node.mine_block().await.to_string();
    far.on_tip(&tip, SOON).await?;
    far.judge(stage, &begin, "with every tenth chunk lost once");

    proxy.set(Weather { cut_one_in: Some(25), ..Weather::default() });
    let begin = far.standing();
    sleep(Duration::from_secs(5)).await;
    let now = far.standing();
    let (lost, back) =
        (now.sum(|s| s.losses) - begin.sum(|s| s.losses), now.sum(|s| s.connects) - begin.sum(|s| s.connects));
    stage.check(lost >= 3 && back >= 3, format!("connections break: {lost} are lost, {back} made anew"));
    proxy.set(Weather::default());
    stage.happened(far.more(5, SOON).await, "then all have shares accepted again");
    let violations = far.standing().sum(|stats| stats.violation_count) - begin.sum(|stats| stats.violation_count);
    let refused = far.standing().sum(|stats| stats.rejected) - begin.sum(|stats| stats.rejected);
    stage.check(violations + refused == 0, format!("{violations} violations, {refused} shares refused meanwhile"));
    // Those that broke off are not counted as here for ever.
    let shown = pool.will_show(SOON, "/miners", |miners| *miners == 6).await;
    stage.happened(shown, "the pool shows the six miners that are there");
    near.judge(stage, &near_begin, "nearby through all of it");
    near.stop().await;
    far.stop().await;
    stage.stop(pool).await;
    Ok(())
}
