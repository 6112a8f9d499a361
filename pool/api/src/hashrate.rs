//! `/api/hashrate`: the pace over a span of time, the pool's or one worker's.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;
use warppool_engine::view::HashratePoint;

use crate::Problem;
use crate::app::App;
use crate::json::Json;
use crate::params::Params;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Names and lengths in milliseconds.
const SPANS: [(&str, u64); 5] =
    [("12h", 12 * HOUR_MS), ("1d", DAY_MS), ("1w", 7 * DAY_MS), ("1m", 30 * DAY_MS), ("1y", 365 * DAY_MS)];

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/hashrate", get(hashrate))
}

#[derive(Serialize)]
struct Hashrate {
    worker: Option<String>,
    span_ms: u64,
    /// The oldest first; a bucket without shares is left out.
    points: Vec<HashratePoint>,
}

async fn hashrate(State(app): State<App>, params: Params) -> Result<Json<Hashrate>, Problem> {
    let params = params.only(&["span", "worker"])?;
    let span_ms = params.choice("span", &SPANS)?.unwrap_or(DAY_MS);
    let worker = params.text("worker").map(str::to_owned);
    let name = worker.clone();
    let points = app.read(move |pool| pool.hashrate(name.as_deref(), span_ms)).await??;
    match points {
        Some(points) => Ok(Json(Hashrate { worker, span_ms, points })),
        None => Err(Problem::no_such_worker(worker.as_deref().unwrap_or_default())),
    }
}
