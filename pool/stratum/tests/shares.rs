//! What becomes of shares: who judges them by what, what the miner hears, what the pool hears.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::*;
use warppool_events::Event;
use warppool_stratum::{Outcome, Reason, RefusedFor, Settings, SubmitMode};
use warppool_work::{VardiffSettings, block_hash};

/// Settings where a share takes some hashes, and the difficulty adapts.
fn adapting(initial: f64) -> Settings {
    let vardiff = VardiffSettings { enabled: true, ..settings().vardiff };
    Settings { vardiff, initial_difficulty: Some(d(initial)), ..settings() }
}

#[track_caller]
fn refused(answer: &Value, code: i32) {
    assert_eq!((&answer["result"], &answer["error"][0]), (&Value::Null, &json!(code)), "{answer}");
    assert!(answer["error"][1].is_string() && answer["error"][2].is_null(), "[code, message, null]: {answer}");
}

#[test]
fn a_good_share_in_any_of_its_forms_is_accepted_and_reported() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice.rig");
    // The share's usual parameters, changed into what some firmware sends.
    let forms: [fn(&mut Vec<Value>); 9] = [
        |_| {},
        |p| p[4] = json!("1"),
        |p| p[4] = json!(format!("0x{}", p[4].as_str().unwrap())),
        |p| p[2] = json!(p[2].as_str().unwrap().to_uppercase()),
        |p| p[3] = json!(p[3].as_str().unwrap().to_uppercase()),
        |p| p[1] = json!(p[1].as_str().unwrap().to_uppercase()),
        |p| p[0] = json!("a name cut off by the firm"),
        |p| p.push(json!("00000000")),
        |p| p.push(Value::Null),
    ];
    for form in forms {
        let share = miner.share();
        let mut params: Vec<Value> = serde_json::from_value(miner.params(&share)).unwrap();
        form(&mut params);
        let (answer, rest) = talk.call("mining.submit", json!(params));
        assert_eq!(answer, json!({"id": 7, "result": true, "error": null}), "{params:?}");
        assert!(rest.is_empty());
    }
    // Escapes take the long way to the same end.
    let share = miner.share();
    let line = miner.line(&share).replace("alice", "\\u0061lice");
    assert_eq!(talk.raw(line).unwrap()[0]["result"], true);

    let shares = bench.pool.shares.lock().unwrap();
    assert_eq!(shares.len(), forms.len() + 1);
    let last = shares.last().unwrap();
    assert_eq!((last.outcome, last.credited), (Outcome::Accepted, ANY_HASH));
    let actual = warppool_work::difficulty_of_hash(&miner.hash(&share));
    assert!((last.actual / actual - 1.0).abs() < 1e-9, "its real difficulty is told");
    let info = talk.with.info();
    assert_eq!((info.accepted, info.refused.total(), info.submit_mode), (10, 0, SubmitMode::Plain));
    assert!(info.last_share_ms.is_some() && info.hashrate > 0.0);
}

#[test]
fn each_kind_of_bad_share_gets_its_code_and_is_counted() {
    let bench = Bench::new(adapting(1e-6));
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    let mut easy = miner.share();
    while d(1e-6).target().is_met_by(&miner.hash(&easy)) {
        easy.nonce += 1;
    }
    let good = miner.mine(1e-6);
    let with = |n: usize, value: &str| {
        let mut params = miner.params(&good);
        params[n] = json!(value);
        params
    };
    let cases = [
        (with(1, "ffff"), 21, RefusedFor::UnknownJob),
        (with(1, "job"), 20, RefusedFor::Malformed),
        (with(2, "00"), 20, RefusedFor::Malformed),
        (with(3, "00000000"), 20, RefusedFor::Time),
        (with(3, "ffffffff"), 20, RefusedFor::Time),
        (with(4, ""), 20, RefusedFor::Malformed),
        (json!(["alice"]), 20, RefusedFor::Malformed),
        (json!([1, 2, 3, 4, 5]), 20, RefusedFor::Malformed),
        (json!({}), 20, RefusedFor::Malformed),
        (miner.params(&easy), 23, RefusedFor::LowDifficulty),
    ];
    for (params, code, reason) in &cases {
        let before = talk.with.info().refused.get(*reason);
        refused(&talk.call("mining.submit", params.clone()).0, *code);
        assert_eq!(talk.with.info().refused.get(*reason), before + 1, "{params}");
        let report = *bench.pool.shares.lock().unwrap().last().unwrap();
        assert_eq!((report.outcome, report.credited), (Outcome::Refused(*reason), 0.0));
    }
    assert_eq!(talk.result("mining.submit", miner.params(&good)), true);
    refused(&talk.call("mining.submit", miner.params(&good)).0, 22);
    let metrics = bench.server.metrics();
    assert_eq!(metrics.accepted, 1);
    assert!((metrics.work / 1e-6 - 1.0).abs() < 1e-9, "work is what was asked for");
    assert_eq!(metrics.refused.iter().map(|(_, n)| n).sum::<u64>(), cases.len() as u64 + 1);
}

#[test]
fn who_has_not_subscribed_or_authorized_is_told_so() {
    let bench = Bench::new(settings());
    let job = bench.publish(1);
    let params = json!(["alice", job.id.to_string(), "0000000000000001", "6553f358", "00000001"]);
    let mut talk = bench.talk();
    refused(&talk.call("mining.submit", params.clone()).0, 25);
    talk.call("mining.subscribe", json!([]));
    refused(&talk.call("mining.submit", params.clone()).0, 24);
    assert!(bench.pool.outcomes().is_empty(), "nobody's shares are only counted");
    assert_eq!(bench.server.metrics().refused.iter().map(|(_, n)| n).sum::<u64>(), 2);
}

#[test]
fn shares_go_to_the_worker_they_name() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice.one");
    talk.call("mining.authorize", json!(["alice.two", "x"]));
    let mut submit = |name: &str| {
        miner.username = name.into();
        let share = miner.share();
        talk.call("mining.submit", miner.params(&share)).0
    };
    assert_eq!(submit("alice.one")["result"], true);
    assert_eq!(submit("alice.two")["result"], true);
    refused(&submit("alice.three"), 24);
    let workers: Vec<_> = bench.pool.shares.lock().unwrap().iter().map(|s| (s.worker.0, s.outcome)).collect();
    let unauthorized = Outcome::Refused(RefusedFor::Unauthorized);
    assert_eq!(workers, [(0, Outcome::Accepted), (1, Outcome::Accepted), (0, unauthorized)]);
    let names: Vec<_> = bench.pool.connected.lock().unwrap().iter().map(|s| s.name.clone().unwrap()).collect();
    assert_eq!(names.iter().map(|n| &**n).collect::<Vec<_>>(), ["alice.one", "alice.two"]);
}

#[test]
fn every_way_of_rolling_the_version_is_accepted_within_the_mask() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let mut talk = bench.talk();
    talk.call("mining.configure", json!([["version-rolling"], {"version-rolling.mask": "1fffe000"}]));
    let mut miner = talk.log_in("alice", "x");
    let mut case = |bits: u32, sent: &str, expected: Result<(), i32>| {
        let mut share = miner.share();
        share.version_bits = bits;
        let mut params = miner.params(&share);
        params[5] = json!(sent);
        let (answer, _) = talk.call("mining.submit", params);
        match expected {
            Ok(()) => assert_eq!(answer["result"], true, "{sent}: {answer}"),
            Err(code) => refused(&answer, code),
        }
    };
    case(0x0040_2000, "00402000", Ok(()));
    case(0x0040_4000, "20404000", Ok(()));
    case(0x1fff_e000, "0x1FFFE000", Ok(()));
    case(0x4000_0000, "40000000", Err(20));
    case(0x0000_0001, "1", Err(20));
    assert_eq!(talk.with.info().submit_mode, SubmitMode::VersionRolling);
    let (mut plain, mut miner) = bench.miner("bob");
    let mut share = miner.share();
    share.version_bits = 0x2000;
    refused(&plain.call("mining.submit", miner.params(&share)).0, 20);
    bench.server.reconfigure(Settings { safe_mode: false, ..bench.server.settings() });
    share = miner.share();
    share.version_bits = 0x2000;
    assert_eq!(
        plain.result("mining.submit", miner.params(&share)),
        true,
        "out of safe mode the bits are taken as they are"
    );
}

#[test]
fn after_a_change_the_old_difficulty_holds_for_jobs_sent_before_it() {
    let bench = Bench::new(adapting(1e-4));
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    // Easier by the miner's own wish: firmware that applies it at once is right, and so is who waits for the next job.
    miner.hear(&talk.call("mining.suggest_difficulty", json!([1e-6])).1);
    assert_eq!(miner.difficulty.to_bits(), 1e-6f64.to_bits());
    let share = miner.mine(1e-6);
    assert_eq!(talk.result("mining.submit", miner.params(&share)), true);
    // Harder: what was found for the job sent before still counts.
    let mut easy = || loop {
        let share = miner.mine(1e-6);
        if !d(1e-3).target().is_met_by(&miner.hash(&share)) {
            return share;
        }
    };
    let (first, second) = (easy(), easy());
    talk.call("mining.suggest_difficulty", json!([1e-3]));
    assert_eq!(talk.result("mining.submit", miner.params(&first)), true);
    bench.publish(1);
    let mut next = miner.clone();
    next.hear(&talk.newest());
    assert_eq!(talk.result("mining.submit", miner.params(&second)), true, "also once the next job is out");
    let mut share = next.share();
    while d(1e-3).target().is_met_by(&next.hash(&share)) {
        share.nonce += 1;
    }
    refused(&talk.call("mining.submit", next.params(&share)).0, 23);
    let credited: Vec<_> = bench.pool.shares.lock().unwrap().iter().map(|s| s.credited).collect();
    assert_eq!(credited, [1e-6, 1e-6, 1e-6, 0.0], "shares are worth what they were asked for");
}

#[test]
fn vardiff_sends_the_difficulty_alone_and_no_job_with_it() {
    let bench = Bench::new(adapting(ANY_HASH));
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    let lines: String = (0..8)
        .map(|_| {
            let share = miner.share();
            miner.line(&share)
        })
        .collect();
    let sent = talk.raw(lines).unwrap();
    assert_eq!(sent.len(), 9, "eight answers and a difficulty");
    assert_eq!(sent[8]["method"], "mining.set_difficulty");
    assert!(sent[8]["params"][0].as_f64().unwrap() > ANY_HASH);
    assert!(bench.pool.outcomes().iter().all(|outcome| *outcome == Outcome::Accepted));
}

#[test]
fn no_difficulty_exceeds_the_networks_except_on_test_chains() {
    for (bits, expected) in [(0x1d00_ffff, 1.0), (0x1b04_864c, 14484.0), (HARD, 1e6), (REGTEST, 1e6)] {
        let bench = Bench::new(Settings { initial_difficulty: Some(d(1e6)), ..settings() });
        bench.publish_with(1, bits);
        let (_, miner) = bench.miner("alice");
        assert_eq!(miner.difficulty.to_bits(), f64::to_bits(expected), "{bits:08x}");
    }
}

#[test]
fn an_old_tip_counts_for_five_seconds_and_no_share_counts_twice() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    let before = miner.share();
    assert_eq!(talk.result("mining.submit", miner.params(&before)), true);
    let (late, later) = (miner.share(), miner.share());
    let old = miner.clone();
    bench.publish(2);
    miner.hear(&talk.newest());
    assert_eq!(miner.job[8], true, "a new tip is clean");
    let new = miner.share();
    assert_eq!(talk.result("mining.submit", miner.params(&new)), true);
    assert_eq!(talk.result("mining.submit", old.params(&late)), true, "within the grace");
    for (miner, share) in [(&old, &before), (&old, &late), (&miner, &new)] {
        refused(&talk.call("mining.submit", miner.params(share)).0, 22);
    }
    talk.later = Duration::from_secs(6);
    talk.tick().unwrap();
    refused(&talk.call("mining.submit", old.params(&later)).0, 21);
    refused(&talk.call("mining.submit", miner.params(&new)).0, 22);
}

#[test]
fn the_grace_is_for_the_tip_before_and_not_for_any_older() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    let share = miner.share();
    let old = miner.params(&share);
    bench.publish(2);
    bench.publish(3);
    refused(&talk.call("mining.submit", old).0, 21);
}

#[test]
fn a_job_of_the_same_tip_leaves_older_work_standing() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    let (old, share, again) = (miner.clone(), miner.share(), miner.share());
    for _ in 0..3 {
        bench.server.publish(std::sync::Arc::new(bench.factory.build(&template(1, HARD, 3), false).unwrap()));
    }
    miner.hear(&talk.newest());
    assert_eq!(miner.job[8], false);
    talk.later = Duration::from_mins(2);
    assert_eq!(talk.result("mining.submit", old.params(&share)), true);
    let share = miner.share();
    assert_eq!(talk.result("mining.submit", miner.params(&share)), true);
    assert_eq!(talk.result("mining.submit", old.params(&again)), true);
}

#[test]
fn a_block_is_told_whatever_else_is_wrong_with_its_share() {
    type Change = fn(&mut Talk, &Bench, &mut Vec<Value>);
    let cases: [(&str, Change, Result<(), i32>); 6] = [
        ("good", |_, _, _| {}, Ok(())),
        (
            "long stale",
            |talk, bench, _| {
                bench.publish(2);
                bench.publish(3);
                talk.later = Duration::from_secs(500);
            },
            Err(21),
        ),
        (
            "unknown worker of several",
            |talk, _, params| {
                talk.call("mining.authorize", json!(["alice.two", "x"]));
                params[0] = json!("mallory");
            },
            Err(24),
        ),
        (
            "duplicate",
            |talk, bench, params| {
                talk.call("mining.submit", json!(params));
                bench.pool.blocks.lock().unwrap().clear();
            },
            Err(22),
        ),
        (
            "difficulty far too low",
            |talk, bench, _| {
                // A test chain's block is easier than what is asked for: it counts nevertheless.
                talk.call("mining.suggest_difficulty", json!([1e6]));
                bench.publish_with(1, REGTEST);
                talk.newest();
            },
            Ok(()),
        ),
        (
            "on the ladder",
            |talk, _, _| {
                for second in 0..170 {
                    talk.later = Duration::from_secs(second);
                    talk.call("mining.submit", json!([]));
                }
            },
            Ok(()),
        ),
    ];
    for (name, change, expected) in cases {
        let bench =
            Bench::new(Settings { vardiff: VardiffSettings { enabled: true, ..settings().vardiff }, ..settings() });
        bench.publish_with(1, REGTEST);
        let (mut talk, mut miner) = bench.miner("alice.one");
        let mut share = miner.share();
        let target = warppool_work::Target::from_compact(REGTEST).unwrap();
        while !target.is_met_by(&miner.hash(&share)) {
            share.nonce += 1;
        }
        let mut params: Vec<Value> = serde_json::from_value(miner.params(&share)).unwrap();
        change(&mut talk, &bench, &mut params);
        let (answer, _) = talk.call("mining.submit", json!(params));
        match expected {
            Ok(()) => assert_eq!(answer["result"], true, "{name}: {answer}"),
            Err(code) => refused(&answer, code),
        }
        let blocks = bench.pool.blocks.lock().unwrap();
        assert_eq!(blocks.len(), 1, "{name}");
        let found = &blocks[0];
        assert_eq!(found.header.as_slice(), miner.header(&share), "{name}");
        assert_eq!(found.hash, block_hash(&found.header));
        assert_eq!(&*found.worker_name, "alice.one");
        assert_eq!(*found.payout, payout("alice"));
        let block: bitcoin::Block =
            bitcoin::consensus::deserialize(&found.job.block(&found.coinbase, &found.header, found.en1, found.en2))
                .unwrap_or_else(|_| panic!("{name}: not a block"));
        let paid = &block.txdata[0].output[0];
        assert_eq!(paid.script_pubkey.as_bytes(), payout("alice").script(), "{name}: the miner is paid");
    }
}

#[test]
fn nothing_but_rejects_leads_to_new_work_then_reconnect_then_the_door_and_a_ban() {
    let bench = Bench::new(adapting(1.0));
    bench.publish(1);
    let mut events = bench.bus.subscribe();
    let (mut talk, mut miner) = bench.miner("alice.bad");
    let mut heard = Vec::new();
    let mut end = None;
    for second in 0..=200 {
        talk.later = Duration::from_secs(second);
        let share = miner.share();
        match talk.raw(miner.line(&share)) {
            Ok(sent) => {
                heard.extend(sent[1..].iter().map(|line| (second, line["method"].clone(), line["params"].clone())));
            }
            Err((reason, sent)) => {
                refused(&sent[0], 23);
                end = Some((second, reason));
                break;
            }
        }
    }
    let steps: Vec<_> = heard.iter().map(|(second, method, _)| (*second, method.as_str().unwrap())).collect();
    assert_eq!(steps, [(60, "mining.notify"), (120, "client.reconnect")]);
    assert_eq!(heard[0].2[8], true, "clean: firmware drops a job it knows otherwise");
    assert_eq!(heard[1].2, json!([]), "to the same host");
    assert_eq!(end, Some((180, Reason::OnlyRejects)));

    let bans = bench.server.bans();
    assert_eq!((bans.len(), &*bans[0].worker, bans[0].address), (1, "alice.bad", peer().ip()));
    let mut again = bench.talk();
    let (answer, _) = again.call("mining.authorize", json!(["alice.bad", "x"]));
    assert_eq!((answer["result"].clone(), answer["error"][0].clone()), (json!(false), json!(24)));
    assert!(answer["error"][1].as_str().unwrap().contains("shut out for"), "{answer}");
    assert_eq!(again.result("mining.authorize", json!(["alice.good", "x"])), true, "only that worker");
    assert!(bench.server.unban(peer().ip(), "alice.bad"));
    assert_eq!(again.result("mining.authorize", json!(["alice.bad", "x"])), true);
    let mut banned = false;
    while let Some(Some(envelope)) = now_or_never(events.next()) {
        banned |= matches!(&envelope.event, Event::Banned { who, .. } if who.starts_with("alice.bad from"));
    }
    assert!(banned, "watchers are told");
}

fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn duplicates_alone_never_ban() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    let share = miner.share();
    talk.call("mining.submit", miner.params(&share));
    for second in 0..1000 {
        talk.later = Duration::from_secs(second);
        let (answer, rest) = talk.call("mining.submit", miner.params(&share));
        refused(&answer, 22);
        assert!(rest.is_empty());
    }
}

#[test]
fn bans_can_be_off() {
    let bench = Bench::new(Settings { ban: None, ..adapting(1.0) });
    bench.publish(1);
    let (mut talk, mut miner) = bench.miner("alice");
    let ended = (0..=200).find_map(|second| {
        talk.later = Duration::from_secs(second);
        let share = miner.share();
        talk.raw(miner.line(&share)).err()
    });
    assert_eq!(ended.map(|(reason, _)| reason), Some(Reason::OnlyRejects));
    assert!(bench.server.bans().is_empty());
}

#[test]
fn a_block_behind_the_line_that_ends_the_connection_is_told() {
    // Where the bytes are cut into two reads: nowhere, in the line that ends it, in the block.
    for (name, cut) in [("whole", Some(0)), ("in the last line", Some(10)), ("in the block", None)] {
        let bench = Bench::new(settings());
        bench.publish_with(1, REGTEST);
        let (mut talk, mut miner) = bench.miner("alice");
        // Half of all hashes are blocks.
        let difficulty = warppool_work::Target::from_compact(REGTEST).unwrap().difficulty();
        let (bad, block) =
            (String::from("{\"id\":4,\"method\":\"mining.submit\",\"params\":[]}\n"), miner.mine(difficulty));
        for second in 0..180 {
            talk.later = Duration::from_secs(second);
            refused(&talk.raw(&bad).unwrap()[0], 20);
        }
        talk.later = Duration::from_mins(3);
        // The first line ends it; between it and the block is what else a miner may send.
        let lines = format!("{bad}{bad}{{\"id\":1,\"result\":true}}\n{bad}{}", miner.line(&block));
        let cut = cut.unwrap_or(lines.len() - 10);
        let ended = [&lines[..cut], &lines[cut..]].map(|read| talk.raw(read).err());
        let reasons: Vec<_> = ended.iter().flatten().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, [Reason::OnlyRejects], "once, {name}");
        assert_eq!(bench.pool.blocks.lock().unwrap().len(), 1, "{name}");
        assert_eq!(bench.pool.outcomes().last(), Some(&Outcome::Accepted), "{name}");
    }
}

#[test]
fn old_jobs_are_kept_for_blocks_and_payouts_come_back_for_them() {
    let bench = Bench::new(settings());
    bench.publish_with(1, REGTEST);
    let (mut talk, mut miner) = bench.miner("alice");
    let mut share = miner.share();
    let target = warppool_work::Target::from_compact(REGTEST).unwrap();
    while !target.is_met_by(&miner.hash(&share)) {
        share.nonce += 1;
    }
    for prev in 2..20 {
        bench.publish(prev);
    }
    talk.later = Duration::from_secs(599);
    refused(&talk.call("mining.submit", miner.params(&share)).0, 21);
    assert_eq!(bench.pool.blocks.lock().unwrap().len(), 1);
}
