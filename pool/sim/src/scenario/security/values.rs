//! Values of every kind and size in every place of every method: each request gets an answer, whatever it is.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Findings, Target, under};
use crate::scenario::crew::{address, every_hash};
use crate::scenario::net::STRANGER;
use crate::scenario::raw::{Heard, PATIENCE, Raw};
use crate::scenario::setup::Setup;
use crate::scenario::stage::Stage;

const METHODS: [&str; 12] = [
    "mining.subscribe",
    "mining.authorize",
    "mining.configure",
    "mining.submit",
    "mining.suggest_difficulty",
    "mining.suggest_target",
    "mining.extranonce.subscribe",
    "mining.multi_version",
    "mining.get_transactions",
    "mining.ping",
    "client.get_version",
    "no.such.method",
];

/// A connection of the attacker's that is made anew when the pool has ended it.
struct Attacker {
    target: Target,
    raw: Raw,
    ended: usize,
}

impl Attacker {
    async fn new(target: Target) -> Result<Self> {
        let mut raw = Raw::connect(target.plain, STRANGER).await?;
        raw.sit_down(&format!("{}.values", address(66)), &every_hash()).await?;
        Ok(Self { target, raw, ended: 0 })
    }

    /// Sends a line and sees that it is answered, or its connection ended: `Some` says what went wrong. Values are not
    /// looked into: an id may be a number no type holds, and comes back as it was.
    async fn tries(&mut self, line: &str) -> Result<Option<String>> {
        self.raw.send(line.as_bytes()).await;
        self.raw.send(b"\n{\"id\":\"after\",\"method\":\"mining.ping\",\"params\":[]}\n").await;
        let mut answers = 0;
        loop {
            match self.raw.hear(PATIENCE).await {
                Heard::Line(text) => {
                    let Ok(said) = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text) else {
                        return Ok(Some(format!("{line:.80} is answered with {text:.80}, which is no JSON")));
                    };
                    if said.contains_key("method") {
                        continue;
                    }
                    if said.get("id").is_some_and(|id| id.get() == "\"after\"") {
                        let wrong = (answers != 1).then(|| format!("{line:.80} gets {answers} answers"));
                        return Ok(wrong);
                    }
                    if ["id", "result", "error"].iter().any(|key| !said.contains_key(*key)) {
                        return Ok(Some(format!("{line:.80} is answered with {text:.80}")));
                    }
                    answers += 1;
                }
                Heard::Closed => {
                    self.ended += 1;
                    *self = Self { ended: self.ended, ..Self::new(self.target).await? };
                    return Ok(None);
                }
                Heard::Nothing => return Ok(Some(format!("{line:.80} is not answered"))),
            }
        }
    }
}

async fn try_all(target: Target, lines: &[String], what: &str) -> Result<Findings> {
    let mut attacker = Attacker::new(target).await?;
    let mut wrong = Vec::new();
    for line in lines {
        wrong.extend(attacker.tries(line).await?);
    }
    let mut findings = Findings::default();
    findings.cases(lines.len(), &wrong, what);
    findings.check(attacker.ended < lines.len() / 2, format!("{} of them end their connection", attacker.ended));
    Ok(findings)
}

pub(super) async fn types(stage: &mut Stage) -> Result<()> {
    under(stage, Setup::by_password, |target| async move {
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(1e300),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(""),
            json!("x"),
            json!("x".repeat(5_000)),
            json!("\u{0}"),
            json!("0x"),
            json!("-1"),
            json!("NaN"),
            json!([]),
            json!([[]]),
            json!([null]),
            json!({}),
            json!({"a": 1}),
            json!([1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ];
        let usual = json!([address(66), "1", "0000000000000000", "65000000", "00000000", "00000000"]);
        let mut lines = Vec::new();
        for method in METHODS {
            let request = |params: &Value| json!({"id": 5, "method": method, "params": params}).to_string();
            lines.push(json!({"id": 5, "method": method}).to_string());
            lines.push(json!({"id": null, "method": method, "params": []}).to_string());
            lines.push(json!({"method": method, "params": []}).to_string());
            for value in &values {
                lines.push(request(value));
                // One wrong among many right.
                for place in 0..usual.as_array().map_or(0, Vec::len) {
                    let mut params = usual.clone();
                    params[place] = value.clone();
                    lines.push(request(&params));
                }
                lines.push(request(&json!([["version-rolling", value], {"version-rolling.mask": value}])));
                lines.push(request(&json!([["minimum-difficulty"], {"minimum-difficulty.value": value}])));
            }
        }
        for value in &values {
            lines.push(json!({"id": value, "method": "mining.ping", "params": []}).to_string());
            lines.push(json!({"id": 5, "method": value, "params": []}).to_string());
            lines.push(json!({"id": 5, "method": "mining.ping", "params": [], "jsonrpc": value}).to_string());
        }
        try_all(target, &lines, "requests with a value where another belongs are answered once or end their connection")
            .await
    })
    .await
}

pub(super) async fn numbers(stage: &mut Stage) -> Result<()> {
    under(stage, Setup::by_password, |target| async move {
        let long = "9".repeat(4_000);
        let numbers = [
            "0", "-0", "1e-400", "1e308", "-1e308", "1e309", "1e999999999", "18446744073709551615", "18446744073709551616",
            "-9223372036854775809", "0.0000000000000000000000000000000000001", "1E+2", long.as_str(),
        ];
        let mut lines = Vec::new();
        for number in numbers {
            lines.push(format!(r#"{{"id":{number},"method":"mining.ping","params":[]}}"#));
            for method in METHODS {
                lines.push(format!(r#"{{"id":5,"method":"{method}","params":{number}}}"#));
                lines.push(format!(r#"{{"id":5,"method":"{method}","params":[{number},{number},{number}]}}"#));
                lines.push(format!(r#"{{"id":5,"method":"{method}","params":["{number}","{number}"]}}"#));
            }
            lines.push(format!(
                r#"{{"id":5,"method":"mining.configure","params":[["minimum-difficulty"],{{"minimum-difficulty.value":{number}}}]}}"#
            ));
            let user = address(66);
            lines.push(format!(r#"{{"id":5,"method":"mining.authorize","params":["{user}.values","d={number}"]}}"#));
            lines.push(format!(
                r#"{{"id":5,"method":"mining.submit","params":["{user}","1","{number}","{number}","{number}","{number}"]}}"#
            ));
        }
        let mut findings =
            try_all(target, &lines, "requests with absurd numbers are answered once or end their connection").await?;
        // A difficulty nobody can meet must not be what a miner is left with.
        let mut raw = Raw::connect(target.plain, STRANGER).await?;
        raw.ask("mining.suggest_difficulty", json!([1e300])).await?;
        let seat = raw.sit_down(&format!("{}.values", address(66)), "x").await?;
        let nonce = seat.search(20, 0);
        findings.check(nonce.is_some(), "a miner that suggests 1e300 still gets work");
        Ok(findings)
    })
    .await
}
