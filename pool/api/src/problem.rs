//! Faults as RFC 9457 has them: what happened, to what, and what to do about it, for programs and for people.

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use warppool_ledger::LedgerError;

/// An answer of `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Body>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Body {
    /// `urn:warppool:problem:` and the code.
    r#type: String,
    /// The same for every problem of this code.
    title: &'static str,
    status: u16,
    detail: String,
    /// For programs; never changes its meaning.
    code: &'static str,
    /// The parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
}

/// One of several things that are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

/// Seconds after which trying again makes sense.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Body {
            r#type: format!("urn:warppool:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            code,
            field: None,
            remedy: String::new(),
            causes: Vec::new(),
        }))
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = remedy.into();
        self
    }

    fn field(mut self, field: &str) -> Self {
        self.0.field = Some(field.to_owned());
        self
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).expect("made from a status code")
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no_such_path",
            "There is nothing at this address",
            format!("{path} is unknown"),
        )
        .remedy("the rooms are /api/overview, /api/workers, /api/blocks, /api/hashrate, /api/events, /metrics and /")
    }

    pub(crate) fn no_such_worker(name: &str) -> Self {
        let detail = format!("no worker named {name:?} is remembered");
        Self::new(StatusCode::NOT_FOUND, "no_such_worker", "This worker is unknown", detail)
            .field("worker")
            .remedy("/api/workers lists those there are; a worker is remembered from its first share on")
    }

    pub(crate) fn method(method: &Method) -> Self {
        let detail = format!("{method} is not possible here");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This address can only be read", detail)
            .remedy("use GET")
    }

    pub(crate) fn parameter(field: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", "A parameter is wrong", detail).field(field).remedy(remedy)
    }

    pub(crate) fn host() -> Self {
        let detail = "the Host header does not name this machine's loopback address";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", "This name is not served here", detail)
            .remedy("open http://127.0.0.1 or http://localhost with the pool's port, on the machine the pool runs on")
    }

    pub(crate) fn cross_site() -> Self {
        let detail = "another web site's page asked for this";
        Self::new(StatusCode::FORBIDDEN, "cross_site", "Other sites may not read the pool", detail)
            .remedy("open the address directly")
    }

    pub(crate) fn body() -> Self {
        let detail = "the request has a body, and nothing here takes one";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_not_allowed", "The request has a body", detail)
            .remedy("send a GET without a body")
    }

    pub(crate) fn busy() -> Self {
        let detail = "other requests are still being answered, or the disk is slow";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests at a time", detail)
            .remedy("try again soon")
    }

    pub(crate) fn streams() -> Self {
        let detail = "every place for an event stream is taken";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", "Too many event streams", detail)
            .remedy("close other pages that show the pool, or poll /api/overview")
    }

    pub(crate) fn not_ready(causes: Vec<Cause>) -> Self {
        let detail = causes.iter().map(|cause| cause.detail.as_str()).collect::<Vec<_>>().join("; ");
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Miners cannot be served yet", detail);
        problem.0.remedy = causes.first().map(|cause| cause.remedy.clone()).unwrap_or_default();
        problem.0.causes = causes;
        problem
    }

    pub(crate) fn internal() -> Self {
        let detail = "the pool failed to answer; mining is not affected";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of the pool", detail)
            .remedy("the log has the reason; please report it")
    }
}

impl From<LedgerError> for Problem {
    fn from(why: LedgerError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ledger", "The ledger does not answer", why.to_string())
            .remedy("mining goes on; look at the ledger's state in /api/overview and at the disk")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = crate::json::response(&self);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
