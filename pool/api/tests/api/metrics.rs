//! Metrics: clean by Prometheus' own tool, complete, and safe in their labels.

use std::io::Write as _;
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use warppool_engine::view::TipToNotify;
use warppool_events::{LedgerState, NodeState};
use warppool_ledger::Tally;
use warppool_node::LatencySnapshot;
use warppool_stratum::Metrics;

use crate::fake::{Fake, node};
use crate::http::get;

async fn metrics(pool: &Fake) -> String {
    let answer = get(pool, "/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    answer.text
}

/// A pool that has just started, knows no node and has seen nothing.
fn bare() -> Fake {
    let pool = Fake::new();
    {
        let mut state = pool.state();
        let overview = &mut state.overview;
        (overview.network, overview.job, overview.odds, overview.best_share) = (None, None, None, None);
        overview.tip_to_notify = TipToNotify::default();
        overview.nodes = vec![node("main", NodeState::InitialDownload)];
        overview.brand = "line\nbreak".into();
        let counters = &mut state.counters;
        counters.totals = Tally::default();
        counters.stratum = Metrics::default();
        counters.rpc_latency = LatencySnapshot::default();
        counters.template_age_seconds = None;
        counters.ledger.last_commit_at_ms = 0;
        counters.ledger.state = LedgerState::MemoryOnly;
    }
    pool
}

#[tokio::test]
async fn prometheus_own_tool_finds_nothing_to_complain_about() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("NOT RUN: promtool is not on PATH (apt-get install prometheus)");
        return;
    }
    for pool in [Fake::new(), bare()] {
        let text = metrics(&pool).await;
        let mut tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = tool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
    }
}

#[tokio::test]
async fn the_handbooks_names_are_there() {
    let text = metrics(&Fake::new()).await;
    for line in [
        "warppool_blocks_found_total 2",
        "warppool_shares_accepted_total 4321",
        "warppool_shares_rejected_total 12",
        "warppool_shares_rejected_by_reason_total{reason=\"stale\"} 9",
        "warppool_shares_rejected_by_reason_total{reason=\"duplicate\"} 0",
        "warppool_work_accepted_total 15000000",
        "warppool_hashrate_hashes_per_second 6100000000000",
        "warppool_workers_total 3",
        "warppool_rpc_ready 1",
        "warppool_rpc_ibd 0",
        "warppool_network_height 840002",
        "warppool_network_difficulty 110000000000000",
        "warppool_current_job_height 840003",
        "warppool_current_job_coinbase_value_sats 315000000",
        "warppool_workers_authorized_total 9",
        "warppool_workers_disconnected_total 12",
        "warppool_active_connections{protocol=\"v1\"} 4",
        "warppool_active_connections_tls 1",
        "warppool_bitcoin_rpc_latency_seconds_bucket{le=\"0.001\"} 1",
        "warppool_bitcoin_rpc_latency_seconds_bucket{le=\"5\"} 10",
        "warppool_bitcoin_rpc_latency_seconds_bucket{le=\"+Inf\"} 11",
        "warppool_bitcoin_rpc_latency_seconds_sum 3.25",
        "warppool_bitcoin_rpc_latency_seconds_count 11",
        "warppool_tip_to_notify_seconds{quantile=\"0.5\"} 0.0014",
        "warppool_tip_to_notify_seconds{quantile=\"0.99\"} 0.005",
        "warppool_tip_to_notify_last_seconds 0.0012",
        "warppool_connects_turned_away_total{cause=\"address_full\"} 2",
        "warppool_ledger_commits_total 300",
        "warppool_ledger_commits_failed_total 1",
        "warppool_ledger_state{state=\"durable\"} 1",
        "warppool_ledger_state{state=\"memory_only\"} 0",
        "warppool_bans 1",
        "warppool_job_broadcasts_total 120",
    ] {
        assert!(text.lines().any(|got| got == line), "{line} is missing in\n{text}");
    }
    for name in ["warppool_started_at_seconds ", "warppool_last_template_at_seconds "] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let at: f64 = line[name.len()..].parse().unwrap();
        assert!(at > 1_700_000_000.0, "{line}");
    }
}

#[tokio::test]
async fn a_pool_without_node_or_job_leaves_out_what_it_does_not_know() {
    let text = metrics(&bare()).await;
    assert!(text.contains("warppool_rpc_ready 0\n") && text.contains("warppool_rpc_ibd 1\n"));
    for name in ["network_height", "current_job", "last_template_at", "tip_to_notify_seconds", "last_commit_at"] {
        assert!(!text.contains(&format!("warppool_{name}")), "{name}");
    }
}

#[tokio::test]
async fn a_label_cannot_break_out_of_its_quotes() {
    let text = metrics(&Fake::new()).await;
    let line = text.lines().find(|line| line.starts_with("warppool_build_info")).unwrap();
    let labels = r#"brand="Quote \" and \\ <b>",profile="small",chain="regtest",version="0.1.0""#;
    assert_eq!(line, format!("warppool_build_info{{{labels}}} 1"));
}
