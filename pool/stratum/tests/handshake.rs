//! What real firmware sends before and beside its shares, and what it needs to hear.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::*;
use warppool_stratum::{Reason, Settings};
use warppool_work::{VardiffSettings, VardiffState};

fn methods(sent: &[Value]) -> Vec<&str> {
    sent.iter().map(|line| line["method"].as_str().unwrap_or("answer")).collect()
}

#[test]
fn the_handshake_works_in_any_order_pipelined_or_not() {
    let steps = [
        json!({"id": 1, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "ffffffff"}]}),
        json!({"id": 2, "method": "mining.subscribe", "params": ["bitaxe/BM1366"]}),
        json!({"id": 3, "method": "mining.authorize", "params": ["alice.rig", "x"]}),
        json!({"id": 4, "method": "mining.suggest_difficulty", "params": [1000]}),
    ];
    let orders = [[0, 1, 2, 3], [1, 2, 0, 3], [2, 1, 3, 0], [3, 2, 0, 1], [2, 0, 3, 1], [1, 0, 3, 2]];
    for (order, pipelined) in orders.iter().flat_map(|order| [(order, true), (order, false)]) {
        let bench = Bench::new(settings());
        bench.publish(1);
        let mut talk = bench.talk();
        let sent: Vec<Value> = if pipelined {
            talk.raw(order.map(|n| steps[n].to_string()).join("\n") + "\n").unwrap()
        } else {
            order.iter().flat_map(|n| talk.say(&steps[*n])).collect()
        };
        let answers: Vec<_> = sent.iter().filter_map(|line| line["id"].as_u64()).collect();
        assert_eq!(answers, order.map(|n| n as u64 + 1), "every request is answered, in order");
        let place = |method: &str| sent.iter().position(|line| line["method"] == method);
        let answered = |id: u64| sent.iter().position(|line| line["id"] == id);
        let (difficulty, notify) = (place("mining.set_difficulty").unwrap(), place("mining.notify").unwrap());
        assert!(difficulty < notify, "difficulty comes before the first job: {sent:?}");
        assert!(answered(2).unwrap() < difficulty, "nothing but answers before the answer to subscribe: {sent:?}");
        assert!(answered(3).unwrap() < difficulty, "no job before authorization: {sent:?}");
        assert_eq!(talk.with.info().difficulty, Some(1000.0), "{order:?}");
    }
}

#[test]
fn answers_have_id_result_and_error_and_the_id_as_it_came() {
    let bench = Bench::new(settings());
    for id in
        ["1", "0", "-7", "1.50", "1e3", "123456789012345678901234567890", "\"a b\"", "\"\\u00e9\\\"\"", "null", "true"]
    {
        for method in ["mining.ping", "mining.subscribe", "mining.nonsense", "mining.submit"] {
            let mut out = Vec::new();
            let line = format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":[]}}\n");
            bench.talk().with.receive(line.as_bytes(), &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert!(out.starts_with(&format!("{{\"id\":{id},\"result\":")), "{line} gives {out}");
            assert!(out.contains(",\"error\":") && out.ends_with("}\n"), "{out}");
        }
    }
    let (answer, _) = bench.talk().call("mining.ping", json!([]));
    assert_eq!(answer, json!({"id": 7, "result": "pong", "error": null}));
    assert_eq!(bench.talk().say(&json!({"method": "mining.ping"}))[0]["id"], Value::Null, "no id is as good as null");
}

#[test]
fn the_answer_to_subscribe_has_the_form_every_firmware_reads() {
    let bench = Bench::new(settings());
    for params in
        [json!([]), json!(["agent"]), json!(["agent", "session"]), json!(["agent", null, "host", 3333]), json!(null)]
    {
        let result = bench.talk().result("mining.subscribe", params.clone());
        assert_eq!(result[0][0][0], "mining.set_difficulty", "{params}");
        assert_eq!(result[0][1][0], "mining.notify");
        assert!(result[0][0][1].is_string(), "NerdMiner reads a session id here");
        assert_eq!(result[1].as_str().unwrap().len(), 8, "extranonce 1 has 4 bytes");
        assert_eq!(result[2], 8);
    }
}

#[test]
fn each_session_has_an_extranonce_of_its_own_and_keeps_it() {
    let bench = Bench::new(settings());
    let (mut first, mut second) = (bench.talk(), bench.talk());
    let en1 = |talk: &mut Talk| talk.result("mining.subscribe", json!([]))[1].clone();
    let one = en1(&mut first);
    assert_ne!(one, en1(&mut second));
    assert_eq!(one, en1(&mut first));
}

#[test]
fn the_odds_and_ends_are_answered() {
    let bench = Bench::new(settings());
    let mut talk = bench.talk();
    let mut case =
        |method: &str, params: Value, expected: Value| assert_eq!(talk.result(method, params), expected, "{method}");
    case("mining.extranonce.subscribe", json!([]), json!(true));
    case("mining.get_transactions", json!(["6a"]), json!([]));
    case("mining.ping", json!([]), json!("pong"));
    case("mining.multi_version", json!([4]), json!(true));
    case("mining.auth", json!(["bob", "x"]), json!(true));
    assert!(talk.result("client.get_version", json!([])).as_str().unwrap().starts_with("WarpPool/"));
    let (unknown, _) = talk.call("mining.nonsense", json!([]));
    assert_eq!(unknown["error"][0], -32601);
    assert_eq!(talk.result("mining.ping", json!([])), "pong", "still connected");
}

#[test]
fn configure_answers_each_extension() {
    let bench = Bench::new(settings());
    let mut talk = bench.talk();
    let mut case = |params: Value, expected: Value| {
        assert_eq!(talk.result("mining.configure", params.clone()), expected, "{params}");
    };
    let granted = json!({"version-rolling": true, "version-rolling.mask": "1fffe000"});
    let mask = "version-rolling.mask";
    case(json!([["version-rolling"], {mask: "ffffffff", "version-rolling.min-bit-count": 2}]), granted.clone());
    case(json!([["version-rolling"], {mask: "1fffe000", "version-rolling.min-bit-count": 16}]), granted.clone());
    case(json!([["version-rolling"], {mask: "0x1FFFE000"}]), granted.clone());
    case(json!([["version-rolling"]]), granted.clone());
    case(json!([["version-rolling"], {mask: "00c00000"}]), json!({"version-rolling": true, mask: "00c00000"}));
    case(json!([["version-rolling"], {mask: "00000fff"}]), json!({"version-rolling": false}));
    case(json!([["version-rolling"], {mask: "mask"}]), json!({"version-rolling": false}));
    case(
        json!([["minimum-difficulty", "subscribe-extranonce", "info", "fly"], {"minimum-difficulty.value": 2048}]),
        json!({"minimum-difficulty": true, "subscribe-extranonce": true, "info": true, "fly": false}),
    );
    case(json!([["minimum-difficulty"], {}]), json!({"minimum-difficulty": false}));
    for nonsense in [json!([]), json!(null), json!([1, 2]), json!({}), json!([[[]], 5])] {
        case(nonsense, json!({}));
    }
}

/// Agent, said before authorizing, password, what the pool remembers, what the operator set; expected.
type Start<'a> = (&'a str, Option<(&'a str, Value)>, &'a str, Option<VardiffState>, Option<f64>, f64);

#[test]
fn the_start_difficulty_goes_by_wish_then_memory_then_setting_then_device() {
    let memory = VardiffState { difficulty: d(5000.0), rate: 500.0 };
    let suggest = |value: Value| Some(("mining.suggest_difficulty", value));
    let cases: &[Start<'_>] = &[
        ("NerdMinerV2", None, "x", None, None, 0.001),
        ("cpuminer/2.5", None, "x", None, None, 0.1),
        ("bitaxe/BM1366", None, "x", None, None, 1000.0),
        ("NerdQAxe++", None, "x", None, None, 8000.0),
        ("cgminer/4.11.1", None, "x", None, None, 16384.0),
        ("whatsminer", None, "x", None, None, 262_144.0),
        ("NiceHash/1", None, "x", None, None, 1_000_000.0),
        ("", None, "x", None, None, 256.0),
        ("bitaxe", None, "x", None, Some(64.0), 64.0),
        ("bitaxe", None, "x", Some(memory), Some(64.0), 5000.0),
        ("bitaxe", suggest(json!([512])), "x", Some(memory), Some(64.0), 512.0),
        ("bitaxe", suggest(json!(512)), "x", None, None, 512.0),
        ("bitaxe", suggest(json!(["512"])), "x", None, None, 512.0),
        ("NerdMiner", suggest(json!([0.00015])), "x", None, None, 0.00015),
        ("bitaxe", suggest(json!(["1e3"])), "x", None, None, 1000.0),
        ("bitaxe", suggest(json!([512.7])), "x", None, None, 512.0),
        ("bitaxe", suggest(json!([0])), "x", None, None, 1000.0),
        ("bitaxe", suggest(json!([1e-300])), "x", None, None, 1e-10),
        ("bitaxe", suggest(json!([1e300])), "x", None, None, 1e15),
        (
            "bitaxe",
            Some(("mining.suggest_target", json!([format!("{:0>64}", "f".repeat(54))]))),
            "x",
            None,
            None,
            255.0,
        ),
        ("bitaxe", suggest(json!([100])), "d=512", Some(memory), None, 512.0),
        ("bitaxe", None, "diff=0.5", None, None, 0.5),
        ("bitaxe", None, "x,d=64", None, None, 64.0),
    ];
    for (agent, before, password, resumed, initial, expected) in cases {
        let vardiff = VardiffSettings { enabled: true, ..settings().vardiff };
        let bench = Bench::new(Settings { initial_difficulty: initial.map(d), vardiff, ..settings() });
        // No network difficulty below any of these.
        bench.publish_with(1, 0x1703_a30c);
        *bench.pool.resume.lock().unwrap() = *resumed;
        let mut talk = bench.talk();
        talk.call("mining.subscribe", json!([agent]));
        if let Some((method, params)) = before {
            assert_eq!(talk.result(method, params.clone()), true);
        }
        let (_, sent) = talk.call("mining.authorize", json!(["alice", password]));
        assert_eq!(methods(&sent), ["mining.set_difficulty", "mining.notify"]);
        let difficulty = sent[0]["params"][0].as_f64().unwrap();
        let bounded = expected.min(bench.job(1, 0x1703_a30c).network_target.difficulty());
        assert!(
            (difficulty / bounded - 1.0).abs() < 1e-3,
            "{agent} {before:?} {password}: {difficulty}, not {expected}"
        );
        assert_eq!(talk.with.info().fixed, password.contains('='), "{password}");
    }
}

#[test]
fn a_repeated_suggestion_is_answered_and_changes_nothing() {
    let vardiff = VardiffSettings { enabled: true, ..settings().vardiff };
    let bench = Bench::new(Settings { vardiff, ..settings() });
    bench.publish(1);
    let (mut talk, _) = bench.miner("alice");
    let (answer, sent) = talk.call("mining.suggest_difficulty", json!([0.00015]));
    assert_eq!((answer["result"].clone(), methods(&sent)), (json!(true), vec!["mining.set_difficulty"]));
    for n in 1..100 {
        talk.later = Duration::from_secs(30 * n);
        assert_eq!(talk.call("mining.suggest_difficulty", json!([0.00015])).1, [] as [Value; 0], "the same again");
    }
    assert_eq!(methods(&talk.call("mining.suggest_difficulty", json!([0.5])).1), ["mining.set_difficulty"]);
}

#[test]
fn a_minimum_difficulty_holds_for_vardiff() {
    let vardiff = VardiffSettings { enabled: true, ..settings().vardiff };
    let bench = Bench::new(Settings { vardiff, initial_difficulty: Some(d(512.0)), ..settings() });
    bench.publish(1);
    let mut talk = bench.talk();
    talk.call("mining.configure", json!([["minimum-difficulty"], {"minimum-difficulty.value": 100}]));
    talk.log_in("alice", "x");
    for n in 1..200 {
        talk.later = Duration::from_secs(60 * n);
        talk.tick().unwrap();
    }
    assert_eq!(talk.with.info().difficulty, Some(100.0));
}

#[test]
fn refused_authorizations_are_answered_not_dropped() {
    let bench = Bench::new(Settings { password: Some("s3cret".into()), ..settings() });
    let mut talk = bench.talk();
    talk.call("mining.subscribe", json!(["bitaxe"]));
    let mut case = |params: Value, expected: Result<(), &str>| {
        let (answer, _) = talk.call("mining.authorize", params.clone());
        assert_eq!(answer["result"], expected.is_ok(), "{params}");
        match expected {
            Ok(()) => assert_eq!(answer["error"], Value::Null),
            Err(message) => {
                assert_eq!(answer["error"][0], 24);
                assert!(answer["error"][1].as_str().unwrap().contains(message), "{answer}");
            }
        }
    };
    case(json!(["alice", "x"]), Err("wrong pool password"));
    case(json!(["alice"]), Err("wrong pool password"));
    case(json!([]), Err("wrong pool password"));
    case(json!(["refused", "s3cret"]), Err("the address \"refused\" has a typing error"));
    case(json!(["alice.rig", "d=512,s3cret"]), Ok(()));
    case(json!(["alice.rig", "anything"]), Ok(()));
    case(json!(["alice.other", "s3cret"]), Ok(()));
    case(json!(["bob", "s3cret"]), Err("mines for another address"));
    let logins = bench.pool.logins.lock().unwrap();
    assert_eq!(logins[1], ("alice.rig".into(), "d=512,s3cret".into(), "bitaxe".into(), false));
}

#[test]
fn a_connection_has_sixteen_workers_at_most() {
    let bench = Bench::new(settings());
    let mut talk = bench.talk();
    for n in 0..16 {
        assert_eq!(talk.result("mining.authorize", json!([format!("alice.{n}"), "x"])), true);
    }
    assert_eq!(talk.result("mining.authorize", json!(["alice.16", "x"])), false);
    assert_eq!(talk.result("mining.authorize", json!(["alice.3", "x"])), true);
}

#[test]
fn a_job_fits_the_smallest_device() {
    let bench = Bench::new(settings());
    let published = bench.publish(3);
    let (_, miner) = bench.miner("alice");
    let length = |n: usize| miner.job[n].as_str().unwrap().len() / 2;
    assert!(length(2) + 4 + 8 + length(3) <= 255, "the coinbase has at most 255 bytes");
    assert_eq!(miner.job[0], published.id.to_string());
    let prev = miner.job[1].as_str().unwrap();
    assert!(prev.starts_with("060504030a090807"), "each group of four bytes is reversed: {prev}");
    assert_eq!(miner.job[5], "20000000");
    assert_eq!(miner.job[6], "1703a30c");
    assert_eq!(miner.job[8], true);
    assert_eq!(miner.job[4].as_array().unwrap().len(), published.branches.len());
}

#[test]
fn who_comes_before_the_first_job_gets_it_when_it_is_there() {
    let bench = Bench::new(settings());
    let mut talk = bench.talk();
    talk.call("mining.subscribe", json!([]));
    let (_, sent) = talk.call("mining.authorize", json!(["alice", "x"]));
    assert_eq!(methods(&sent), ["mining.set_difficulty"]);
    assert_eq!(talk.newest(), [] as [Value; 0]);
    bench.publish(1);
    assert_eq!(methods(&talk.newest()), ["mining.notify"]);
    assert_eq!(talk.newest(), [] as [Value; 0], "a job is never sent twice");
}

#[test]
fn probes_that_only_subscribe_and_authorize_make_no_worker() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let (mut probe, _) = bench.miner("probe");
    probe.later = Duration::from_secs(9);
    probe.tick().unwrap();
    drop(probe);
    assert!(bench.pool.connected.lock().unwrap().is_empty());
    assert!(bench.pool.disconnected.lock().unwrap().is_empty());

    let (mut stays, _) = bench.miner("stays");
    stays.later = Duration::from_secs(11);
    stays.tick().unwrap();
    let (mut submits, mut miner) = bench.miner("submits");
    let share = miner.share();
    submits.call("mining.submit", miner.params(&share));
    let names: Vec<_> =
        bench.pool.connected.lock().unwrap().iter().map(|s| s.name.as_deref().unwrap().to_owned()).collect();
    assert_eq!(names, ["stays", "submits"]);
    drop(submits);
    let gone = bench.pool.disconnected.lock().unwrap();
    assert_eq!((gone[0].0.name.as_deref(), gone[0].1), (Some("submits"), Reason::Closed));
    assert!(gone[0].2.is_some(), "its difficulty is told");
}

#[test]
fn who_does_not_authorize_in_time_is_dropped_and_nobody_is_idle_too_long_afterwards() {
    let bench = Bench::new(settings());
    bench.publish(1);
    let mut silent = bench.talk();
    silent.call("mining.subscribe", json!([]));
    silent.later = Duration::from_secs(59);
    assert!(silent.tick().is_ok());
    silent.later = Duration::from_secs(61);
    assert_eq!(silent.tick(), Err(Reason::AuthorizeTimeout));
    let (mut miner, _) = bench.miner("alice");
    miner.later = Duration::from_hours(7 * 24);
    assert!(miner.tick().is_ok());
}

#[test]
fn other_protocols_are_told_apart_and_shown_the_door() {
    let bench = Bench::new(settings());
    let case = |bytes: &[u8], expected: Reason| {
        let mut out = Vec::new();
        assert_eq!(bench.talk().with.receive(bytes, &mut out), Err(expected), "{}", bytes.escape_ascii());
        String::from_utf8(out).unwrap()
    };
    let answer = case(b"GET / HTTP/1.1\r\nHost: pool\r\n\r\n", Reason::Http);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Stratum"), "{answer}");
    case(b"POST /x HTTP/1.0\r\n", Reason::Http);
    case(&[0x16, 0x03, 0x01, 0x02, 0x00], Reason::TlsOnPlainPort);
    case(b"PROXY TCP4 192.0.2.7 192.0.2.1 5 3333\r\n", Reason::UnexpectedProxyHeader);
    case(&warppool_stratum::proxy::SIGNATURE, Reason::UnexpectedProxyHeader);
}

#[test]
fn garbage_is_answered_and_after_some_the_connection_ends() {
    let bench = Bench::new(settings());
    let mut talk = bench.talk();
    for _ in 0..3 {
        for _ in 0..4 {
            let sent = talk.raw("this is no JSON\n").unwrap();
            assert_eq!((sent[0]["id"].clone(), sent[0]["error"][0].clone()), (Value::Null, json!(-32700)));
        }
        assert_eq!(talk.result("mining.ping", json!([])), "pong", "a good line makes up for it");
    }
    assert_eq!(talk.raw("\n\r\n  \n").unwrap(), [] as [Value; 0], "empty lines are nothing");
    assert_eq!(
        talk.raw("{\"id\":5,\"result\":true,\"error\":null}\n").unwrap(),
        [] as [Value; 0],
        "an answer is no request"
    );
    assert_eq!(talk.raw("{\"id\":5}\n").unwrap()[0]["error"][0], -32600);
    let ended = talk.raw("x\n".repeat(10)).unwrap_err();
    assert_eq!((ended.0, ended.1.len()), (Reason::Garbage, 4));
}

#[test]
fn a_line_may_have_16_kib_and_not_a_byte_more() {
    let bench = Bench::new(settings());
    let line = |length: usize| {
        let start = "{\"id\":7,\"method\":\"mining.ping\",\"params\":[\"";
        format!("{start}{}\"]}}\n", "x".repeat(length - start.len() - 3))
    };
    for pieces in [1, 1000, 20_000] {
        let feed = |talk: &mut Talk, line: &str| {
            line.as_bytes().chunks(pieces).try_fold(Vec::new(), |mut all, piece| {
                all.extend(talk.raw(piece)?);
                Ok::<_, (Reason, Vec<Value>)>(all)
            })
        };
        assert_eq!(feed(&mut bench.talk(), &line(16 * 1024)).unwrap()[0]["result"], "pong");
        let (reason, sent) = feed(&mut bench.talk(), &line(16 * 1024 + 1)).unwrap_err();
        assert_eq!((reason, sent[0]["error"][0].clone()), (Reason::LineTooLong, json!(20)));
        let (reason, _) = feed(&mut bench.talk(), &"x".repeat(17 * 1024)).unwrap_err();
        assert_eq!(reason, Reason::LineTooLong, "a line without an end");
    }
}

#[test]
fn changed_settings_reach_living_sessions() {
    let vardiff = VardiffSettings { enabled: true, ..settings().vardiff };
    let bench = Bench::new(Settings { vardiff, initial_difficulty: Some(d(512.0)), ..settings() });
    bench.publish(1);
    let ((mut talk, _), mut fixed) = (bench.miner("alice"), bench.talk());
    fixed.log_in("bob", "d=600");
    let vardiff = VardiffSettings { min: d(1024.0), ..vardiff };
    bench.server.reconfigure(Settings { vardiff, ..bench.server.settings() });
    assert_eq!(methods(&talk.tick().unwrap()), ["mining.set_difficulty"]);
    assert_eq!(talk.with.info().difficulty, Some(1024.0));
    fixed.tick().unwrap();
    let info = fixed.with.info();
    assert_eq!(
        (info.difficulty, info.fixed),
        (Some(1024.0), true),
        "the operator's limits hold for a fixed one as well"
    );
}

#[test]
fn the_same_bytes_in_any_pieces_give_the_same_answers() {
    use proptest::prelude::*;
    let script = |miner: &mut Miner| {
        let shares: String = (0..5)
            .map(|_| {
                let s = miner.share();
                miner.line(&s)
            })
            .collect();
        format!(
            "{shares}garbage\n\r\n{}\n{shares}",
            json!({"id": "é", "method": "mining.configure", "params": [["info"], {}]})
        )
    };
    let all = |pieces: &[usize]| {
        let bench = Bench::new(settings());
        bench.publish(1);
        let (mut talk, mut miner) = bench.miner("alice");
        // Job ids and extranonces are the same for each fresh bench.
        let text = script(&mut miner);
        let (mut rest, mut out) = (text.as_bytes(), Vec::new());
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            talk.with.receive(now, &mut out).unwrap();
            rest = later;
        }
        (String::from_utf8(out).unwrap(), bench.pool.outcomes())
    };
    let whole = all(&[usize::MAX]);
    assert_eq!(whole.1.len(), 10);
    proptest!(ProptestConfig::with_cases(60), |(pieces in prop::collection::vec(1..200usize, 1..20))| {
        prop_assert_eq!(all(&pieces), whole.clone());
    });
}

#[test]
fn no_bytes_panic() {
    use proptest::prelude::*;
    let bench = Bench::new(settings());
    bench.publish(1);
    let value = || {
        prop_oneof![
            Just(json!(null)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            "\\PC{0,20}".prop_map(|s| json!(s)),
            Just(json!([])),
            Just(json!([[]])),
            Just(json!({"version-rolling.mask": 5})),
        ]
    };
    let method = prop::sample::select(vec![
        "mining.subscribe",
        "mining.authorize",
        "mining.configure",
        "mining.submit",
        "mining.suggest_difficulty",
        "mining.suggest_target",
        "mining.get_transactions",
        "client.get_version",
    ]);
    let call = (method, prop::collection::vec(value(), 0..8)).prop_map(|(method, params)| {
        format!("{}\n", json!({"id": 1, "method": method, "params": params})).into_bytes()
    });
    let bytes = prop::collection::vec(any::<u8>(), 0..100);
    proptest!(|(lines in prop::collection::vec(prop_oneof![3 => call, 1 => bytes], 1..20))| {
        let (mut talk, _) = bench.miner("alice");
        let mut out = Vec::new();
        for line in lines {
            if talk.with.receive(&line, &mut out).is_err() {
                break;
            }
        }
    });
}
