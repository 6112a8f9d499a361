//! A hostile client: one attack a connection, in turn, for as long as it runs. What the pool makes of each is counted;
//! that it lives on and serves honest miners meanwhile is for the caller to see.

use std::{io::ErrorKind, time::Duration};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{MinerOptions, net::Connection, stats::MinerStats};

/// How long the pool has to answer or hang up before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);

struct Attack {
    name: &'static str,
    /// What is sent, each piece in a write of its own.
    pieces: Vec<Vec<u8>>,
}

pub(crate) async fn attack(options: &MinerOptions, stats: &watch::Sender<MinerStats>) {
    let attacks = attacks(&options.user, &options.password);
    for attack in attacks.iter().cycle() {
        match Connection::open(&options.target, &options.tls).await {
            Ok(connection) => {
                stats.send_modify(|stats| {
                    stats.connects += 1;
                    stats.connected = true;
                });
                let outcome = carry_out(attack, connection, options.scaled(PATIENCE)).await;
                stats.send_modify(|stats| {
                    let outcomes = stats.attacks.entry(attack.name).or_default();
                    match outcome {
                        Outcome::Answered => outcomes.answered += 1,
                        Outcome::Closed => outcomes.closed += 1,
                        Outcome::Silent => outcomes.silent += 1,
                    }
                    stats.connected = false;
                });
            }
            Err(error) => stats.send_modify(|stats| {
                stats.losses += 1;
                stats.last_error = Some(error.to_string());
            }),
        }
        sleep(options.scaled(options.persona.profile().reconnect_after)).await;
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Answered,
    Closed,
    Silent,
}

/// Sends everything, reads until the pool hangs up or has nothing more to say.
async fn carry_out(attack: &Attack, connection: Connection, patience: Duration) -> Outcome {
    let Connection { mut lines, mut writer } = connection;
    let mut outcome = Outcome::Silent;
    for piece in &attack.pieces {
        if writer.send(piece).await.is_err() {
            return Outcome::Closed;
        }
    }
    loop {
        match timeout(patience, lines.next()).await {
            Ok(Ok(_)) => outcome = Outcome::Answered,
            // A line without an end is an answer of a kind.
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => return Outcome::Answered,
            Ok(Err(_)) => return Outcome::Closed,
            Err(_) => return outcome,
        }
    }
}

fn attacks(user: &str, password: &str) -> Vec<Attack> {
    let subscribe = line(&json!({"id": 1, "method": "mining.subscribe", "params": ["warppool-adversary"]}));
    let authorize = line(&json!({"id": 2, "method": "mining.authorize", "params": [user, password]}));
    let enter = [subscribe.clone(), authorize.clone()].concat();
    let submit =
        |params: serde_json::Value| line(&json!({"id": 9, "method": "mining.submit", "params": params})).clone();
    let attack = |name, pieces| Attack { name, pieces };
    vec![
        attack("not-text", vec![vec![0xff, 0xfe, 0x00, 0x80, b'\n']]),
        attack("tls-hello-on-plain-port", vec![vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3], vec![b'\n'; 32]]),
        attack("http-request", vec![b"GET / HTTP/1.1\r\nHost: pool\r\n\r\n".to_vec()]),
        attack("truncated-json", vec![b"{\"id\":1,\"method\":\"mining.sub\n".to_vec()]),
        attack("deep-json", vec![[&b"[".repeat(15_000)[..], b"\n"].concat()]),
        attack("endless-line", vec![b"a".repeat(16 * 1024); 8]),
        attack("half-a-line", vec![b"{\"id\":1,".to_vec()]),
        attack("blank-lines", vec![b"\n".repeat(10_000)]),
        attack("submit-before-subscribe", vec![submit(json!([user, "1", "00000000", "65000000", "00000000"]))]),
        attack(
            "misshapen-submits",
            vec![
                enter.clone(),
                submit(json!([])),
                submit(json!([user, null, 7, {}, []])),
                submit(json!([user, "1", "zz", "zz", "zz"])),
                submit(json!([user, "1", "00".repeat(4096), "65000000", "00000000"])),
                submit(json!([user, "1", "0000000000000000", "ffffffffffffffff", "-1", "ffffffff"])),
                submit(json!([user, "\u{0}\u{202e}", "0000000000000000", "00000000", "00000000"])),
                submit(json!("no array")),
            ],
        ),
        attack(
            "odd-ids",
            vec![
                b"{\"id\":{\"a\":[1,2]},\"method\":\"mining.ping\",\"params\":[]}\n".to_vec(),
                b"{\"id\":1e308,\"method\":\"mining.subscribe\",\"params\":[]}\n".to_vec(),
                b"{\"id\":18446744073709551616,\"method\":\"mining.ping\",\"params\":[]}\n".to_vec(),
                b"{\"method\":\"mining.ping\"}\n".to_vec(),
            ],
        ),
        attack(
            "odd-suggestions",
            vec![
                enter.clone(),
                b"{\"id\":3,\"method\":\"mining.suggest_difficulty\",\"params\":[-1]}\n".to_vec(),
                b"{\"id\":4,\"method\":\"mining.suggest_difficulty\",\"params\":[1e999]}\n".to_vec(),
                b"{\"id\":5,\"method\":\"mining.suggest_difficulty\",\"params\":[0]}\n".to_vec(),
                b"{\"id\":6,\"method\":\"mining.suggest_difficulty\",\"params\":[\"NaN\"]}\n".to_vec(),
                b"{\"id\":7,\"method\":\"mining.configure\",\"params\":[[\"version-rolling\"],{\"version-rolling.mask\":5}]}\n"
                    .to_vec(),
            ],
        ),
        attack("long-names", vec![
            line(&json!({"id": 1, "method": "mining.subscribe", "params": ["x".repeat(8000)]})),
            line(&json!({"id": 2, "method": "mining.authorize", "params": ["y".repeat(8000), "z".repeat(4000)]})),
        ]),
        attack("authorize-flood", vec![subscribe, authorize.repeat(500)]),
        attack(
            "submit-flood",
            vec![enter, submit(json!([user, "no such job", "0000000000000000", "65000000", "00000000"])).repeat(2000)],
        ),
    ]
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
