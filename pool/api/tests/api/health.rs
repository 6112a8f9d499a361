//! Whether the process lives and miners can be served.

use axum::http::StatusCode;
use warppool_events::NodeState;

use crate::fake::{Fake, node};
use crate::http::get;

#[tokio::test]
async fn a_process_that_answers_is_alive_whatever_else_is_wrong() {
    let pool = Fake::new();
    {
        let mut state = pool.state();
        (state.readiness.has_job, state.readiness.is_listening, state.is_unreadable) = (false, false, true);
    }
    let answer = get(&pool, "/healthz").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn readiness_follows_the_job_and_the_listener_not_the_node() {
    // Listening, job, node ready → ready, warnings or causes.
    for (listening, job, node_ready, ready, causes) in [
        (true, true, true, true, &[][..]),
        (true, true, false, true, &["node"]),
        (true, false, true, false, &["no_template"]),
        (true, false, false, false, &["no_template", "node"]),
        (false, true, true, false, &["not_listening"]),
        (false, false, false, false, &["not_listening", "no_template", "node"]),
    ] {
        let pool = Fake::new();
        let node_state = if node_ready { NodeState::Ready } else { NodeState::Unreachable };
        {
            let mut state = pool.state();
            state.readiness.is_listening = listening;
            state.readiness.has_job = job;
            state.readiness.nodes = vec![node("main", node_state)];
        }
        let answer = get(&pool, "/readyz").await;
        let case = format!("listening {listening}, job {job}, node {node_ready}: {}", answer.text);
        assert_eq!(answer.status == StatusCode::OK, ready, "{case}");
        let list = if ready { "warnings" } else { "causes" };
        if !ready {
            assert_eq!(answer.problem(), "not_ready");
        }
        let json = answer.json();
        let told: Vec<&str> =
            json[list].as_array().unwrap().iter().map(|cause| cause["code"].as_str().unwrap()).collect();
        assert_eq!(told, causes, "{case}");
        if causes.contains(&"node") {
            assert!(answer.text.contains("start Bitcoin Core"), "the remedy is told: {case}");
        }
    }
}

#[tokio::test]
async fn one_ready_node_is_enough() {
    let pool = Fake::new();
    pool.state().readiness.nodes = vec![node("down", NodeState::Unreachable), node("up", NodeState::Ready)];
    assert_eq!(get(&pool, "/readyz").await.json()["warnings"].as_array().unwrap().len(), 0);
}
