//! Plays acts: one, or all of a group, several at a time where that disturbs no measurement.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::stage::Stage;
use super::{Options, Verdict};

/// No act takes longer; one that does hangs.
const LONGEST: Duration = Duration::from_mins(3);
/// Acts at a time, of those that bear company.
const AT_A_TIME: usize = 4;

pub(super) type Playing<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A story that can be played.
pub(super) struct Act {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// It measures what others at the same time would spoil.
    pub(super) alone: bool,
    pub(super) play: for<'a> fn(&'a mut Stage) -> Playing<'a>,
}

pub(super) async fn play(act: &Act, options: &Options) -> Verdict {
    let started = Instant::now();
    let verdict = |passed, lines| Verdict { name: act.name, passed, seconds: started.elapsed().as_secs_f64(), lines };
    let mut stage = match Stage::new(options) {
        Ok(stage) => stage,
        Err(why) => return verdict(false, vec![format!("FAILED: {why:#}")]),
    };
    match timeout(LONGEST, (act.play)(&mut stage)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => stage.check(false, format!("{why:#}")),
        Err(_) => stage.check(false, format!("not over after {LONGEST:?}")),
    }
    let (passed, lines) = stage.strike();
    verdict(passed, lines)
}

/// First those that bear company, then the others one by one. Verdicts in the order of `acts`.
pub(super) async fn all(acts: &'static [Act], options: &Options, mut told: impl FnMut(&Verdict)) -> Vec<Verdict> {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut playing = JoinSet::new();
    for act in acts.iter().filter(|act| !act.alone) {
        let (places, options) = (Arc::clone(&places), options.clone());
        playing.spawn(async move {
            // Nobody closes it.
            let _place = places.acquire_owned().await;
            play(act, &options).await
        });
    }
    let mut verdicts = Vec::with_capacity(acts.len());
    while let Some(verdict) = playing.join_next().await {
        let verdict = verdict.unwrap_or_else(|panic| Verdict {
            name: "an act",
            passed: false,
            seconds: 0.0,
            lines: vec![format!("FAILED: it broke off: {panic}")],
        });
        told(&verdict);
        verdicts.push(verdict);
    }
    for act in acts.iter().filter(|act| act.alone) {
        let verdict = play(act, options).await;
        told(&verdict);
        verdicts.push(verdict);
    }
    verdicts.sort_by_key(|verdict| acts.iter().position(|act| act.name == verdict.name));
    verdicts
}
