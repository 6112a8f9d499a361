//! `/api/workers`: every worker remembered, page by page, and each by its name.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Serialize;
use warppool_engine::view::WorkerView;

use crate::app::App;
use crate::json::Json;
use crate::params::Params;
use crate::{Pool, Problem};

const MOST: usize = 1000;
const DEFAULT: usize = 100;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/workers", get(list)).route("/api/workers/{name}", get(one))
}

#[derive(Serialize)]
struct Listed {
    workers: Vec<WorkerView>,
    /// Of all there are to page through.
    total: usize,
    limit: usize,
    offset: usize,
}

async fn list(State(app): State<App>, params: Params) -> Result<Json<Listed>, Problem> {
    let params = params.only(&["limit", "offset", "online"])?;
    let limit = params.number("limit", 1..=MOST, DEFAULT)?;
    let offset = params.number("offset", 0..=usize::MAX, 0)?;
    let online = params.choice("online", &[("true", true), ("false", false)])?;
    let mut workers = app.read(Pool::workers).await?;
    workers.retain(|worker| online.is_none_or(|online| worker.online == online));
    let total = workers.len();
    let workers = workers.into_iter().skip(offset).take(limit).collect();
    Ok(Json(Listed { workers, total, limit, offset }))
}

async fn one(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Json<WorkerView>, Problem> {
    let Path(name) = name.map_err(|why| {
        Problem::parameter("worker", why.body_text(), "write the name in UTF-8, percent-encoded where needed")
    })?;
    params.only(&[])?;
    let workers = app.read(Pool::workers).await?;
    let found = workers.into_iter().find(|worker| worker.name == name);
    found.map(Json).ok_or_else(|| Problem::no_such_worker(&name))
}
