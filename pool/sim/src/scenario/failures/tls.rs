//! Certificates that are of no use: the operator is told which file it is, and miners that speak plainly notice nothing.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use tokio::process::Command;

use crate::miner::{Persona, Tls};
use crate::node::{Options, SimNode};
use crate::scenario::certificates::Certificate;
use crate::scenario::crew::{Crew, Shape};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;
use crate::scenario::stories::OUT_OF_REACH;

const SOON: Duration = Duration::from_secs(10);
const TOOK_OVER: &str = "configuration read again";
const REFUSED: &str = "not taken over";

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    stage.expect_errors();
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let dir = stage.dir().to_owned();
    let served = Certificate::write(&dir, "served", false)?;
    let setup = Setup::new(&node)
        .text("stratum.tls_listen", "127.0.0.1:0")
        .path("stratum.tls_cert_path", &served.file)
        .path("stratum.tls_key_path", &served.key);
    let mut pool = stage.pool(setup.clone()).await?;
    let plain = Crew::at_work(pool.plain(), &Shape { miners: 2, ..Shape::default() }).await?;
    let secured = |pem: &str, seed| Shape {
        miners: 1,
        personas: vec![Persona::BitaxeUltra],
        tls: Tls::Roots(pem.to_owned()),
        seed,
        ..Shape::default()
    };
    let tls = Crew::at_work(pool.tls()?, &secured(&served.pem, 2)).await?;
    let (plain_begin, tls_begin) = (plain.standing(), tls.standing());
    stage.check(true, "miners that trust the certificate mine over TLS");
    if cfg!(not(unix)) {
        stage.note("without SIGHUP certificates cannot be exchanged here");
        return Ok(());
    }

    let (good_pem, good_key) = (std::fs::read(&served.file)?, std::fs::read(&served.key)?);
    let other = Certificate::write(&dir, "other", false)?;
    let cases: [(&str, Vec<u8>, Vec<u8>); 4] = [
        ("an empty certificate file", Vec::new(), good_key.clone()),
        ("a cut-off certificate", good_pem[..good_pem.len() / 2].to_vec(), good_key.clone()),
        ("a key file of noise", good_pem.clone(), vec![0xff; 500]),
        ("another certificate's key", good_pem, std::fs::read(&other.key)?),
    ];
    for (n, (what, certificate, key)) in cases.into_iter().enumerate() {
        std::fs::write(&served.file, certificate)?;
        std::fs::write(&served.key, key)?;
        // A key that changes each time tells one answer from the next.
        let said = pool.reload(setup.clone().set("ratelimit.ban_seconds", 100 + n), REFUSED).await;
        let named = said.as_ref().is_ok_and(|line| line.contains("tls_cert_path"));
        stage.check(named, format!("{what}: the pool names the file and keeps the old one"));
        let still = Crew::at_work(pool.tls()?, &secured(&served.pem, 10 + n as u64)).await;
        stage.check(still.is_ok(), "a new miner gets in by the certificate there was");
    }

    let expired = Certificate::write(&dir, "expired", true)?;
    expired.replace(&served)?;
    let said = pool.reload(setup.clone().set("ratelimit.ban_seconds", 200), TOOK_OVER).await;
    stage.check(said.is_ok(), "an expired certificate is taken over");
    let outcome = Crew::start(pool.tls()?, &secured(&expired.pem, 20));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stats = outcome.standing();
    let refusal = stats.complaint().unwrap_or_default();
    stage.check(
        stats.sum(|stats| stats.accepted) == 0 && refusal.contains("xpired"),
        format!("a miner that looks at it stays away: {refusal}"),
    );
    let told = pool.log().wait_for("TLS handshake failed", SOON).await;
    stage.check(told.is_ok(), format!("the log says why: {}", told.unwrap_or_default()));
    let counted = pool.metric("warppool_connects_turned_away_total{cause=\"tls_handshake\"}").await?;
    stage.check(counted >= 1.0, format!("/metrics counts {counted} failed handshakes"));
    drop(outcome);

    other.replace(&served)?;
    pool.reload(setup.set("ratelimit.ban_seconds", 300), TOOK_OVER).await?;
    let renewed = Crew::at_work(pool.tls()?, &secured(&other.pem, 30)).await;
    stage.check(renewed.is_ok(), "a renewed certificate is offered from the next connection on");
    plain.judge(stage, &plain_begin, "without TLS through all of it");
    tls.judge(stage, &tls_begin, "over their old TLS connection through all of it");
    plain.stop().await;
    tls.stop().await;
    stage.stop(pool).await;
    at_start(stage, &node, &served, &good_key).await
}

/// A pool that is started with such files says so and ends, or mines on without TLS.
async fn at_start(stage: &mut Stage, node: &SimNode, served: &Certificate, key: &[u8]) -> Result<()> {
    std::fs::write(&served.file, "not a certificate")?;
    std::fs::write(&served.key, key)?;
    let setup = Setup::new(node)
        .text("stratum.tls_listen", "127.0.0.1:0")
        .path("stratum.tls_cert_path", &served.file)
        .path("stratum.tls_key_path", &served.key);
    let config = stage.dir().join("broken.toml");
    std::fs::write(&config, setup.toml(&stage.dir().join("broken")))?;
    let run = Command::new(stage.program())
        .args(["run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(Duration::from_secs(5), run).await {
        Ok(output) => {
            let output = output?;
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let passed = !output.status.success() && said.contains("certificate") && !said.contains("panicked");
            stage.check(passed, format!("a start with a broken certificate ends with: {said}"));
        }
        Err(_) => stage.check(true, "a pool with a broken certificate starts without TLS"),
    }
    Ok(())
}
