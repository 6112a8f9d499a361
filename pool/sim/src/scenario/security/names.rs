//! Names made to break out of whatever they are written into: JSON, the log, /metrics, a terminal, a page.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Findings, under};
use crate::scenario::crew::{address, every_hash};
use crate::scenario::http;
use crate::scenario::net::STRANGER;
use crate::scenario::raw::Raw;
use crate::scenario::stage::Stage;

fn names() -> Vec<String> {
    let worker = |name: &str| format!("{}.{name}", address(66));
    [
        "\u{1b}[31mred\u{1b}[0m",
        "new\nline",
        "carriage\rreturn",
        "nul\u{0}",
        "%0a%1b[2J",
        "%00",
        "<script>alert(1)</script>",
        "\"} 1\nwarppool_fake{x=\"",
        "{}\\\"'`$(reboot)",
        "../../../etc/passwd",
        "\u{202e}gnp.exe",
        "\u{200b}\u{feff}",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}",
        "日本語🦀",
        "%f0%9f%a6%80",
        "%ff%fe",
        "a b\tc",
        "\u{85}\u{9b}31m",
        "',(select 1)--",
        "{{7*7}}${7*7}",
    ]
    .into_iter()
    .map(worker)
    .chain([worker(&"x".repeat(250)), "\u{1b}]0;owned\u{7}".into(), ".".into(), String::new(), "x".repeat(8_000)])
    .collect()
}

pub(super) async fn play(stage: &mut Stage) -> Result<()> {
    under(
        stage,
        |setup| setup,
        |target| async move {
            let mut findings = Findings::default();
            let (mut granted, mut refused, mut wrong) = (0, 0, Vec::new());
            let names = names();
            for name in &names {
                let mut raw = Raw::connect(target.plain, STRANGER).await?;
                raw.ask("mining.subscribe", json!([name])).await?;
                let answer = raw.ask("mining.authorize", json!([name, every_hash()])).await?;
                match answer["result"].as_bool() {
                    Some(true) => {
                        granted += 1;
                        // A share makes its worker one that is remembered and shown.
                        let seat = Raw::connect(target.plain, STRANGER).await?.sit_down(name, &every_hash()).await?;
                        let share = json!([
                            name,
                            seat.notify.job_id,
                            "0000000000000001",
                            format!("{:08x}", seat.notify.ntime),
                            "00000000"
                        ]);
                        raw.ask("mining.submit", share).await?;
                    }
                    Some(false) => refused += 1,
                    None => wrong.push(format!("{name:?} is answered with {answer}")),
                }
            }
            findings.cases(names.len(), &wrong, "odd names are granted or refused in words");
            findings.check(granted > 0 && refused > 0, format!("{granted} are granted, {refused} refused"));

            let workers = http::get(target.page, "/api/workers?limit=1000").await?;
            let parsed: Result<Value, _> = serde_json::from_slice(&workers.body);
            findings.check(parsed.is_ok(), "/api/workers is JSON");
            let shown = parsed.unwrap_or_default();
            let listed: Vec<&str> =
                shown["workers"].as_array().into_iter().flatten().filter_map(|w| w["name"].as_str()).collect();
            let odd: Vec<_> = listed.iter().filter(|name| name.chars().any(char::is_control)).collect();
            findings.check(
                odd.is_empty() && listed.len() > granted / 2,
                format!("none of the {} workers shown has control characters in its name {odd:?}", listed.len()),
            );
            for path in ["/metrics", "/api/workers", "/api/overview"] {
                let text = http::get(target.page, path).await?.body;
                let raw = text.iter().filter(|byte| byte.is_ascii_control() && **byte != b'\n').count();
                findings.check(raw == 0, format!("{path} has no raw control characters ({raw})"));
            }
            let metrics = http::get(target.page, "/metrics").await?.text();
            let broken: Vec<String> = metrics.lines().filter(|line| !is_exposition(line)).map(str::to_owned).collect();
            findings.cases(metrics.lines().count(), &broken, "lines of /metrics are as Prometheus wants them");
            let leaked = ["alert(1)", "passwd", "owned", "warppool_fake", "日本語"]
                .iter()
                .filter(|part| metrics.contains(**part))
                .count();
            findings.check(leaked == 0, "no name stands in /metrics");
            Ok(findings)
        },
    )
    .await
}

/// `# HELP …`, `# TYPE …`, or a sample of a metric of this pool with a number.
fn is_exposition(line: &str) -> bool {
    let is_sample = || {
        let (name, value) = line.rsplit_once(' ')?;
        let value_is_number = value.parse::<f64>().is_ok() || ["+Inf", "-Inf", "NaN"].contains(&value);
        let known = name.starts_with("warppool_") || name.starts_with("process_");
        Some(value_is_number && known)
    };
    line.starts_with("# HELP ") || line.starts_with("# TYPE ") || is_sample() == Some(true)
}
