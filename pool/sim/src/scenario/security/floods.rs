//! Much of the same, as fast as it goes.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Findings, Target, under};
use crate::scenario::crew::{address, every_hash};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::{Heard, PATIENCE, Raw};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const SPAN: Duration = Duration::from_secs(2);

pub(super) async fn lines(stage: &mut Stage) -> Result<()> {
    under(stage, |setup| setup, |target| async move {
        let mut attackers = JoinSet::new();
        for _ in 0..16 {
            attackers.spawn(endless_lines(target));
        }
        let outcomes = attackers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        let mut findings = Findings::default();
        let (connections, bytes): (usize, u64) =
            outcomes.iter().fold((0, 0), |sum, one| (sum.0 + one.dropped, sum.1 + one.bytes));
        let survivors: usize = outcomes.iter().map(|one| one.survived).sum();
        findings.check(
            survivors == 0 && connections > 0,
            format!("{connections} connections are dropped in the middle of an endless line, {survivors} are not ({} MiB sent)", bytes >> 20),
        );
        // Right at the limit: 16 KiB are a line, one more is none.
        for (length, passes) in [(16 * 1024, true), (16 * 1024 + 1, false)] {
            let mut raw = Raw::connect(target.plain, STRANGER).await?;
            let line = format!("{{\"id\":1,\"method\":\"mining.ping\",\"params\":[\"{}\"]}}", "x".repeat(length - 46));
            let line = format!("{line:<length$}\n");
            raw.send(line.as_bytes()).await;
            let answered = raw.answer_to(&json!(1)).await.is_ok();
            let alive = raw.is_alive().await;
            findings.check(
                answered == passes && alive == passes,
                format!("a line of {length} bytes is {}", if answered { "answered" } else { "refused, and its connection closed" }),
            );
        }
        Ok(findings)
    })
    .await
}

#[derive(Default)]
struct Flooded {
    dropped: usize,
    survived: usize,
    bytes: u64,
}

async fn endless_lines(target: Target) -> Result<Flooded> {
    let mut outcome = Flooded::default();
    let chunk = vec![b'a'; 64 * 1024];
    let end = Instant::now() + SPAN;
    while Instant::now() < end {
        let mut raw = Raw::connect(target.plain, STRANGER).await?;
        let mut sent = 0;
        // Far more than any line.
        while sent < 4 << 20 && raw.send(&chunk).await {
            sent += chunk.len() as u64;
        }
        outcome.bytes += sent;
        if raw.closes(PATIENCE).await {
            outcome.dropped += 1;
        } else {
            outcome.survived += 1;
        }
    }
    Ok(outcome)
}

pub(super) async fn authorizations(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup.limited().set("ratelimit.connect_burst", 100),
        |target| async move {
            let mut attackers = JoinSet::new();
            for _ in 0..8 {
                attackers.spawn(authorize_and_authorize(target));
            }
            let mut findings = Findings::default();
            let (mut granted, mut refused, mut lost) = (0, 0, 0);
            for outcome in attackers.join_all().await {
                let [yes, no, none] = outcome?;
                (granted, refused, lost) = (granted + yes, refused + no, lost + none);
            }
            findings.check(
                lost == 0 && refused > 1000,
                format!(
                    "of {} authorizations {granted} are granted, {refused} answered with false, {lost} not answered",
                    granted + refused + lost
                ),
            );
            findings.check(granted <= 10 + 12, "no more are granted than the bucket of the address holds");
            let limited = metric(target, "warppool_authorizations_limited_total").await?;
            findings.check(limited >= 1000.0, format!("/metrics counts {limited} that came too often"));
            Ok(findings)
        },
    )
    .await
}

/// Names nobody has had before, in bursts that are answered one by one.
async fn authorize_and_authorize(target: Target) -> Result<[u64; 3]> {
    let mut raw = Raw::connect(target.plain, STRANGER).await?;
    let mut outcome = [0; 3];
    let end = Instant::now() + SPAN;
    let mut n = 0u64;
    while Instant::now() < end {
        let burst = lines_of((0..100).map(|_| {
            n += 1;
            json!({"id": n, "method": "mining.authorize", "params": [format!("{}.{n}", address(66)), "x"]})
        }));
        raw.send(burst.as_bytes()).await;
        let mut answers = 0;
        while answers < 100 {
            match raw.hear(PATIENCE).await {
                Heard::Line(line) => {
                    let line: Value = serde_json::from_str(&line)?;
                    if line.get("method").is_none() {
                        answers += 1;
                        outcome[usize::from(line["result"] != true)] += 1;
                    }
                }
                Heard::Closed | Heard::Nothing => {
                    outcome[2] += 100 - answers;
                    return Ok(outcome);
                }
            }
        }
    }
    Ok(outcome)
}

fn lines_of(requests: impl Iterator<Item = Value>) -> String {
    requests.fold(String::new(), |lines, request| lines + &request.to_string() + "\n")
}

async fn metric(target: Target, name: &str) -> Result<f64> {
    let text = crate::scenario::http::get(target.page, "/metrics").await?.text();
    let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    Ok(sample.unwrap_or(0.0))
}

/// What a flood consists of, the code of its refusal, and the password it is sent under.
const SHARE_FLOODS: [(&str, i64); 3] = [("duplicates", 22), ("low shares", 23), ("shares for jobs nobody has", 21)];

pub(super) async fn shares(stage: &mut Stage) -> Result<()> {
    stage.note("the ladder (60, 120, 180 s of nothing but rejects) and its bans are too slow for here: see warppool-stratum's tests");
    under(stage, Setup::by_password, |target| async move {
        let mut findings = Findings::default();
        for (what, code) in SHARE_FLOODS {
            let password = if code == 23 { "d=1".to_owned() } else { every_hash() };
            let mut raw = Raw::connect(target.plain, STRANGER).await?;
            let seat = raw.sit_down(&format!("{}.flood", address(66)), &password).await?;
            let mut params = seat.share(1);
            if code == 21 {
                params[1] = json!("fffffffffffffff");
            }
            let (mut answers, mut as_told) = (0u64, 0u64);
            let started = Instant::now();
            let mut nonce = 0;
            while started.elapsed() < SPAN {
                let burst = lines_of((0..200).map(|_| {
                    nonce += u32::from(code == 23);
                    params[4] = json!(format!("{nonce:08x}"));
                    json!({"id": 7, "method": "mining.submit", "params": params})
                }));
                anyhow::ensure!(raw.send(burst.as_bytes()).await, "the pool closes under {what}");
                let mut heard = 0;
                while heard < 200 {
                    let Heard::Line(line) = raw.hear(PATIENCE).await else { anyhow::bail!("no answer under {what}") };
                    let line: Value = serde_json::from_str(&line)?;
                    if line.get("method").is_none() {
                        heard += 1;
                        as_told += u64::from(line["error"][0] == code);
                    }
                }
                answers += heard;
            }
            let first_is_good = u64::from(code == 22);
            findings.check(
                as_told + first_is_good >= answers && answers > 1000,
                format!(
                    "{answers} {what}: {as_told} are answered with {code} ({:.0} a second)",
                    answers as f64 / started.elapsed().as_secs_f64()
                ),
            );
            findings.check(raw.is_alive().await, "the connection is kept: the ladder waits a minute");
        }
        Ok(findings)
    })
    .await
}
