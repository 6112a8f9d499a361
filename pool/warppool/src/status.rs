//! `warppool status`: a running pool's own words, short enough for a terminal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// Longest answer read.
const MOST: usize = 4 << 20;

#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Where the pool's page is
    #[arg(long, default_value = "http://127.0.0.1:18334", env = "WARPPOOL_URL")]
    url: String,
    /// Print everything, as JSON
    #[arg(long)]
    json: bool,
}

pub fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = format!("{}/api/overview", args.url.trim_end_matches('/'));
    let overview = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), get(&url)).await.context("the pool does not answer")?
    })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&overview)?);
    } else {
        print!("{}", text(&overview));
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(url: &str) -> anyhow::Result<Value> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is not an address"))?;
    if uri.scheme_str() != Some("http") {
        bail!("{url}: only http:// is understood");
    }
    let (Some(host), port) = (uri.host(), uri.port_u16().unwrap_or(80)) else { bail!("{url} names no machine") };
    let stream = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), port))
        .await
        .with_context(|| format!("no pool answers at {host}:{port}; is it running? Name another place with --url"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let authority = uri.authority().map_or("localhost", hyper::http::uri::Authority::as_str);
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let request = Request::get(path).header("host", authority).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let code = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|why| anyhow::anyhow!(why))?.to_bytes();
    if !code.is_success() {
        bail!("the pool answers {code}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).context("what answers there is not a pool")
}

fn text(overview: &Value) -> String {
    use std::fmt::Write as _;

    let mut out = String::new();
    let number = |pointer: &str| overview.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
    let word = |pointer: &str| overview.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
    let _ =
        writeln!(out, "{} {} on {}, profile {}", word("/brand"), word("/version"), word("/chain"), word("/profile"));
    let _ = writeln!(
        out,
        "hashrate   {} (5 min)   {} (1 h)   {} (1 d)",
        hashrate(number("/hashrate/five_minutes")),
        hashrate(number("/hashrate/hour")),
        hashrate(number("/hashrate/day"))
    );
    let _ = writeln!(
        out,
        "miners     {} connected, {} workers; shares {} accepted, {} refused",
        number("/miners"),
        number("/workers_online"),
        number("/shares/accepted"),
        number("/shares/refused")
    );
    let _ = writeln!(
        out,
        "blocks     {} found; tip to notify p50 {:.1} ms, p99 {:.1} ms",
        number("/blocks_found"),
        number("/tip_to_notify/p50_ms"),
        number("/tip_to_notify/p99_ms")
    );
    for node in overview.pointer("/nodes").and_then(Value::as_array).into_iter().flatten() {
        let word = |key: &str| node.get(key).and_then(Value::as_str).unwrap_or("");
        let active = if node.get("active").and_then(Value::as_bool) == Some(true) { ", mined on" } else { "" };
        let _ = writeln!(out, "node       {}: {}{active}", word("name"), word("state"));
        if !word("message").is_empty() {
            let _ = writeln!(out, "           {}\n           {}", word("message"), word("remedy"));
        }
    }
    if !word("/ledger/message").is_empty() {
        let _ = writeln!(out, "ledger     {}", word("/ledger/message"));
    }
    out
}

/// Hashes per second with a fitting unit.
fn hashrate(value: f64) -> String {
    let units = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s", "ZH/s"];
    let step = if value < 1.0 { 0 } else { ((value.log10() / 3.0) as usize).min(units.len() - 1) };
    format!("{:.2} {}", value / 1000f64.powi(step as i32), units[step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashrates_have_fitting_units() {
        for (value, expected) in [
            (0.0, "0.00 H/s"),
            (999.0, "999.00 H/s"),
            (1e3, "1.00 kH/s"),
            (1.2e12, "1.20 TH/s"),
            (5e30, "5000000000.00 ZH/s"),
        ] {
            assert_eq!(hashrate(value), expected);
        }
    }

    #[test]
    fn an_overview_of_another_version_still_gives_a_text() {
        assert!(text(&serde_json::json!({})).contains("hashrate"));
        let nodes =
            serde_json::json!({ "nodes": [{ "name": "n", "state": "unreachable", "message": "m", "remedy": "r" }, 5] });
        assert!(text(&nodes).contains("n: unreachable\n           m\n           r"));
    }
}
