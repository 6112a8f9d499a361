//! Bytes that are no protocol, or hardly one.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{Findings, under};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::{Heard, PATIENCE, Raw};
use crate::scenario::stage::Stage;

pub(super) async fn garbage(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup.set("stratum.authorize_timeout_seconds", 3),
        |target| async move {
            let noise = |seed: u32| -> Vec<u8> {
                (0..20_000u32).map(|n| ((n ^ seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect()
            };
            // Without a first byte that means another protocol.
            let mut cases: Vec<(String, Vec<u8>)> =
                (0..20).map(|seed| (format!("noise {seed}"), [&b"x"[..], &noise(seed)].concat())).collect();
            let named: [(&str, &[u8]); 11] = [
                ("zeros", &[0; 5_000]),
                ("ones", &[0xff; 5_000]),
                ("a null in a line", b"{\"id\":1,\"method\":\"mining.ping\0\"}\n\0\n\0\n\0\n\0\n"),
                ("broken UTF-8", b"\xc3\x28\n\xa0\xa1\n\xe2\x28\xa1\n\xf0\x28\x8c\xbc\n\xfe\xff\n"),
                ("UTF-16", b"{\0\"\0i\0d\0\"\0:\x001\0}\0\n\0{\0\n\0{\0\n\0{\0\n\0{\0\n"),
                ("numbers", b"1\n2\n3\n4\n5\n6\n"),
                ("strings", b"\"a\"\n\"b\"\n\"c\"\n\"d\"\n\"e\"\n"),
                ("arrays", b"[]\n[[]]\n[1]\n[{}]\n[null]\n"),
                ("nothing", b"null\nnull\nnull\nnull\nnull\n"),
                ("objects without a method", b"{}\n{}\n{\"id\":1}\n{\"a\":[]}\n{\"id\":[]}\n"),
                (
                    "two requests in a line",
                    &b"{\"id\":1,\"method\":\"mining.ping\"}{\"id\":2,\"method\":\"mining.ping\"}\n".repeat(5),
                ),
            ];
            cases.extend(named.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())));
            let mut wrong = Vec::new();
            for (name, bytes) in &cases {
                let mut raw = Raw::connect(target.plain, STRANGER).await?;
                raw.send(bytes).await;
                if !raw.closes(Duration::from_secs(6)).await {
                    wrong.push(name.clone());
                }
            }
            let mut findings = Findings::default();
            findings.cases(cases.len(), &wrong, "kinds of garbage end their connection");

            let mut raw = Raw::connect(target.plain, STRANGER).await?;
            let mut answered = 0;
            for _ in 0..4 {
                raw.send(b"garbage\n").await;
                answered +=
                    usize::from(matches!(raw.hear(PATIENCE).await, Heard::Line(line) if line.contains("-32700")));
            }
            findings.check(
                answered == 4 && raw.is_alive().await,
                "up to four lines that are no JSON in a row are answered with -32700 and borne",
            );
            Ok(findings)
        },
    )
    .await
}

pub(super) async fn deep(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup,
        |target| async move {
            let deep = |open: &str, inner: &str, close: &str, times: usize| {
                format!("{}{inner}{}", open.repeat(times), close.repeat(times))
            };
            let request =
                |params: String| format!("{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":{params}}}\n");
            let lines = [
                format!("{}\n", "[".repeat(16_000)),
                format!("{}\n", "{\"a\":".repeat(3_200)),
                request(deep("[", "", "]", 8_000)),
                request(deep("{\"a\":", "1", "}", 2_700)),
                request(deep("[{\"a\":", "[]", "}]", 1_900)),
                format!("{{\"id\":{},\"method\":\"mining.ping\"}}\n", deep("[", "1", "]", 7_900)),
                format!("{{\"id\":1,\"method\":{}}}\n", deep("[", "\"mining.ping\"", "]", 7_900)),
                format!("{{\"x\":{},\"id\":1,\"method\":\"mining.ping\"}}\n", deep("[", "", "]", 7_900)),
                format!("{{\"result\":{},\"id\":1}}\n", deep("[", "", "]", 7_900)),
            ];
            let mut wrong = Vec::new();
            for (n, line) in lines.iter().enumerate() {
                let mut raw = Raw::connect(target.plain, STRANGER).await?;
                raw.send(line.as_bytes()).await;
                // Refused, or understood; what matters is that somebody is still there to answer.
                if !raw.is_alive().await {
                    wrong.push(format!("number {n}: {line:.40}"));
                }
            }
            let mut findings = Findings::default();
            findings.cases(lines.len(), &wrong, "nested lines are answered, and their connection stays");
            let mut raw = Raw::connect(target.plain, STRANGER).await?;
            raw.send(lines[2].as_bytes()).await;
            let answer = raw.hear(PATIENCE).await;
            let refused =
                matches!(&answer, Heard::Line(line) if line.contains("error") || line.contains(&json!(1).to_string()));
            findings.check(refused, format!("8000 brackets get: {answer:.120?}"));
            Ok(findings)
        },
    )
    .await
}
