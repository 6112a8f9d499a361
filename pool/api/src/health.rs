//! `/healthz`: the process lives. `/readyz`: miners can be served. Neither waits for a disk or a node.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use warppool_events::NodeState;

use crate::app::App;
use crate::json::Json;
use crate::{Cause, Problem, Readiness};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(async |State(app): State<App>| answer(&app.pool.readiness())))
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    /// What does not keep miners from working for now.
    warnings: Vec<Cause>,
}

fn answer(readiness: &Readiness) -> Response {
    let mut causes = Vec::new();
    if !readiness.is_listening {
        causes.push(Cause {
            code: "not_listening",
            detail: "no port for miners is open".into(),
            remedy: "look at stratum.listen in the configuration, and in the log for why it could not be opened".into(),
        });
    }
    let trouble = node_trouble(readiness);
    if readiness.has_job && causes.is_empty() {
        return Json(Ready { status: "ready", warnings: trouble }).into_response();
    }
    if !readiness.has_job {
        causes.push(Cause {
            code: "no_template",
            detail: "there is no template to mine on yet".into(),
            remedy: "it comes as soon as a node is ready".into(),
        });
        causes.extend(trouble);
    }
    Problem::not_ready(causes).into_response()
}

/// What is wrong with the nodes, while none of them is usable.
fn node_trouble(readiness: &Readiness) -> Vec<Cause> {
    if readiness.nodes.iter().any(|node| node.state == NodeState::Ready) {
        return Vec::new();
    }
    let cause = |node: &warppool_node::NodeStatus| Cause {
        code: "node",
        detail: format!("node {}: {}", node.name, node.message),
        remedy: node.remedy.clone(),
    };
    readiness.nodes.iter().map(cause).collect()
}
