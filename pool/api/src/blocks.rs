//! `/api/blocks`: what the pool has found and what became of it, the newest first.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;
use warppool_engine::view::BlockView;

use crate::Problem;
use crate::app::App;
use crate::json::Json;
use crate::params::Params;

const MOST: usize = 1000;
const DEFAULT: usize = 50;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/blocks", get(list))
}

#[derive(Serialize)]
struct Blocks {
    blocks: Vec<BlockView>,
    limit: usize,
}

async fn list(State(app): State<App>, params: Params) -> Result<Json<Blocks>, Problem> {
    let limit = params.only(&["limit"])?.number("limit", 1..=MOST, DEFAULT)?;
    let blocks = app.read(move |pool| pool.blocks(limit)).await??;
    Ok(Json(Blocks { blocks, limit }))
}
