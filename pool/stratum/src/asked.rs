//! What miners ask for in the difficulty's name: `mining.suggest_difficulty`, `mining.suggest_target`, and `d=` in a password.

use serde_json::Value;
use warppool_work::{Difficulty, Target};

/// A suggestion in any of its forms: a number or a string, bare or in an array, also with an exponent.
pub(crate) fn suggested_difficulty(params: &Value) -> Option<Difficulty> {
    match first(params)? {
        Value::Number(number) => difficulty(number.as_f64()?),
        Value::String(text) => number(text),
        _ => None,
    }
}

/// A target of 64 hex digits, most significant first; shorter ones are padded on the left.
pub(crate) fn suggested_target(params: &Value) -> Option<Difficulty> {
    let text = first(params)?.as_str()?.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    let mut bytes = [0; 32];
    const_hex::decode_to_slice(format!("{text:0>64}"), &mut bytes).ok()?;
    if bytes == [0; 32] {
        return None;
    }
    bytes.reverse();
    difficulty(Target::from_le_bytes(&bytes).difficulty())
}

/// `d=512`, `diff=0.5`, `difficulty=1e3` among other words: the difficulty a password fixes.
pub(crate) fn fixed_in_password(password: &str) -> Option<Difficulty> {
    words(password).find_map(|word| {
        let (key, value) = word.split_once('=')?;
        ["d", "diff", "difficulty"].iter().any(|k| key.trim().eq_ignore_ascii_case(k)).then(|| number(value))?
    })
}

/// Whether a password is the pool's, on its own or among other words.
pub(crate) fn has_password(given: &str, wanted: &str) -> bool {
    // All are compared in full, so that timing tells nothing.
    let equal = |word: &str| {
        word.len() == wanted.len() && word.bytes().zip(wanted.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    };
    std::iter::once(given).chain(words(given)).fold(false, |found, word| found | equal(word))
}

fn words(password: &str) -> impl Iterator<Item = &str> {
    password.split([',', ';', ' ', '&', '|']).map(str::trim)
}

fn first(params: &Value) -> Option<&Value> {
    match params {
        Value::Array(params) => params.first(),
        other => Some(other),
    }
}

fn number(text: &str) -> Option<Difficulty> {
    difficulty(text.trim().parse().ok()?)
}

fn difficulty(value: f64) -> Option<Difficulty> {
    Difficulty::new(value).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn suggestions_are_understood_in_every_form() {
        let case = |params: Value, expected: Option<f64>| {
            assert_eq!(suggested_difficulty(&params).map(Difficulty::get), expected, "{params}");
        };
        case(json!([512]), Some(512.0));
        case(json!([0.00015]), Some(0.00015));
        case(serde_json::from_str("[1.5e-4]").unwrap(), Some(0.00015));
        case(json!(["1e3"]), Some(1000.0));
        case(json!([" 42 "]), Some(42.0));
        case(json!(42), Some(42.0));
        case(json!("42.5"), Some(42.5));
        case(json!([1000, "extra"]), Some(1000.0));
        for none in [
            json!([]),
            json!(null),
            json!([0]),
            json!([-1]),
            json!(["NaN"]),
            json!(["inf"]),
            json!(["x"]),
            json!([[1]]),
            json!({"difficulty": 1}),
            json!([true]),
        ] {
            case(none, None);
        }
    }

    #[test]
    fn a_suggested_target_is_turned_into_a_difficulty() {
        let case = |text: &str, expected: Option<f64>| {
            assert_eq!(suggested_target(&json!([text])).map(Difficulty::get), expected, "{text}");
        };
        case("00000000ffff0000000000000000000000000000000000000000000000000000", Some(1.0));
        case("00000000FFFF0000000000000000000000000000000000000000000000000000", Some(1.0));
        case("0xffff0000000000000000000000000000000000000000000000000000", Some(1.0));
        case("000000007fff8000000000000000000000000000000000000000000000000000", Some(2.0));
        for none in ["", "0", "xyz", &"f".repeat(65)] {
            case(none, None);
        }
        assert_eq!(suggested_target(&json!([1])), None);
    }

    #[test]
    fn a_password_can_fix_the_difficulty() {
        let case = |password: &str, expected: Option<f64>| {
            assert_eq!(fixed_in_password(password).map(Difficulty::get), expected, "{password}");
        };
        case("d=512", Some(512.0));
        case("diff=0.5", Some(0.5));
        case("x,d=1e3", Some(1000.0));
        case("secret;D=64;worker=1", Some(64.0));
        for none in ["x", "", "d", "d=", "d=x", "d=0", "id=5", "md=5"] {
            case(none, None);
        }
    }

    #[test]
    fn the_pools_password_is_found_alone_or_among_others() {
        for (given, right) in [
            ("s3cret", true),
            ("s3cret,d=512", true),
            ("d=512 s3cret", true),
            ("s3cre", false),
            ("", false),
            ("x", false),
        ] {
            assert_eq!(has_password(given, "s3cret"), right, "{given}");
        }
        assert!(has_password("with, comma", "with, comma"));
    }
}
