//! Before a request: is it meant for this machine, and harmless. After it: headers that keep the page to itself.
//!
//! A web site anywhere can make a name of its own point to 127.0.0.1 (DNS rebinding) and read what answers there; only
//! requests whose Host names loopback are answered, so that such a name gets nothing.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Problem;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                   base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CSP),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if !is_meant_for_us(request) {
        return Err(Problem::host());
    }
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|it| it.as_bytes() == value.as_bytes());
    // Following a link from elsewhere is fine; a page elsewhere that loads from here is not.
    if says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate") {
        return Err(Problem::cross_site());
    }
    if has_body(headers) {
        return Err(Problem::body());
    }
    Ok(())
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}

/// Exactly one Host, naming loopback; so must the address itself where it is written in full.
fn is_meant_for_us(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let in_address = request.uri().authority().is_none_or(|authority| is_loopback(authority.as_str()));
    in_address && host.to_str().is_ok_and(is_loopback)
}

/// Whether `HOST` or `HOST:PORT` is this machine, whatever a name server says.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => (v6, rest.strip_prefix(':').or(rest.is_empty().then_some("0"))),
        None => host.split_once(':').map_or((host, Some("0")), |(name, port)| (name, Some(port))),
    };
    let is_port = port.is_some_and(|port| !port.starts_with('+') && port.parse::<u16>().is_ok());
    let is_local = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    is_port && is_local
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_and_addresses_that_are_always_this_machine_pass() {
        for host in [
            "localhost",
            "LocalHost:18334",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.8.9.10:65535",
            "[::1]",
            "[::1]:18334",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            ":",
            "evil.example",
            "localhost.evil.example",
            "evil.example:127.0.0.1",
            "127.0.0.1.evil.example",
            "192.168.1.5:18334",
            "0.0.0.0",
            "[::]",
            "[::1",
            "[::1]x",
            "[::1]:",
            "localhost:",
            "localhost:http",
            "localhost:70000",
            "localhost:+80",
            "user@localhost",
            "localhost,evil.example",
            "127.0.0.1 ",
            "[2001:db8::1]:80",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
