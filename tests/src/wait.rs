//! Waiting for a condition instead of for a time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long most things may take; far more than they need, so that a busy machine fails no test.
pub const LONG: Duration = Duration::from_secs(25);

const PAUSE: Duration = Duration::from_millis(15);

/// Asks until the answer is `Ok`, and gives it; panics with the last `Err` when that takes longer than `within`.
pub async fn until<T, E: Display>(
    within: Duration,
    what: impl Display,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) if start.elapsed() > within => panic!("not within {within:?}: {what}; last seen: {last}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// `Ok` where `condition` holds, else what was seen instead.
pub fn hold<T>(condition: bool, answer: T, seen: impl Display) -> Result<T, String> {
    if condition { Ok(answer) } else { Err(seen.to_string()) }
}
