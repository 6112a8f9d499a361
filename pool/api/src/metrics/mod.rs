//! `/metrics`: the pool for Prometheus, by the handbook's names; totals of the pool alone, no worker is named.
//!
//! Counters of shares, work, workers and blocks are the ledger's and go on after a restart; the others begin at zero.

mod families;
mod process;
mod text;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
pub use families::exposition;

use crate::Problem;
use crate::app::App;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(crate) fn routes() -> Router<App> {
    // Scrapers may be configured to add parameters; they are let be.
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = app.read(|pool| exposition(&pool.overview(), &pool.counters(), process::resident_bytes())).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
