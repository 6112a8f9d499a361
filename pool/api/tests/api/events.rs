//! The stream of events: order, replay, heart-beat, places, and its end.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use warppool_api::{Limits, Pool as _, router};
use warppool_events::{Event, Level};

use crate::fake::{Fake, NASTY};
use crate::http::{raw, request};

fn notice(text: &str) -> Event {
    Event::Notice { level: Level::Info, message: text.into() }
}

/// Reads frame by frame.
struct Reader {
    body: BodyDataStream,
    buffer: String,
}

impl Reader {
    fn new(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), buffer: String::new() }
    }

    /// The next frame, without the empty line that ends it.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let frame = std::mem::replace(&mut self.buffer, rest);
                return Some(frame[..end].to_owned());
            }
            let chunk = self.body.next().await?.unwrap();
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event's id and data.
    async fn event(&mut self) -> (String, serde_json::Value) {
        loop {
            let frame = self.next().await.expect("the stream goes on");
            let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                assert_eq!(field("event:"), data["type"].as_str(), "the event is named by its type");
                return (id.to_owned(), data);
            }
        }
    }
}

fn resume(path: &str, last: &str) -> Request<Body> {
    let mut request = request("GET", path);
    request.headers_mut().insert("last-event-id", last.parse().unwrap());
    request
}

#[tokio::test]
async fn a_new_reader_is_told_when_to_try_again_and_gets_what_happens_from_now_on() {
    let pool = Fake::new();
    pool.bus().send(notice("before"));
    let mut reader = Reader::new(raw(&pool, request("GET", "/api/events")).await);
    assert!(reader.next().await.unwrap().contains("retry:"), "the first frame says how soon to try again");
    pool.bus().send(notice(NASTY));
    let (id, data) = reader.event().await;
    assert_eq!(id, format!("{}-2", pool.started_ms()));
    assert_eq!((&data["id"], &data["message"]), (&2.into(), &NASTY.into()));
}

#[tokio::test]
async fn a_reader_that_comes_back_gets_what_it_missed() {
    let pool = Fake::new();
    (0..5).for_each(|n| pool.bus().send(notice(&n.to_string())));
    let run = pool.started_ms();
    for (request, first) in [
        (resume("/api/events", &format!("{run}-3")), 4),
        (resume("/api/events", "3"), 4),
        (resume("/api/events", &format!("{}-3", run - 1)), 1),
        (resume("/api/events", "garbage"), 1),
        (resume("/api/events?after=1", &format!("{run}-4")), 5),
        (request("GET", "/api/events?after=0"), 1),
        (request("GET", &format!("/api/events?after={run}-2")), 3),
        (request("GET", "/api/events?after=900"), 1),
    ] {
        let mut reader = Reader::new(raw(&pool, request).await);
        for expected in first..=5 {
            assert_eq!(reader.event().await.0, format!("{run}-{expected}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_shows_that_it_lives_every_fifteen_seconds() {
    let pool = Fake::new();
    let mut reader = Reader::new(raw(&pool, request("GET", "/api/events")).await);
    reader.next().await.unwrap();
    for _ in 0..3 {
        let before = tokio::time::Instant::now();
        let frame = reader.next().await.unwrap();
        assert!(frame.lines().all(|line| line.starts_with(':')), "a comment, not an event: {frame:?}");
        assert_eq!(before.elapsed().as_secs_f64().round() as u64, 15);
    }
}

#[tokio::test]
async fn streams_have_a_limited_number_of_places_that_are_given_back() {
    let pool = Fake::new();
    let limits = Limits { streams: 2, ..Limits::default() };
    let app = router(Arc::new(pool), &limits, CancellationToken::new());
    let open = || async { app.clone().oneshot(request("GET", "/api/events")).await.unwrap() };
    let (first, _second) = (open().await, open().await);
    let refused = open().await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    drop(first);
    assert_eq!(open().await.status(), StatusCode::OK);
}

#[tokio::test]
async fn streams_end_at_once_when_the_pool_stops() {
    let pool = Fake::new();
    let shutdown = CancellationToken::new();
    let app = router(Arc::new(pool.clone()), &Limits::default(), shutdown.clone());
    let mut reader = Reader::new(app.oneshot(request("GET", "/api/events")).await.unwrap());
    reader.next().await.unwrap();
    shutdown.cancel();
    let end = tokio::time::timeout(Duration::from_secs(5), reader.next()).await;
    assert_eq!(end.expect("the stream ends"), None);
}
