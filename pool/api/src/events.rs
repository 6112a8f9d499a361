//! `/api/events`: what happens, as it happens (server-sent events), with replay for those who were away for a moment.
//!
//! An event's id is `START-N`: the start of the pool's run and the event's number in it. An id of another run replays all
//! that is remembered; a gap in the numbers says that events were lost.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt as _, future, stream};
use serde::Deserialize;
use warppool_events::{Envelope, Subscription};

use crate::app::App;
use crate::params::Params;
use crate::{Problem, json};

/// How soon a reader that lost the stream should try again.
const RETRY: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/events", get(events))
}

async fn events(State(app): State<App>, headers: HeaderMap, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["after"])?;
    let subscription = subscribe(&app, &headers, params.text("after"))?;
    let Ok(place) = Arc::clone(&app.streams).try_acquire_owned() else { return Err(Problem::streams()) };

    let run = app.pool.started_ms();
    let greeting =
        Frame::default().retry(RETRY).comment("the pool's events; a comment like this one is its heart-beat");
    let frames = stream::unfold((subscription, place), move |(mut subscription, place)| async move {
        let envelope = subscription.next().await?;
        Some((frame(run, &envelope), (subscription, place)))
    });
    let frames = stream::once(future::ready(greeting))
        .chain(frames)
        .map(Ok::<_, Infallible>)
        .take_until(app.shutdown.clone().cancelled_owned());
    let beat = KeepAlive::new().interval(app.heart_beat).text("beat");
    // A proxy that collects answers before it passes them on would hold events back.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(([unbuffered], Sse::new(frames).keep_alive(beat)).into_response())
}

/// From after the event last seen: the reader's own memory (`Last-Event-ID`) is newer than the address it asks at.
fn subscribe(app: &App, headers: &HeaderMap, after: Option<&str>) -> Result<Subscription, Problem> {
    let bus = app.pool.bus();
    let run = app.pool.started_ms();
    if let Some(last) = headers.get("last-event-id") {
        let seen = last.to_str().ok().and_then(|id| number(id, run)).unwrap_or(0);
        return Ok(bus.subscribe_after(seen));
    }
    match after {
        None => Ok(bus.subscribe()),
        Some(id) => number(id, run).map(|seen| bus.subscribe_after(seen)).ok_or_else(|| {
            Problem::parameter("after", format!("after is {id:?}"), "give an event's id; 0 is before all of them")
        }),
    }
}

/// The number in an id, 0 if it is of another run; a bare number is of this one.
fn number(id: &str, run: u64) -> Option<u64> {
    match id.split_once('-') {
        None => id.parse().ok(),
        Some((of, number)) => {
            let (of, number): (u64, u64) = (of.parse().ok()?, number.parse().ok()?);
            Some(if of == run { number } else { 0 })
        }
    }
}

fn frame(run: u64, envelope: &Envelope) -> Frame {
    #[derive(Deserialize)]
    struct Named {
        r#type: String,
    }
    let frame = Frame::default().id(format!("{run}-{}", envelope.id));
    let Ok(data) = json::text(envelope) else { return frame.comment("an event that cannot be written") };
    match serde_json::from_str::<Named>(&data) {
        Ok(Named { r#type }) => frame.event(r#type).data(data),
        Err(_) => frame.data(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_run_counts_from_the_beginning() {
        let cases = [
            ("17", Some(17)),
            ("0", Some(0)),
            ("1000-17", Some(17)),
            ("999-17", Some(0)),
            ("1000-", None),
            ("-17", None),
            ("x", None),
            ("", None),
            ("99999999999999999999999", None),
        ];
        for (id, expected) in cases {
            assert_eq!(number(id, 1000), expected, "{id:?}");
        }
    }
}
