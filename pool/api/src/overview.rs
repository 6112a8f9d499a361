//! `/api/overview`: the pool at a glance.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use warppool_engine::view::Overview;

use crate::app::App;
use crate::json::Json;
use crate::params::Params;
use crate::{Pool, Problem};

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/overview", get(overview))
}

async fn overview(State(app): State<App>, params: Params) -> Result<Json<Overview>, Problem> {
    params.only(&[])?;
    app.read(Pool::overview).await.map(Json)
}
