use super::*;
use crate::miner::fake_pool::{Bent, FakePool};

fn options(pool: &FakePool) -> Options {
    Options {
        connections: 5,
        pipeline: 4,
        seconds: 0.3,
        warm_up_seconds: 0.05,
        ..Options::new(&pool.address, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080.{n}")
    }
}

async fn load(options: Options) -> LoadReport {
    match run(options).await.unwrap() {
        Report::Load(report) => *report,
        Report::Idle(report) => panic!("{report}"),
    }
}

/// Tells a share's hash from a foreign submit as a pool would.
fn difficulty_of_submit(line: &str) -> f64 {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let param = |n: usize| line["params"][n].as_str().unwrap();
    let user = param(0).rsplit_once('.').unwrap().1.parse::<u32>().unwrap();
    assert_eq!(param(1), "j0");
    let notify = serde_json::json!({"method": "mining.notify", "params": ["j0", "0".repeat(64), "01".repeat(60),
        "02".repeat(60), vec!["ab".repeat(32); 4], "20000000", "207fffff", "65000000", true]});
    let Ok(crate::miner::wire::ServerLine::Notify(notify)) = crate::miner::wire::parse(notify.to_string().as_bytes())
    else {
        panic!("no notify")
    };
    let ntime = u32::from_str_radix(param(3), 16).unwrap();
    // The pool gives extranonces 1 in the order of connections, which need not be that of our numbers: try them all.
    let nonce = u32::from_str_radix(param(4), 16).unwrap();
    let extranonce2 = hex::decode(param(2)).unwrap();
    assert!(user < 5 && extranonce2.len() == 8);
    let difficulty = |extranonce1: u32| {
        let mut header = notify.header(&extranonce1.to_be_bytes(), &extranonce2, notify.version, ntime);
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        crate::miner::hash::difficulty_of(&crate::miner::hash::sha256d(&header))
    };
    (0..5).map(difficulty).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kth_refusal_is_counted_as_one_and_no_share_is_sent_twice() {
    for split_writes in [false, true] {
        let pool = FakePool::start(Bent { reject_every: Some(5), split_writes, ..Bent::default() }).await;
        let report = load(options(&pool)).await;
        assert_eq!((report.unanswered, report.disconnects, pool.repeated()), (0, 0, 0));
        let total = report.accepted + report.refused;
        assert!(total > 100 && pool.submits() >= total, "{report}");
        assert_eq!(report.refused_by_code.keys().collect::<Vec<_>>(), [&23]);
        // The window cuts the sequence of refusals at both ends, and answers of several connections overtake.
        let share = report.refused as f64 / total as f64;
        assert!((0.19..0.21).contains(&share) || total < 1000, "{report}");
        let latency = report.latency_ms.unwrap();
        assert!(0.0 < latency.min && latency.p50 <= latency.p99 && latency.p99 <= latency.max);
        assert!((report.answers_per_second * report.seconds - total as f64).abs() < 1.0);
        assert!(report.notes.iter().any(|note| note.contains("refused")), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_pipeline_is_in_flight_on_every_connection() {
    // A pool that never answers a submit.
    let pool = FakePool::start(Bent { instead: Some(("mining.submit", "{}".into())), ..Bent::default() }).await;
    let mute = Options { seconds: 0.1, ..options(&pool) };
    let report = load(mute).await;
    assert_eq!((report.unanswered, report.accepted, report.refused), (20, 0, 0));
    assert_eq!(report.latency_ms, None);
    let lines = pool.heard(|lines| lines.iter().filter(|line| line.contains("mining.submit")).count() == 20).await;
    assert_eq!(lines.len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_meet_a_difficulty_that_some_hashes_miss() {
    let pool = FakePool::start(Bent { difficulty: Some(1e-9), ..Bent::default() }).await;
    let report = load(Options { seconds: 0.1, ..options(&pool) }).await;
    assert!(report.accepted > 0 && report.notes.iter().any(|note| note.contains("tries 4 hashes")), "{report}");
    let lines = pool.heard(|lines| lines.len() > 100).await;
    let submits: Vec<_> = lines.iter().filter(|line| line.contains("mining.submit")).collect();
    assert!(submits.len() > 50 && pool.repeated() == 0);
    for line in submits {
        assert!(difficulty_of_submit(line) >= 1e-9, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_made_to_be_refused_are_counted_by_their_refusal() {
    let bent = Bent { difficulty: Some(1e6), reject_every: Some(1), nbits: "1d00ffff", ..Bent::default() };
    let pool = FakePool::start(bent).await;
    let report = load(Options { mode: Mode::Refused, pid: Some(std::process::id()), ..options(&pool) }).await;
    assert!(report.accepted == 0 && report.refused_by_code[&23] == report.refused && report.refused > 100);
    assert_eq!((report.notes, pool.repeated()), (vec![], 0));
    #[cfg(target_os = "linux")]
    {
        let ns = report.cpu_ns_per_share.unwrap();
        assert!(ns > 0.0 && (report.ratio.unwrap() - ns / report.hash_floor_ns).abs() < 1e-9);
        assert!(report.process.unwrap().resident_after_bytes > 1 << 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_floor_is_counted_for_the_pools_own_coinbase_and_for_twelve_branches() {
    let pool = FakePool::start(Bent { coinb1: 130, branches: 5, ..Bent::default() }).await;
    let report = load(Options { seconds: 0.05, ..options(&pool) }).await;
    // 130 + 4 + 8 + 60 bytes: four blocks with their padding, two of them kept.
    assert_eq!((report.coinbase_bytes, report.branches), (202, 5));
    assert_eq!(report.hash_floor_compressions.total, 3 + 36 + 3);
    assert_eq!(report.actual_floor_compressions.total, 3 + 15 + 3);
    assert!(report.hash_floor_ns > report.actual_floor_ns && report.actual_floor_ns > 100.0);
    assert!(report.cpu_ns_per_share.is_none() && report.ratio.is_none());
    let json = serde_json::to_value(Report::Load(Box::new(report))).unwrap();
    assert!(json["hash_floor_ns"].is_number() && json["ratio"].is_null() && json["mode"] == "accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_job_and_a_new_difficulty_are_taken_up_at_once() {
    let pool = FakePool::start(Bent::default()).await;
    let running = tokio::spawn(load(Options { connections: 2, pipeline: 1, seconds: 1.0, ..options(&pool) }));
    pool.heard(|lines| lines.iter().any(|line| line.contains("mining.submit"))).await;
    pool.say(r#"{"id":null,"method":"mining.set_difficulty","params":[2e-10]}"#);
    pool.new_job("j1", &"11".repeat(32));
    let report = running.await.unwrap();
    assert!((report.difficulty - 2e-10).abs() < 1e-20 && report.accepted > 0);
    assert_eq!(pool.repeated(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_held_authorized_or_silent() {
    for (mode, lines) in [(Mode::Idle, 200), (Mode::IdleConnected, 0)] {
        let pool = FakePool::start(Bent::default()).await;
        let pid = cfg!(target_os = "linux").then(std::process::id);
        let idle = Options { connections: 100, seconds: 0.05, mode, pid, ..options(&pool) };
        let Report::Idle(report) = run(idle).await.unwrap() else { panic!("not idle") };
        assert_eq!((report.connections, report.disconnects, pool.connections()), (100, 0, 100));
        assert_eq!(report.resident_bytes_per_connection.is_some(), pid.is_some());
        assert_eq!(pool.heard(|heard| heard.len() >= lines).await.len(), lines);
        assert!(report.ready_ms.unwrap().min > 0.0 && report.to_string().contains("100 idle connections"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_told() {
    let refusing = FakePool::start(Bent { refuse_authorize: true, ..Bent::default() }).await;
    let closing = FakePool::start(Bent { hang_up_after: Some(1), ..Bent::default() }).await;
    let odd =
        Bent { instead: Some(("mining.subscribe", r#"{"id":$ID,"result":7,"error":null}"#.into())), ..Bent::default() };
    let odd = FakePool::start(odd).await;
    let cases = [
        (options(&refusing), "unauthorized"),
        (options(&closing), "closed every connection"),
        (options(&odd), "mining.subscribe was answered 7"),
        (Options { target: "127.0.0.1:1".into(), ..options(&odd) }, "refused"),
        (Options { target: "nowhere".into(), ..options(&odd) }, "HOST:PORT"),
        (Options { connections: 0, ..options(&odd) }, "--connections"),
        (Options { seconds: f64::NAN, ..options(&odd) }, "--seconds"),
        (Options { pipeline: 0, ..options(&odd) }, "--pipeline"),
    ];
    for (options, told) in cases {
        let error = format!("{:#}", run(options).await.unwrap_err());
        assert!(error.contains(told), "{error}");
    }
}
