//! The rooms one by one: what they answer, and what they refuse.

use axum::http::StatusCode;
use serde_json::Value;

use crate::fake::{Fake, NASTY, worker};
use crate::http::{get, request, send};

#[tokio::test]
async fn the_overview_is_the_pools_own() {
    let answer = get(&Fake::new(), "/api/overview").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let overview = answer.json();
    assert_eq!(overview["network"]["height"], 840_002);
    assert_eq!(overview["nodes"][0]["state"], "ready");
    assert_eq!(overview["connect"]["plain_port"], 3333);
}

#[tokio::test]
async fn workers_come_page_by_page_and_by_presence() {
    let pool = Fake::new();
    pool.state().workers = (0..250).map(|n| worker(&format!("w{n}"), n < 30)).collect();
    for (query, first, listed, total) in [
        ("", "w0", 100, 250),
        ("?limit=1", "w0", 1, 250),
        ("?limit=1000", "w0", 250, 250),
        ("?limit=7&offset=5", "w5", 7, 250),
        ("?offset=249", "w249", 1, 250),
        ("?online=true&limit=20&offset=20", "w20", 10, 30),
        ("?online=false", "w30", 100, 220),
    ] {
        let answer = get(&pool, &format!("/api/workers{query}")).await.json();
        let list = answer["workers"].as_array().unwrap();
        assert_eq!((list.len(), &answer["total"]), (listed, &Value::from(total)), "{query}");
        assert_eq!(list[0]["name"], first, "{query}");
    }
    let beyond = get(&pool, "/api/workers?offset=18446744073709551615").await;
    assert_eq!(beyond.json()["workers"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_worker_is_found_by_its_name_whatever_is_in_it() {
    let pool = Fake::new();
    let encoded = NASTY.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    for (path, name) in [("bc1qexample.rig1", "bc1qexample.rig1"), (encoded.as_str(), NASTY)] {
        let answer = get(&pool, &format!("/api/workers/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()["name"], name);
        let pace = get(&pool, &format!("/api/hashrate?worker={path}")).await;
        assert_eq!(pace.json()["worker"], name);
    }
}

#[tokio::test]
async fn no_markup_of_a_name_stands_in_an_answer_as_itself() {
    let pool = Fake::new();
    for path in ["/api/workers", "/api/blocks", "/api/overview", "/api/workers/%3Cscript%3E", "/%3Cscript%3E"] {
        let text = get(&pool, path).await.text;
        assert!(!text.contains(['<', '>', '&']), "{path}: {text}");
    }
    let workers = get(&pool, "/api/workers").await.json();
    assert!(workers["workers"].as_array().unwrap().iter().any(|worker| worker["name"] == NASTY));
}

#[tokio::test]
async fn blocks_come_newest_first_up_to_a_limit() {
    let pool = Fake::new();
    let all = get(&pool, "/api/blocks").await.json();
    assert_eq!(all["blocks"].as_array().unwrap().len(), 2);
    assert_eq!(all["blocks"][0]["fate"], "pending");
    let one = get(&pool, "/api/blocks?limit=1").await.json();
    assert_eq!(one["blocks"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_pace_comes_over_each_span() {
    let pool = Fake::new();
    for (query, hours) in
        [("", 24u64), ("?span=12h", 12), ("?span=1d", 24), ("?span=1w", 168), ("?span=1m", 720), ("?span=1y", 8760)]
    {
        let answer = get(&pool, &format!("/api/hashrate{query}")).await.json();
        assert_eq!(answer["span_ms"], hours * 3_600_000, "{query}");
        assert!(answer["points"][0]["hashrate"].as_f64().unwrap() > 0.0);
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_named_with_its_remedy() {
    let pool = Fake::new();
    for (path, field) in [
        ("/api/workers?limit=0", "limit"),
        ("/api/workers?limit=1001", "limit"),
        ("/api/workers?limit=", "limit"),
        ("/api/workers?limit=ten", "limit"),
        ("/api/workers?limit=99999999999999999999999", "limit"),
        ("/api/workers?offset=-1", "offset"),
        ("/api/workers?online=yes", "online"),
        ("/api/workers?online", "online"),
        ("/api/workers?lmit=5", "lmit"),
        ("/api/workers?limit=5&limit=6", "limit"),
        ("/api/workers/%FF", "worker"),
        ("/api/workers/rig?x=1", "x"),
        ("/api/blocks?limit=0", "limit"),
        ("/api/blocks?offset=1", "offset"),
        ("/api/hashrate?span=2d", "span"),
        ("/api/hashrate?span=%FF", "span"),
        ("/api/overview?x", "x"),
        ("/api/events?after=x", "after"),
        ("/api/events?before=1", "before"),
    ] {
        let answer = get(&pool, path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer.problem(), "bad_parameter", "{path}");
        assert_eq!(answer.json()["field"], field, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_of_its_own_kind() {
    let pool = Fake::new();
    for (path, code) in [
        ("/api", "no_such_path"),
        ("/api/", "no_such_path"),
        ("/api/nothing", "no_such_path"),
        ("/api/workers/", "no_such_path"),
        ("/nothing", "no_such_path"),
        ("/../etc/passwd", "no_such_path"),
        ("/api/workers/nobody", "no_such_worker"),
        ("/api/hashrate?worker=nobody", "no_such_worker"),
        ("/api/hashrate?worker=", "no_such_worker"),
    ] {
        let answer = get(&pool, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.problem(), code, "{path}");
    }
}

#[tokio::test]
async fn everything_can_be_read_and_nothing_changed() {
    let pool = Fake::new();
    let paths = [
        "/",
        "/page.css",
        "/page.js",
        "/icon.svg",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/overview",
        "/api/workers",
        "/api/workers/bc1qexample.rig1",
        "/api/blocks",
        "/api/hashrate",
    ];
    for path in paths {
        let head = send(&pool, request("HEAD", path)).await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let answer = send(&pool, request(method, path)).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.problem(), "method_not_allowed");
            assert_eq!(answer.header("allow"), "GET,HEAD", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_is_told_and_harms_nothing_else() {
    let pool = Fake::new();
    pool.state().is_unreadable = true;
    for path in ["/api/blocks", "/api/hashrate"] {
        let answer = get(&pool, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.problem(), "ledger");
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert_eq!(get(&pool, "/api/overview").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reader_that_panics_costs_one_answer() {
    let pool = Fake::new();
    let poisoner = pool.clone();
    // A poisoned lock makes every further read of the made-up pool panic.
    let _ = std::thread::spawn(move || {
        let _state = poisoner.state();
        panic!("on purpose");
    })
    .join();
    let answer = get(&pool, "/api/overview").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.problem(), "internal");
    assert_eq!(get(&pool, "/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_page_and_its_parts_have_their_types() {
    let pool = Fake::new();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = get(&pool, path).await;
        assert_eq!(answer.header("content-type"), kind);
        assert_eq!(answer.header("cache-control"), "no-cache");
    }
}
