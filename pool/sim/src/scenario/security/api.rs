//! The page under abuse: it answers what it serves, and nothing gets it to do more.

use std::time::Duration;

use anyhow::Result;

use super::{Findings, Target, under};
use crate::scenario::http::{self, Events};
use crate::scenario::stage::{Stage, until};

const SOON: Duration = Duration::from_secs(14);
/// Places for event streams.
const STREAMS: usize = 64;

/// A request, and the answers it may get; an end without an answer is always fine for what is not HTTP.
fn requests(target: Target) -> Vec<(String, Vec<u8>, Vec<u16>)> {
    let host = target.page;
    let mut all = Vec::new();
    let mut add = |what: &str, request: String, allowed: &[u16]| {
        all.push((what.to_owned(), request.into_bytes(), allowed.to_vec()));
    };
    let end = format!("Host: {host}\r\nConnection: close\r\n\r\n");
    for name in ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", "localhost:80@evil.example", "[::", ""] {
        let request = format!("GET /api/overview HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        add(&format!("host {name:?}"), request, &[400, 421]);
    }
    add("no host", "GET /api/overview HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &[400, 421]);
    add("two hosts", format!("GET /api/overview HTTP/1.1\r\nHost: evil.example\r\n{end}"), &[400, 421]);
    add("a foreign authority", format!("GET http://evil.example/api/overview HTTP/1.1\r\n{end}"), &[400, 421]);
    add(
        "another site's page",
        format!("GET /api/overview HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n{end}"),
        &[403],
    );
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/./config.toml",
        "/..\\..\\secrets.toml",
        "/api/../secrets.toml",
        "/secrets.toml",
        "/api/blocks/%00",
        "/api/workers/..%2f..",
        "/%ff%fe",
        "/api//overview",
        "/API/OVERVIEW",
        "/favicon.ico/../../x",
        "/.git/config",
        "/.env",
    ] {
        add(&format!("path {path}"), format!("GET {path} HTTP/1.1\r\n{end}"), &[400, 404]);
    }
    for path in [
        "/api/blocks?limit=-1",
        "/api/blocks?limit=99999999999999999999",
        "/api/blocks?limit=1&limit=2",
        "/api/overview?x=1",
        "/api/hashrate?range=%00",
        "/api/events?after=x",
        "/api/workers?offset=1e9",
    ] {
        add(&format!("parameter {path}"), format!("GET {path} HTTP/1.1\r\n{end}"), &[400]);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "X"] {
        add(&format!("method {method}"), format!("{method} /api/overview HTTP/1.1\r\n{end}"), &[400, 405, 501]);
    }
    add("CONNECT", format!("CONNECT evil.example:443 HTTP/1.1\r\n{end}"), &[400, 404, 405, 421]);
    add("a huge header", format!("GET / HTTP/1.1\r\nX-A: {}\r\n{end}", "x".repeat(200_000)), &[400, 413, 414, 431]);
    add("a huge path", format!("GET /{} HTTP/1.1\r\n{end}", "x".repeat(200_000)), &[400, 404, 414, 431]);
    add("a thousand headers", format!("GET / HTTP/1.1\r\n{}{end}", "X-A: b\r\n".repeat(1_000)), &[400, 431]);
    add("a header without a name", format!("GET / HTTP/1.1\r\n: x\r\n{end}"), &[400]);
    add("a folded header", format!("GET / HTTP/1.1\r\nX-A: a\r\n b\r\n{end}"), &[200, 400]);
    add("a body", format!("GET / HTTP/1.1\r\nContent-Length: 5\r\n{end}hello"), &[400, 413]);
    add("a body that never comes", format!("GET / HTTP/1.1\r\nContent-Length: 999999999999\r\n{end}"), &[400, 413]);
    add("two lengths", format!("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n{end}"), &[400]);
    add(
        "length and chunks",
        format!("POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n{end}0\r\n\r\n"),
        &[400, 413, 405],
    );
    add("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 505]);
    add("HTTP/9", format!("GET / HTTP/9.9\r\n{end}"), &[400, 505]);
    add("Stratum", "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\n".into(), &[400]);
    add("noise", "\u{16}\u{3}\u{1}\u{0}\u{0}\r\n\r\n".into(), &[400]);
    all
}

pub(super) async fn abuse(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup,
        |target| async move {
            let mut findings = Findings::default();
            let requests = requests(target);
            let (mut wrong, mut dropped) = (Vec::new(), Vec::new());
            for (what, request, allowed) in &requests {
                match http::exchange(target.page, request, SOON).await {
                    Ok(Some(answer)) => {
                        let leaks = answer.text().contains("root:") || answer.text().contains("rpc_url");
                        if !allowed.contains(&answer.status) || leaks {
                            wrong.push(format!("{what} gets {}", answer.status));
                        }
                        if answer.status < 500 && !answer.head.contains("nosniff") && !answer.body.is_empty() {
                            wrong.push(format!("{what} is answered without the guard's headers"));
                        }
                    }
                    Ok(None) => dropped.push(what.as_str()),
                    Err(why) => wrong.push(format!("{what}: {why:#}")),
                }
            }
            findings.cases(requests.len(), &wrong, "abused requests are refused or dropped");
            // What is readable HTTP deserves an answer.
            findings.check(dropped.len() <= 5, format!("without an answer are dropped: {dropped:?}"));
            for path in ["/healthz", "/readyz", "/api/overview", "/api/workers", "/api/blocks", "/metrics", "/"] {
                let status = http::get(target.page, path).await?.status;
                findings.check(status == 200, format!("{path} answers {status} after that"));
            }
            Ok(findings)
        },
    )
    .await
}

pub(super) async fn streams(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup,
        |target| async move {
            let mut findings = Findings::default();
            let (mut open, mut refused) = (Vec::new(), 0);
            for _ in 0..STREAMS + 40 {
                match Events::open(target.page).await {
                    Ok(stream) => open.push(stream),
                    Err(why) if why.to_string().contains("503") => refused += 1,
                    Err(why) => return Err(why),
                }
            }
            findings.check(
                open.len() == STREAMS && refused == 40,
                format!("{} streams are served, {refused} refused with 503", open.len()),
            );
            let status = http::get(target.page, "/api/overview").await?.status;
            findings.check(status == 200, "the page answers beside them");
            // Nobody reads them for a while.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let mut alive = 0;
            for stream in &mut open {
                alive += usize::from(stream.is_open().await);
            }
            findings.check(alive == STREAMS, format!("{alive} of them still stand"));
            drop(open);
            let back =
                until(Duration::from_secs(20), "a free place", || async { Events::open(target.page).await.is_ok() });
            findings.check(back.await.is_ok(), "when they go, there is a place again");
            // Connections that say nothing: more than there are places.
            let mut silent = Vec::new();
            for _ in 0..300 {
                silent.extend(crate::scenario::net::connect(target.page, crate::scenario::net::STRANGER).await.ok());
            }
            let full = http::get(target.page, "/healthz").await.map(|answer| answer.status);
            findings.check(
                full.as_ref().is_ok_and(|status| *status == 503),
                format!("with 300 silent connections the page says that it is full: {full:?}"),
            );
            drop(silent);
            let back = until(Duration::from_secs(5), "the page", || async {
                http::get(target.page, "/healthz").await.is_ok_and(|answer| answer.status == 200)
            });
            findings.check(back.await.is_ok(), "and answers when they go");
            Ok(findings)
        },
    )
    .await
}
