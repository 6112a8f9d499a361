use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};
use tokio_util::sync::CancellationToken;

use super::{
    Budget, Miner, MinerOptions, MinerStats, Persona, Tls, Violation,
    fake_pool::{Bent, FakePool},
};

const SOON: Duration = Duration::from_secs(10);
const USER: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080.rig1";

fn options(pool: &FakePool, persona: Persona) -> MinerOptions {
    MinerOptions { budget: Budget::SharesPerSecond(200.0), ..MinerOptions::new(&pool.address, USER, persona) }
}

fn start(pool: &FakePool, persona: Persona) -> Miner {
    Miner::start(options(pool, persona), &CancellationToken::new())
}

async fn until(miner: &Miner, condition: impl FnMut(&MinerStats) -> bool) -> MinerStats {
    miner.wait_for(SOON, condition).await.unwrap_or_else(|stats| panic!("not within 10 s: {stats:#?}"))
}

fn methods(lines: &[String]) -> Vec<(String, Value)> {
    let parse = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    lines.iter().map(parse).map(|line| (line["method"].as_str().unwrap().to_owned(), line["id"].clone())).collect()
}

#[tokio::test]
async fn every_honest_persona_mines_at_a_well_behaved_pool_without_a_violation() {
    for persona in Persona::honest() {
        let pool = FakePool::start(Bent::default()).await;
        let miner = start(&pool, persona);
        until(&miner, |stats| stats.accepted >= 10).await;
        let stats = miner.stop().await;
        assert_eq!((stats.violations, stats.rejected, stats.connects), (vec![], 0, 1), "{persona}");
        assert!(stats.blocks > 0 && stats.hashes >= stats.submitted && stats.submit_latency.max_us > 0.0, "{persona}");
        assert!(!stats.connected && pool.repeated() == 0, "{persona}");
    }
}

#[tokio::test]
async fn each_persona_says_its_lines_in_its_own_order_and_with_its_own_ids() {
    let cases: [(Persona, &[&str]); 7] = [
        (Persona::NerdminerV2, &["subscribe", "authorize", "suggest_difficulty"]),
        (Persona::BitaxeUltra, &["configure", "subscribe", "suggest_difficulty", "authorize"]),
        (Persona::NerdOctaxe, &["subscribe", "configure", "suggest_difficulty", "authorize", "extranonce.subscribe"]),
        (Persona::AvalonQ, &["configure", "subscribe", "authorize"]),
        (Persona::AntminerS23Pro, &["configure", "subscribe", "extranonce.subscribe", "authorize"]),
        (Persona::Whatsminer, &["configure", "subscribe", "authorize"]),
        (Persona::Cpuminer, &["subscribe", "authorize"]),
    ];
    for (persona, said) in cases {
        let pool = FakePool::start(Bent::default()).await;
        let miner = start(&pool, persona);
        let lines = pool.heard(|lines| lines.len() >= said.len() + 3).await;
        miner.stop().await;
        let heard = methods(&lines);
        let (setup, submits) = heard.split_at(said.len());
        let expected: Vec<_> =
            said.iter().zip(1..).map(|(said, id)| (format!("mining.{said}"), Value::from(id))).collect();
        assert_eq!(setup, expected, "{persona}");
        let first = said.len() as u64 + 1;
        let ids: Vec<u64> = if persona == Persona::Cpuminer { vec![4; 3] } else { (first..first + 3).collect() };
        let expected: Vec<_> = ids.into_iter().map(|id| ("mining.submit".to_owned(), Value::from(id))).collect();
        assert_eq!(&submits[..3], expected, "{persona}");
    }
}

#[tokio::test]
async fn those_that_pipeline_do_not_wait_for_an_answer_and_those_that_block_do() {
    for (persona, said) in [(Persona::BitaxeUltra, 4), (Persona::NerdOctaxe, 5), (Persona::AvalonQ, 1)] {
        // The pool answers mining.configure and subscribe with a message that is no answer at all.
        let silent =
            Bent { instead: Some(("mining.configure", r#"{"method":"x","params":[]}"#.into())), ..Bent::default() };
        let pool = FakePool::start(silent).await;
        let miner = start(&pool, persona);
        let lines = pool.heard(|lines| lines.len() >= said).await;
        assert_eq!(methods(&lines)[said - 1].0 == "mining.configure", persona == Persona::AvalonQ, "{persona}");
        if persona == Persona::AvalonQ {
            let stats = until(&miner, |stats| stats.losses > 0).await;
            assert!(matches!(&stats.violations[0], Violation::FirstLineNotAnswer { method: "mining.configure", .. }));
        }
        miner.stop().await;
    }
}

#[tokio::test]
async fn submits_carry_what_the_device_would_write() {
    let cases = [
        // persona, parameters, characters of the user name that arrive
        (Persona::NerdminerV2, 5, 70),
        (Persona::BitaxeUltra, 6, 70),
        (Persona::AvalonQ, 6, 63),
        (Persona::AntminerS23Pro, 6, 70),
        (Persona::Cpuminer, 5, 70),
    ];
    let user = "u".repeat(70);
    for (persona, params, characters) in cases {
        let pool = FakePool::start(Bent::default()).await;
        let miner =
            Miner::start(MinerOptions { user: user.clone(), ..options(&pool, persona) }, &CancellationToken::new());
        let is_submit = |line: &&String| line.contains("mining.submit");
        let lines = pool.heard(|lines| lines.iter().filter(is_submit).count() >= 40).await;
        miner.stop().await;
        let mut short_nonces = 0;
        for line in lines.iter().filter(is_submit) {
            let line: Value = serde_json::from_str(line).unwrap();
            let sent: Vec<_> = line["params"].as_array().unwrap().iter().map(|param| param.as_str().unwrap()).collect();
            assert_eq!((sent.len(), sent[0].len(), sent[1]), (params, characters, "j0"), "{persona}");
            assert_eq!((sent[2].len(), sent[3].len()), (16, 8), "{persona}");
            assert!(sent[4].len() == 8 || persona == Persona::NerdminerV2, "{persona}");
            short_nonces += usize::from(sent[4].len() < 8);
            if let Some(bits) = sent.get(5) {
                assert_eq!(u32::from_str_radix(bits, 16).unwrap() & !0x1fff_e000, 0, "{persona}");
            }
        }
        assert!(short_nonces == 0 || persona == Persona::NerdminerV2);
    }
}

#[tokio::test]
async fn a_nerdminer_writes_a_nonce_without_its_leading_zeros() {
    let pool = FakePool::start(Bent::default()).await;
    let fast = MinerOptions { budget: Budget::SharesPerSecond(5000.0), ..options(&pool, Persona::NerdminerV2) };
    let miner = Miner::start(fast, &CancellationToken::new());
    let unpadded = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["params"][4].as_str().is_some_and(|nonce| nonce.len() < 8 && line["method"] == "mining.submit")
    };
    pool.heard(|lines| lines.iter().any(unpadded)).await;
    let stats = miner.stop().await;
    assert_eq!(stats.violations, []);
}

#[tokio::test]
async fn a_nerdminer_keeps_its_connection_alive_with_suggestions() {
    let pool = FakePool::start(Bent::default()).await;
    let idle = MinerOptions {
        budget: Budget::HashesPerSecond(0.0),
        acceleration: 1000.0,
        ..options(&pool, Persona::NerdminerV2)
    };
    let miner = Miner::start(idle, &CancellationToken::new());
    let suggestions = |lines: &Vec<String>| {
        lines.iter().filter(|line| line.contains("suggest_difficulty") && line.contains("[0.00015]")).count() >= 3
    };
    pool.heard(suggestions).await;
    assert_eq!(miner.stop().await.submitted, 0);
}

#[tokio::test]
async fn what_a_device_would_choke_on_is_recorded_as_a_violation() {
    let set_difficulty = r#"{"id":null,"method":"mining.set_difficulty","params":[1e-10]}"#;
    let notify = |job_id: &str, clean: bool| {
        serde_json::json!({"id": null, "method": "mining.notify", "params": [job_id, "0".repeat(64), "01", "02", [],
            "20000000", "207fffff", "65000000", clean]})
        .to_string()
    };
    let bent = Bent::default;
    let cases: [(&str, Persona, Bent); 15] = [
        (
            "first_line_not_answer",
            Persona::NerdminerV2,
            Bent { before_subscribe: vec![set_difficulty.into()], ..bent() },
        ),
        (
            "notify_before_subscribed",
            Persona::BitaxeUltra,
            Bent { before_subscribe: vec![notify("a", true)], ..bent() },
        ),
        ("notify_before_difficulty", Persona::Cpuminer, Bent { difficulty: None, ..bent() }),
        ("coinbase_too_long", Persona::NerdminerV2, Bent { coinb1: 184, ..bent() }),
        ("too_many_branches", Persona::BitaxeUltra, Bent { branches: 33, ..bent() }),
        ("extranonce2_size", Persona::NerdminerV2, Bent { extranonce2_size: 6, ..bent() }),
        ("extranonce2_size", Persona::AntminerS23Pro, Bent { extranonce2_size: 2, ..bent() }),
        ("repeated_job_id", Persona::BitaxeUltra, Bent { after_first_job: vec![notify("j0", false)], ..bent() }),
        ("version_bits_in_mask", Persona::BitaxeUltra, Bent { version: "20002000", ..bent() }),
        ("malformed", Persona::Whatsminer, Bent { after_first_job: vec!["{oops".into()], ..bent() }),
        (
            "subscription_shape",
            Persona::NerdminerV2,
            Bent {
                instead: Some(("mining.subscribe", r#"{"id":$ID,"result":[[],"00000000",8],"error":null}"#.into())),
                ..bent()
            },
        ),
        (
            "incomplete_answer",
            Persona::Cpuminer,
            Bent { instead: Some(("mining.submit", r#"{"id":$ID,"result":true}"#.into())), ..bent() },
        ),
        (
            "unknown_answer_id",
            Persona::NerdOctaxe,
            Bent { instead: Some(("mining.submit", r#"{"id":"$ID","result":true,"error":null}"#.into())), ..bent() },
        ),
        (
            "malformed",
            Persona::AvalonQ,
            Bent {
                instead: Some(("mining.subscribe", r#"{"id":$ID,"result":[[["a","b"]],"zz",8],"error":null}"#.into())),
                ..bent()
            },
        ),
        ("line_too_long", Persona::Cpuminer, Bent { after_first_job: vec!["x".repeat(2 << 20)], ..bent() }),
    ];
    for (kind, persona, bent) in cases {
        let pool = FakePool::start(bent).await;
        let miner = start(&pool, persona);
        let stats = until(&miner, |stats| stats.violation_count > 0).await;
        miner.stop().await;
        let first = serde_json::to_value(&stats.violations[0]).unwrap();
        assert_eq!(first["kind"], kind, "{persona}: {}", stats.violations[0]);
    }
}

#[tokio::test]
async fn a_coinbase_of_255_bytes_and_32_branches_are_borne() {
    // 183 + 4 + 8 + 60 = 255 bytes.
    let pool = FakePool::start(Bent { coinb1: 183, branches: 32, ..Bent::default() }).await;
    let miner = start(&pool, Persona::NerdminerV2);
    until(&miner, |stats| stats.accepted > 0).await;
    assert_eq!(miner.stop().await.violations, []);
}

#[tokio::test]
async fn a_repeated_job_id_is_dropped_by_a_bitaxe_and_taken_when_clean() {
    let pool = FakePool::start(Bent::default()).await;
    let miner = start(&pool, Persona::BitaxeUltra);
    until(&miner, |stats| stats.jobs == 1).await;
    pool.new_job("j0", &"11".repeat(32));
    let stats = until(&miner, |stats| stats.jobs == 2).await;
    assert_eq!((stats.violations, stats.tip), (vec![], Some("11".repeat(32))));
    pool.say(&notify_again("j0"));
    let stats = until(&miner, |stats| stats.violation_count == 1).await;
    assert_eq!((stats.jobs, stats.clean_jobs), (2, 2));
    miner.stop().await;
}

fn notify_again(job_id: &str) -> String {
    serde_json::json!({"id": null, "method": "mining.notify", "params": [job_id, "0".repeat(64), "01", "02", [],
        "20000000", "207fffff", "65000000", false]})
    .to_string()
}

#[tokio::test]
async fn silence_longer_than_the_firmware_bears_is_a_violation_and_ends_the_connection() {
    let pool = FakePool::start(Bent::default()).await;
    let quiet = MinerOptions {
        budget: Budget::HashesPerSecond(0.0),
        acceleration: 1000.0,
        ..options(&pool, Persona::BitaxeUltra)
    };
    let miner = Miner::start(quiet, &CancellationToken::new());
    let stats = until(&miner, |stats| stats.connects >= 2).await;
    assert_eq!(stats.violations[0], Violation::Silence { seconds: 180 });
    miner.stop().await;
}

#[tokio::test]
async fn rejections_are_counted_by_code_and_shares_after_a_loss_go_on_over_a_new_connection() {
    let bent = Bent { reject_every: Some(4), hang_up_after: Some(20), ..Bent::default() };
    let pool = FakePool::start(bent).await;
    let again = MinerOptions { acceleration: 1000.0, ..options(&pool, Persona::AntminerS23Pro) };
    let miner = Miner::start(again, &CancellationToken::new());
    let stats = until(&miner, |stats| stats.connects >= 3 && stats.rejected >= 5).await;
    miner.stop().await;
    assert_eq!(stats.rejected_by_code.keys().collect::<Vec<_>>(), [&23]);
    assert_eq!(stats.rejected_by_code[&23], stats.rejected);
    assert!(stats.accepted >= stats.rejected * 2 && stats.violation_count == 0, "{stats:?}");
}

#[tokio::test]
async fn a_refused_user_and_an_absent_pool_are_told_and_tried_again() {
    let pool = FakePool::start(Bent { refuse_authorize: true, ..Bent::default() }).await;
    let refused = MinerOptions { acceleration: 1000.0, ..options(&pool, Persona::AvalonQ) };
    let miner = Miner::start(refused.clone(), &CancellationToken::new());
    let stats = until(&miner, |stats| stats.refused_authorizations >= 2).await;
    assert!(stats.last_error.unwrap().contains("unauthorized") && stats.submitted == 0);
    miner.stop().await;

    let absent = MinerOptions { target: "127.0.0.1:1".into(), ..refused };
    let miner = Miner::start(absent, &CancellationToken::new());
    let stats = until(&miner, |stats| stats.losses >= 2).await;
    assert_eq!(stats.connects, 0);
    miner.stop().await;
}

#[tokio::test]
async fn a_new_difficulty_counts_at_once_or_from_the_next_job_as_the_firmware_has_it() {
    for (persona, at_once) in [(Persona::NerdminerV2, true), (Persona::BitaxeUltra, false)] {
        let pool = FakePool::start(Bent::default()).await;
        let miner = start(&pool, persona);
        until(&miner, |stats| stats.jobs == 1).await;
        pool.say(r#"{"id":null,"method":"mining.set_difficulty","params":[3e-10]}"#);
        pool.say(r#"{"id":1,"method":"mining.ping"}"#);
        pool.heard(|lines| lines.iter().any(|line| line.contains("pong"))).await;
        if at_once {
            until(&miner, |stats| stats.difficulty > 2e-10).await;
        }
        assert_eq!(miner.stats().difficulty > 2e-10, at_once);
        pool.new_job("j1", &"22".repeat(32));
        until(&miner, |stats| stats.difficulty > 2e-10).await;
        miner.stop().await;
    }
}

#[tokio::test]
async fn tls_works_with_the_right_root_or_without_looking_and_fails_with_a_wrong_root() {
    let issue = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let (ours, other) = (issue(), issue());
    let key = PrivateKeyDer::try_from(ours.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![ours.cert.der().clone()], key)
        .unwrap();
    let pool = FakePool::with_tls(Bent::default(), Some(TlsAcceptor::from(Arc::new(config)))).await;
    for tls in [Tls::Insecure, Tls::Roots(ours.cert.pem())] {
        let miner =
            Miner::start(MinerOptions { tls, ..options(&pool, Persona::BitaxeUltra) }, &CancellationToken::new());
        until(&miner, |stats| stats.accepted > 0).await;
        miner.stop().await;
    }
    let wrong = MinerOptions { tls: Tls::Roots(other.cert.pem()), ..options(&pool, Persona::BitaxeUltra) };
    let miner = Miner::start(wrong, &CancellationToken::new());
    let stats = until(&miner, |stats| stats.losses > 0).await;
    assert!(stats.connects == 0 && stats.last_error.unwrap().contains("certificate"));
    miner.stop().await;
}

#[tokio::test]
async fn the_adversary_goes_through_all_its_attacks_and_the_pool_serves_an_honest_miner_meanwhile() {
    let pool = FakePool::start(Bent::default()).await;
    let hostile = MinerOptions { acceleration: 100.0, ..options(&pool, Persona::Adversary) };
    let adversary = Miner::start(hostile, &CancellationToken::new());
    let stats = until(&adversary, |stats| stats.attacks.len() >= 15).await;
    assert!(stats.attacks["submit-flood"].answered > 0, "{stats:?}");
    assert!(stats.attacks["half-a-line"].silent > 0, "{stats:?}");
    let honest = start(&pool, Persona::AvalonQ);
    until(&honest, |stats| stats.accepted > 0).await;
    adversary.stop().await;
    honest.stop().await;
}
