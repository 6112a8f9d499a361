//! Requests that are not meant for this machine, and the headers of all answers.

use axum::body::Body;
use axum::http::{Request, StatusCode};

use crate::fake::Fake;
use crate::http::{get, request, send};

#[tokio::test]
async fn a_name_that_is_not_this_machines_gets_nothing() {
    let pool = Fake::new();
    for hosts in [
        &["evil.example"][..],
        &["evil.example:18334"],
        &["192.168.1.5:18334"],
        &["localhost.evil.example"],
        &["localhost", "evil.example"],
        &["localhost", "localhost"],
        &[],
        &[""],
    ] {
        for path in ["/", "/healthz", "/metrics", "/api/overview", "/api/events", "/nothing"] {
            let mut request = Request::builder().uri(path);
            for host in hosts {
                request = request.header("host", *host);
            }
            let answer = send(&pool, request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{hosts:?} {path}");
            assert_eq!(answer.problem(), "wrong_host");
        }
    }
    let whole = request("GET", "http://evil.example/api/overview");
    assert_eq!(send(&pool, whole).await.status, StatusCode::MISDIRECTED_REQUEST);
    let whole = request("GET", "http://127.0.0.1:18334/api/overview");
    assert_eq!(send(&pool, whole).await.status, StatusCode::OK);
}

#[tokio::test]
async fn other_sites_may_link_here_but_not_load_from_here() {
    let pool = Fake::new();
    for (site, mode, status) in [
        ("cross-site", "no-cors", StatusCode::FORBIDDEN),
        ("cross-site", "cors", StatusCode::FORBIDDEN),
        ("cross-site", "navigate", StatusCode::OK),
        ("same-origin", "cors", StatusCode::OK),
        ("none", "navigate", StatusCode::OK),
    ] {
        let mut request = request("GET", "/api/overview");
        request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        request.headers_mut().insert("sec-fetch-mode", mode.parse().unwrap());
        assert_eq!(send(&pool, request).await.status, status, "{site} {mode}");
    }
}

#[tokio::test]
async fn a_request_with_a_body_is_refused() {
    let pool = Fake::new();
    for (name, value, status) in [
        ("content-length", "1", StatusCode::PAYLOAD_TOO_LARGE),
        ("content-length", "99999999999", StatusCode::PAYLOAD_TOO_LARGE),
        ("transfer-encoding", "chunked", StatusCode::PAYLOAD_TOO_LARGE),
        ("content-length", "0", StatusCode::OK),
    ] {
        let mut request = request("GET", "/api/overview");
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(send(&pool, request).await.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn every_answer_keeps_the_page_to_itself() {
    let pool = Fake::new();
    let mut refused = request("GET", "/");
    refused.headers_mut().insert("host", "evil.example".parse().unwrap());
    for answer in [
        get(&pool, "/").await,
        get(&pool, "/api/overview").await,
        get(&pool, "/metrics").await,
        get(&pool, "/nothing").await,
        send(&pool, request("POST", "/")).await,
        send(&pool, refused).await,
    ] {
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "no CORS");
    }
}
