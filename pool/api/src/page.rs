//! `/`: one plain page that shows the pool live. Nothing in it is inline, so that the strictest policy holds.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::App;

const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

pub(crate) fn routes() -> Router<App> {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, kind, text)| router.route(path, get(async move || file(kind, text))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        // After an update the page has to fit the API.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn nothing_in_the_page_is_inline_and_nothing_comes_from_elsewhere() {
        let html = FILES[0].2;
        for tag in html.split('<').filter(|tag| tag.starts_with("script")) {
            let (open, inside) = tag.split_once('>').unwrap();
            assert!(open.contains("src=\"/page.js\"") && inside.trim().is_empty(), "{tag}");
        }
        for forbidden in ["<style", " style=", "javascript:", "http://", "https://"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        let handler =
            |tag: &str| tag.split_whitespace().skip(1).any(|word| word.starts_with("on") && word.contains('='));
        assert!(!html.split('<').any(|tag| handler(tag.split('>').next().unwrap())), "an inline handler");
    }

    #[test]
    fn the_script_never_takes_text_for_markup() {
        let script = FILES[2].2;
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn the_page_stays_small() {
        let bytes: usize = FILES.iter().map(|(_, _, text)| text.len()).sum();
        assert!(bytes < 20 * 1024, "{bytes} bytes");
    }
}
