//! The adversarial suite: whoever means harm is refused or dropped, the pool neither panics nor swells, the others mine on.

mod api;
mod bytes;
mod floods;
mod names;
mod shares;
mod slow;
mod storm;
mod strangers;
mod tls;
mod values;

use std::future::Future;
use std::time::Duration;

use anyhow::Result;

use super::child::Pool;
use super::crew::{Crew, Shape};
use super::play::Act;
use super::setup::Setup;
use super::stage::Stage;
use super::stories::OUT_OF_REACH;
use crate::node::{Options, SimNode};

pub(super) const ACTS: &[Act] = &[
    Act {
        name: "line-flood",
        about: "lines without an end, on many connections",
        alone: false,
        play: |stage| Box::pin(floods::lines(stage)),
    },
    Act {
        name: "connection-storm",
        about: "thousands of connections one after the other, and as many held as there are",
        alone: false,
        play: |stage| Box::pin(storm::play(stage)),
    },
    Act {
        name: "slowloris",
        about: "bytes that trickle in, for miners' port and page",
        alone: false,
        play: |stage| Box::pin(slow::play(stage)),
    },
    Act {
        name: "auth-flood",
        about: "thousands of authorizations on every connection there is",
        alone: false,
        play: |stage| Box::pin(floods::authorizations(stage)),
    },
    Act {
        name: "weak-cipher",
        about: "old versions of TLS, and suites without ECDHE or AEAD",
        alone: false,
        play: |stage| Box::pin(tls::weak(stage)),
    },
    Act {
        name: "tls-garbage",
        about: "handshakes that are none, or end in the middle",
        alone: false,
        play: |stage| Box::pin(tls::garbage(stage)),
    },
    Act {
        name: "garbage-bytes",
        about: "noise, zeros, half lines, and pieces of protocol",
        alone: false,
        play: |stage| Box::pin(bytes::garbage(stage)),
    },
    Act {
        name: "deep-json",
        about: "brackets within brackets as far as a line goes",
        alone: false,
        play: |stage| Box::pin(bytes::deep(stage)),
    },
    Act {
        name: "huge-numbers",
        about: "numbers beyond every type, wherever a number stands",
        alone: false,
        play: |stage| Box::pin(values::numbers(stage)),
    },
    Act {
        name: "wrong-types",
        about: "every kind of value in every place of every method",
        alone: false,
        play: |stage| Box::pin(values::types(stage)),
    },
    Act {
        name: "odd-names",
        about: "worker names with escapes, control characters, markup and Unicode",
        alone: false,
        play: |stage| Box::pin(names::play(stage)),
    },
    Act {
        name: "share-flood",
        about: "duplicates, low shares and unknown jobs by the ten thousand",
        alone: false,
        play: |stage| Box::pin(floods::shares(stage)),
    },
    Act {
        name: "share-abuse",
        about: "wrong extranonces, times out of range, version bits nobody granted, other miners' jobs",
        alone: false,
        play: |stage| Box::pin(shares::play(stage)),
    },
    Act {
        name: "foreign-protocols",
        about: "PROXY headers from strangers, HTTP and TLS on the plain port",
        alone: false,
        play: |stage| Box::pin(strangers::play(stage)),
    },
    Act {
        name: "api-abuse",
        about: "foreign hosts, huge headers, paths out of the house, unknown methods, bodies",
        alone: false,
        play: |stage| Box::pin(api::abuse(stage)),
    },
    Act {
        name: "sse-flood",
        about: "more event streams than there are places",
        alone: false,
        play: |stage| Box::pin(api::streams(stage)),
    },
];

const MIB: u64 = 1 << 20;
/// No attack may cost the pool more than this.
const MOST_GROWTH: u64 = 48 * MIB;

/// A pool at work with three miners, while somebody attacks it.
async fn under<F, Fut>(stage: &mut Stage, adapt: impl FnOnce(Setup) -> Setup, attack: F) -> Result<()>
where
    F: FnOnce(Target) -> Fut,
    Fut: Future<Output = Result<Findings>>,
{
    let node = SimNode::start(Options { bits: OUT_OF_REACH, ..Options::default() }).await?;
    let mut pool = stage.pool(adapt(Setup::new(&node))).await?;
    let crew = Crew::at_work(pool.plain(), &Shape::default()).await?;
    let (begin, memory) = (crew.standing(), pool.memory());

    let findings = attack(Target::of(&pool)).await?;
    for (passed, what) in findings.0 {
        stage.check(passed, what);
    }

    crew.more(2, Duration::from_secs(15)).await?;
    let tip = node.mine_block().await.to_string();
    crew.on_tip(&tip, Duration::from_secs(10)).await?;
    crew.more(2, Duration::from_secs(15)).await?;
    crew.judge(stage, &begin, "meanwhile");
    stage.check(pool.is_alive(), "the pool lives");
    match (memory, pool.memory()) {
        (Some(before), Some(after)) => {
            let grown = after.peak.saturating_sub(before.resident);
            let mib = |bytes: u64| bytes as f64 / MIB as f64;
            stage.check(
                grown < MOST_GROWTH,
                format!("its memory grows from {:.1} MiB by {:.1} MiB at most", mib(before.resident), mib(grown)),
            );
        }
        _ => stage.note("this system does not tell the memory of another process"),
    }
    crew.stop().await;
    stage.stop(pool).await;
    Ok(())
}

/// What an attacker knows of a pool.
#[derive(Clone, Copy, Debug)]
struct Target {
    plain: std::net::SocketAddr,
    tls: Option<std::net::SocketAddr>,
    page: std::net::SocketAddr,
}

impl Target {
    fn of(pool: &Pool) -> Self {
        Self { plain: pool.plain(), tls: pool.tls().ok(), page: pool.page() }
    }
}

/// What an attacker has seen, and whether it was right.
#[derive(Debug, Default)]
struct Findings(Vec<(bool, String)>);

impl Findings {
    fn check(&mut self, passed: bool, what: impl Into<String>) {
        self.0.push((passed, what.into()));
    }

    /// One line for many cases of the same kind; those that are wrong are named.
    fn cases(&mut self, all: usize, wrong: &[String], what: &str) {
        let named = if wrong.is_empty() { String::new() } else { format!("; not so: {:.600}", wrong.join(" | ")) };
        self.check(wrong.is_empty() && all > 0, format!("{what}: {} of {all}{named}", all - wrong.len().min(all)));
    }
}
