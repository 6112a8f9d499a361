//! Shares that are wrong in one thing each: every one is refused for that thing, and the next good one counts.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Findings, under};
use crate::scenario::crew::{address, every_hash};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::Raw;
use crate::scenario::stage::Stage;

/// Which parameter is changed, to what, and the code of the refusal.
fn abuses(ntime: u32) -> Vec<(usize, Value, i64, &'static str)> {
    let time = |time: u32| json!(format!("{time:08x}"));
    vec![
        (1, json!("0"), 21, "job 0"),
        (1, json!("ffffffffffffffff"), 21, "a job of the far future"),
        (1, json!("../1"), 20, "a job that is no number"),
        (1, json!(""), 20, "no job"),
        (2, json!(""), 20, "no extranonce 2"),
        (2, json!("00"), 20, "a short extranonce 2"),
        (2, json!("00".repeat(9)), 20, "a long extranonce 2"),
        (2, json!("00".repeat(4_000)), 20, "an endless extranonce 2"),
        (2, json!("zzzzzzzzzzzzzzzz"), 20, "an extranonce 2 that is no hex"),
        (2, json!("-000000000000001"), 20, "a negative extranonce 2"),
        (3, time(0), 20, "time zero"),
        (3, time(1), 20, "the first second"),
        (3, time(u32::MAX), 20, "the last second"),
        (3, time(ntime - 86_400), 20, "yesterday"),
        (3, time(ntime + 7_300), 20, "more than two hours ahead"),
        (3, json!("100000000"), 20, "a time beyond 32 bits"),
        (3, json!("now"), 20, "a time in words"),
        (4, json!("100000000"), 20, "a nonce beyond 32 bits"),
        (4, json!("-1"), 20, "a negative nonce"),
        (4, json!(""), 20, "no nonce"),
        (5, json!("1fffe000"), 20, "version bits nobody asked for"),
        (5, json!("ffffffff"), 20, "all version bits"),
        (5, json!("e0000000"), 20, "version bits outside every mask"),
        (5, json!("1ffffe0000"), 20, "version bits beyond 32 bits"),
    ]
}

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup,
        |target| async move {
            let mut findings = Findings::default();
            let mut raw = Raw::connect(target.plain, STRANGER).await?;
            let mut seat = raw.sit_down(&format!("{}.abuse", address(66)), &every_hash()).await?;
            let mut wrong = Vec::new();
            let abuses = abuses(seat.notify.ntime);
            for (n, (place, value, code, what)) in abuses.iter().enumerate() {
                let mut params = seat.share(n as u32);
                if *place == 5
                    && let Some(params) = params.as_array_mut()
                {
                    params.push(json!("00000000"));
                }
                params[*place] = value.clone();
                let answer = raw.ask("mining.submit", params).await?;
                if answer["error"][0] != *code {
                    wrong.push(format!("{what}: {answer}, expected {code}"));
                }
            }
            findings.cases(abuses.len(), &wrong, "abused shares are refused with the code of their fault");

            let good = raw.ask("mining.submit", seat.share(1_000)).await?;
            findings.check(good["result"] == true, "a good share counts after all that");
            let again = raw.ask("mining.submit", seat.share(1_000)).await?;
            findings.check(again["error"][0] == 22, format!("the same again is a duplicate: {}", again["error"]));
            let upper = {
                let mut params = seat.share(0xabc);
                let first = raw.ask("mining.submit", params.clone()).await?;
                params[4] = json!("00000ABC");
                let second = raw.ask("mining.submit", params.clone()).await?;
                params[4] = json!("abc");
                let third = raw.ask("mining.submit", params).await?;
                first["result"] == true && second["error"][0] == 22 && third["error"][0] == 22
            };
            findings.check(upper, "and so it is in capitals, and unpadded");

            // The job of one and the extranonce of another make a header nobody worked on: with every hash a share it may count
            // for its sender, never for the other.
            let mut second = Raw::connect(target.plain, STRANGER).await?;
            let other = second.sit_down(&format!("{}.other", address(67)), &every_hash()).await?;
            findings.check(other.extranonce1 != seat.extranonce1, "two connections have two extranonces");
            seat.user = other.user.clone();
            let answer = raw.ask("mining.submit", seat.share(2_000)).await?;
            let named = answer["result"] == true || answer["error"][0] == 24;
            findings.check(
                named,
                format!("a share in another worker's name is its own connection's, or refused: {answer}"),
            );
            let mut stranger = Raw::connect(target.plain, STRANGER).await?;
            let early = stranger.ask("mining.submit", seat.share(1)).await?;
            findings
                .check(early["error"][0] == 25, format!("a share before subscribing is refused: {}", early["error"]));
            stranger.ask("mining.subscribe", json!([])).await?;
            let early = stranger.ask("mining.submit", seat.share(1)).await?;
            findings
                .check(early["error"][0] == 24, format!("a share before authorizing is refused: {}", early["error"]));
            Ok(findings)
        },
    )
    .await
}
