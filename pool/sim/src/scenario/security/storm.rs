//! Connections as many as there are: the caps hold, and what is dropped makes room.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Findings, under};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::Raw;
use crate::scenario::stage::{Stage, until};
use crate::scenario::{http, net};

/// Of one address in the profile small.
const CAP: usize = 32;

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup.limited().set("ratelimit.connects_per_sec", 10_000).set("ratelimit.connect_burst", 10_000),
        |target| async move {
            let mut findings = Findings::default();
            // Connect and go, without a word.
            let mut wave = JoinSet::new();
            for _ in 0..20 {
                wave.spawn(async move {
                    let mut made = 0;
                    for _ in 0..150 {
                        made += usize::from(net::connect(target.plain, STRANGER).await.is_ok());
                    }
                    made
                });
            }
            let made: usize = wave.join_all().await.into_iter().sum();
            findings.check(made > 2_000, format!("{made} connections come and go"));

            let mut held = Vec::new();
            for _ in 0..CAP * 3 {
                held.push(Raw::connect(target.plain, STRANGER).await?);
            }
            sleep(Duration::from_millis(300)).await;
            let mut open = 0;
            for raw in &mut held {
                open += usize::from(raw.is_alive().await);
            }
            findings.check(
                open <= CAP && open > CAP / 2,
                format!("of {} held by one address {open} are let in ({CAP} allowed)", held.len()),
            );
            let count = || async {
                let overview = http::json(target.page, "/api/overview").await.ok();
                overview.and_then(|overview| overview["connections"].as_u64())
            };
            drop(held);
            let gone =
                until(Duration::from_secs(5), "the end of the others", || async { count().await == Some(3) }).await;
            findings.check(gone.is_ok(), "when they go, only the three miners are left");
            let mut again = Raw::connect(target.plain, STRANGER).await?;
            findings.check(again.is_alive().await, "and the address may come in again");
            Ok(findings)
        },
    )
    .await
}
