//! 200 miners of all kinds at once, plain and over TLS: every device's peculiarities, none of which may cost a share.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::OUT_OF_REACH;
use crate::miner::{Persona, Tls};
use crate::node::{Options, SimNode};
use crate::scenario::certificates::Certificate;
use crate::scenario::crew::{Crew, Shape};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const PLAIN: usize = 160;
const SECURED: usize = 40;
const TIPS: u32 = 8;
const SOON: Duration = Duration::from_secs(30);

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    let node = SimNode::start(Options { bits: OUT_OF_REACH, transactions: 500, ..Options::default() }).await?;
    let served = Certificate::write(stage.dir(), "served", false)?;
    let setup = Setup::new(&node)
        .limited()
        .text("profile.kind", "enterprise")
        // All of them come from one address at once, as after a power cut.
        .set("ratelimit.connects_per_sec", 500)
        .set("ratelimit.connect_burst", 500)
        .set("ratelimit.auths_per_sec", 500)
        .set("ratelimit.auth_burst", 500)
        .text("stratum.tls_listen", "127.0.0.1:0")
        .path("stratum.tls_cert_path", &served.file)
        .path("stratum.tls_key_path", &served.key);
    let pool = stage.pool(setup).await?;
    let plain = Shape {
        miners: PLAIN,
        shares_per_second: 3.0,
        personas: Persona::honest().collect(),
        acceleration: 10.0,
        ..Shape::default()
    };
    let secured = Shape {
        miners: SECURED,
        personas: Persona::honest().filter(|persona| persona.speaks_tls()).collect(),
        tls: Tls::Roots(served.pem.clone()),
        seed: 2,
        ..plain.clone()
    };
    let (plain, secured) = (Crew::start(pool.plain(), &plain), Crew::start(pool.tls()?, &secured));
    stage.happened(plain.more(1, SOON).await, format!("{PLAIN} miners have a share accepted each"));
    stage.happened(secured.more(1, SOON).await, format!("and so have {SECURED} over TLS"));
    let (plain_begin, secured_begin) = (plain.standing(), secured.standing());
    for _ in 0..TIPS {
        for _ in 0..3 {
            node.add_transactions(20).await;
            sleep(Duration::from_millis(400)).await;
        }
        let tip = node.mine_block().await.to_string();
        plain.on_tip(&tip, SOON).await?;
        secured.on_tip(&tip, SOON).await?;
    }
    stage.check(true, format!("{TIPS} new tips reach every miner"));
    stage.happened(plain.more(3, SOON).await, "each has three more shares accepted on the last tip");
    secured.more(3, SOON).await?;
    plain.judge(stage, &plain_begin, "through new tips and templates");
    secured.judge(stage, &secured_begin, "over TLS");
    let p99 = pool.shows("/tip_to_notify/p99_ms").await.as_f64().unwrap_or(f64::NAN);
    let shown = pool.shows("/miners").await;
    stage.check(
        shown == PLAIN + SECURED,
        format!("the pool shows {shown} miners; from a tip's news to the last of them p99 {p99:.1} ms"),
    );
    for (crew, begin, what) in [(plain, plain_begin, "plain"), (secured, secured_begin, "over TLS")] {
        let standing = crew.stop().await;
        let (accepted, refused) = (standing.sum(|stats| stats.accepted), standing.sum(|stats| stats.rejected));
        let latency = standing.latency_since(&begin);
        stage.check(
            refused == 0,
            format!("{what}: {accepted} shares accepted in all, {refused} refused; an answer takes {latency:.2} ms on average"),
        );
    }
    stage.stop(pool).await;
    Ok(())
}
