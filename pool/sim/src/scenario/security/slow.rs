//! Requests that never become whole: time is what they cost, and there is an end to it.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Findings, under};
use crate::scenario::http;
use crate::scenario::net::{self, STRANGER};
use crate::scenario::stage::Stage;

const MINERS_PORT: u64 = 3;
/// The page gives a request ten seconds to arrive.
const LONGEST: Duration = Duration::from_secs(16);
const TRICKLERS: usize = 20;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup.set("stratum.authorize_timeout_seconds", MINERS_PORT),
        |target| async move {
            let line =
                br#"{"id":1,"method":"mining.subscribe","params":["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]}"#;
            let request = b"GET /api/overview HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
            let mut tricklers = JoinSet::new();
            for _ in 0..TRICKLERS {
                tricklers.spawn(async move { (true, trickle(target.plain, line).await) });
                tricklers.spawn(async move { (false, trickle(target.page, request).await) });
            }
            // A silent one, too: it says nothing at all.
            tricklers.spawn(async move { (true, trickle(target.plain, b"").await) });
            tricklers.spawn(async move { (false, trickle(target.page, b"").await) });
            let still_answers = {
                sleep(Duration::from_secs(2)).await;
                http::get(target.page, "/healthz").await.is_ok_and(|answer| answer.status == 200)
            };
            let (mut miners, mut readers) = (Vec::new(), Vec::new());
            for (is_miner, ended) in tricklers.join_all().await {
                if is_miner { miners.push(ended?) } else { readers.push(ended?) }
            }
            let mut findings = Findings::default();
            for (what, ends) in [("on the miners' port", &miners), ("on the page", &readers)] {
                let longest = ends.iter().flatten().max().copied().unwrap_or_default();
                let open = ends.iter().filter(|end| end.is_none()).count();
                findings.check(
                    open == 0,
                    format!(
                        "{} that trickle {what} are dropped after {:.1} s at most, {open} are not",
                        ends.len(),
                        longest.as_secs_f64()
                    ),
                );
            }
            findings.check(still_answers, "the page answers others meanwhile");
            Ok(findings)
        },
    )
    .await
}

/// Sends a byte now and then; gives when the connection was ended, if it was.
async fn trickle(to: std::net::SocketAddr, bytes: &[u8]) -> Result<Option<Duration>> {
    let (mut reader, mut writer) = net::connect(to, STRANGER).await?.into_split();
    let started = Instant::now();
    let bytes = bytes.to_vec();
    let sending = tokio::spawn(async move {
        for byte in bytes {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        // Open, and silent, from here on.
        sleep(LONGEST).await;
        drop(writer);
    });
    let mut rest = Vec::new();
    let ended = timeout(LONGEST, reader.read_to_end(&mut rest)).await;
    sending.abort();
    Ok(ended.ok().map(|_| started.elapsed()))
}
