//! JSON that is harmless wherever it lands: no `<`, `>` or `&` of a worker's name stands in it as itself.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer of `application/json`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        response(&self.0)
    }
}

pub(crate) fn response(value: &impl Serialize) -> Response {
    match text(value) {
        Ok(text) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response(),
        Err(why) => {
            tracing::error!("an answer could not be written as JSON: {why}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// In JSON these characters occur within strings alone, where the escape means the same.
pub(crate) fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let plain = serde_json::to_string(value)?;
    if !plain.contains(['<', '>', '&']) {
        return Ok(plain);
    }
    Ok(plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was_and_never_holds_markup(name in ".*") {
            let json = super::text(&name).unwrap();
            prop_assert!(!json.contains(['<', '>', '&']));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), name);
        }
    }
}
