//! Every metric, its name, its help, and where it comes from.

use std::time::{SystemTime, UNIX_EPOCH};

use warppool_engine::view::Overview;
use warppool_events::{LedgerState, NodeState};
use warppool_ledger::Reason;
use warppool_node::{LATENCY_BUCKETS, NodeStatus, ZmqState};

use super::text::Kind::{Counter, Gauge, Histogram, Summary};
use super::text::Text;
use crate::Counters;

/// All families in Prometheus' text format. Without `resident_bytes` its metric is left out.
pub fn exposition(overview: &Overview, counters: &Counters, resident_bytes: Option<u64>) -> String {
    let mut text = Text::default();
    about(&mut text, overview, resident_bytes);
    shares(&mut text, overview, counters);
    chain(&mut text, overview, counters);
    nodes(&mut text, &overview.nodes, counters);
    connections(&mut text, overview, counters);
    ledger(&mut text, counters);
    text.finish()
}

fn about(text: &mut Text, overview: &Overview, resident_bytes: Option<u64>) {
    text.family(Gauge, "warppool_build_info", "What runs here; always 1.").sample(
        "",
        &[
            ("brand", &overview.brand),
            ("profile", &overview.profile),
            ("chain", &overview.chain),
            ("version", overview.version),
        ],
        1u64,
    );
    let started = overview.started_ms as f64 / 1000.0;
    text.single(Gauge, "warppool_started_at_seconds", "Start of this run, Unix time.", started);
    if let Some(bytes) = resident_bytes {
        text.single(Gauge, "process_resident_memory_bytes", "Resident memory of the process.", bytes);
    }
}

fn shares(text: &mut Text, overview: &Overview, counters: &Counters) {
    let totals = &counters.totals;
    let help = "Shares accepted since the ledger began.";
    text.single(Counter, "warppool_shares_accepted_total", help, totals.accepted);
    let help = "Shares refused since the ledger began.";
    text.single(Counter, "warppool_shares_rejected_total", help, totals.rejected_total());
    let help = "Shares refused since the ledger began, by reason.";
    let mut by_reason = text.family(Counter, "warppool_shares_rejected_by_reason_total", help);
    for (reason, count) in Reason::ALL.into_iter().zip(totals.rejected) {
        by_reason.sample("", &[("reason", reason.name())], count);
    }
    let help = "Difficulty of all accepted shares since the ledger began, summed; its rate times 2^32 is the hashrate.";
    text.single(Counter, "warppool_work_accepted_total", help, totals.work);
    let help = "Mean over the last five minutes, from accepted shares.";
    text.single(Gauge, "warppool_hashrate_hashes_per_second", help, overview.hashrate.five_minutes);
    let help = "Greatest difficulty of any share since the ledger began.";
    text.single(Gauge, "warppool_best_share_difficulty", help, totals.best);
    let help = "Workers seen since the ledger began; falls when the longest unseen are forgotten.";
    text.single(Counter, "warppool_workers_total", help, counters.ledger.workers);
    text.single(Gauge, "warppool_workers_online", "Workers connected now.", overview.workers_online);
    let help = "Blocks found since the ledger began; falls when every node calls one invalid.";
    text.single(Counter, "warppool_blocks_found_total", help, overview.blocks_found);
}

fn chain(text: &mut Text, overview: &Overview, counters: &Counters) {
    if let Some(network) = overview.network {
        text.single(Gauge, "warppool_network_height", "Height of the tip as the node in use sees it.", network.height);
        let help = "Difficulty of the next block.";
        text.single(Gauge, "warppool_network_difficulty", help, network.difficulty);
    }
    if let Some(job) = overview.job {
        text.single(Gauge, "warppool_current_job_height", "Height of the block being mined.", job.height);
        let help = "What the block being mined pays, satoshis.";
        text.single(Gauge, "warppool_current_job_coinbase_value_sats", help, job.coinbase_value_sat);
        let help = "Transactions of the block being mined, without its coinbase.";
        text.single(Gauge, "warppool_current_job_transactions", help, job.transactions);
    }
    if let Some(age) = counters.template_age_seconds {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        let help = "Last good getblocktemplate, Unix time.";
        text.single(Gauge, "warppool_last_template_at_seconds", help, ((now - age) * 1000.0).round() / 1000.0);
    }
    let help = "Jobs sent to all miners.";
    text.single(Counter, "warppool_job_broadcasts_total", help, counters.stratum.broadcasts);
    let tip = &overview.tip_to_notify;
    let help = "Blocks the times from tip to notify are of; the oldest is forgotten for the newest.";
    text.single(Gauge, "warppool_tip_to_notify_samples", help, tip.samples);
    if tip.samples > 0 {
        let help =
            "From the news of a new tip to the last miner's job handed to the kernel, over the blocks last kept.";
        text.family(Summary, "warppool_tip_to_notify_seconds", help)
            .sample("", &[("quantile", "0.5")], tip.p50_ms / 1000.0)
            .sample("", &[("quantile", "0.99")], tip.p99_ms / 1000.0);
    }
    if let Some(last) = tip.last_ms {
        let help = "The same for the newest block.";
        text.single(Gauge, "warppool_tip_to_notify_last_seconds", help, last / 1000.0);
    }
}

fn nodes(text: &mut Text, nodes: &[NodeStatus], counters: &Counters) {
    let is_ready = |node: &NodeStatus| node.state == NodeState::Ready;
    let ready = nodes.iter().any(is_ready);
    text.single(Gauge, "warppool_rpc_ready", "1 if a node can be mined with.", ready);
    let in_download = !ready && nodes.iter().any(|node| node.state == NodeState::InitialDownload);
    let help = "1 if the pool waits for a node's initial block download.";
    text.single(Gauge, "warppool_rpc_ibd", help, in_download);
    let mut each = text.family(Gauge, "warppool_node_ready", "1 if this node can be mined with.");
    for node in nodes {
        each.sample("", &[("node", &node.name)], is_ready(node));
    }
    let mut each = text.family(Gauge, "warppool_node_active", "1 if this node's templates are mined on.");
    for node in nodes {
        each.sample("", &[("node", &node.name)], node.active);
    }
    let told: Vec<&NodeStatus> = nodes.iter().filter(|node| node.zmq.state != ZmqState::Off).collect();
    if !told.is_empty() {
        let mut each = text.family(Gauge, "warppool_zmq_connected", "1 if this node's block news by ZMQ arrive.");
        for node in &told {
            each.sample("", &[("node", &node.name)], node.zmq.state == ZmqState::Connected);
        }
        let mut each = text.family(Counter, "warppool_zmq_lost_total", "Block news by ZMQ lost on the way.");
        for node in &told {
            each.sample("", &[("node", &node.name)], node.zmq.lost);
        }
    }
    let latency = &counters.rpc_latency;
    let mut histogram = text.family(Histogram, "warppool_bitcoin_rpc_latency_seconds", "How long RPC calls take.");
    for (bound, count) in LATENCY_BUCKETS.iter().zip(latency.cumulative) {
        histogram.sample("_bucket", &[("le", &bound.to_string())], count);
    }
    histogram.sample("_bucket", &[("le", "+Inf")], latency.count()).sample("_sum", &[], latency.sum_seconds).sample(
        "_count",
        &[],
        latency.count(),
    );
}

fn connections(text: &mut Text, overview: &Overview, counters: &Counters) {
    let stratum = &counters.stratum;
    text.family(Gauge, "warppool_active_connections", "Open miner connections.").sample(
        "",
        &[("protocol", "v1")],
        stratum.plain + stratum.tls,
    );
    text.single(Gauge, "warppool_active_connections_tls", "Of those, the ones with TLS.", stratum.tls);
    text.single(Gauge, "warppool_mining_connections", "Connections that get jobs.", overview.miners);
    let help = "Of those, the ones without a job for longer than the keep-alive.";
    text.single(Gauge, "warppool_silent_connections", help, stratum.silent);
    text.single(Counter, "warppool_connects_total", "Connections let in.", stratum.connects);
    let help = "Connections turned away before a word was read, by cause.";
    let mut by_cause = text.family(Counter, "warppool_connects_turned_away_total", help);
    for (cause, count) in &stratum.turned_away {
        by_cause.sample("", &[("cause", cause.name())], *count);
    }
    text.single(Counter, "warppool_workers_authorized_total", "Authorizations granted.", stratum.authorized);
    let help = "Authorizations refused for their name or password.";
    text.single(Counter, "warppool_authorizations_refused_total", help, stratum.authorize_refused);
    let help = "Authorizations refused for coming too often.";
    text.single(Counter, "warppool_authorizations_limited_total", help, stratum.authorize_limited);
    let ended = stratum.disconnects.iter().map(|(_, count)| count).sum::<u64>();
    text.single(Counter, "warppool_workers_disconnected_total", "Miner connections that ended.", ended);
    let help = "Miner connections that ended, by reason.";
    let mut by_reason = text.family(Counter, "warppool_workers_disconnected_by_reason_total", help);
    for (reason, count) in &stratum.disconnects {
        by_reason.sample("", &[("reason", reason.name())], *count);
    }
    text.single(Gauge, "warppool_bans", "Workers shut out now.", counters.bans);
}

fn ledger(text: &mut Text, counters: &Counters) {
    let ledger = &counters.ledger;
    let mut state = text.family(Gauge, "warppool_ledger_state", "1 for the state the ledger is in.");
    for (name, one) in [
        ("durable", LedgerState::Durable),
        ("statistics_paused", LedgerState::StatisticsPaused),
        ("memory_only", LedgerState::MemoryOnly),
    ] {
        state.sample("", &[("state", name)], ledger.state == one);
    }
    text.single(Gauge, "warppool_ledger_bytes", "Size of the ledger.", ledger.bytes);
    text.single(Counter, "warppool_ledger_commits_total", "Commits that were written.", ledger.commits);
    let help = "Commits that could not be written; what they held is kept and tried again.";
    text.single(Counter, "warppool_ledger_commits_failed_total", help, ledger.failed_commits);
    if ledger.last_commit_at_ms > 0 {
        let at = ledger.last_commit_at_ms as f64 / 1000.0;
        text.single(Gauge, "warppool_ledger_last_commit_at_seconds", "Last commit, Unix time.", at);
        let took = ledger.last_commit_us as f64 / 1e6;
        text.single(Gauge, "warppool_ledger_last_commit_duration_seconds", "How long it took.", took);
    }
    let help = "Changes that are to be durable and are not yet.";
    text.single(Gauge, "warppool_ledger_pending_changes", help, ledger.owed);
    let help = "Shares counted but not kept one by one.";
    text.single(Counter, "warppool_ledger_shares_skipped_total", help, ledger.raw_rows_skipped);
}
