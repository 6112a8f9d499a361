//! Reads a pool's answers without parsing them: an answer whose bytes around the id were parsed once before is known by
//! comparison. The generator shares two cores with the pool it measures, so every nanosecond here is one for the pool.

use memchr::memmem::Finder;
use serde_json::Value;

use crate::miner::wire;

/// Pools answer in few shapes; one that writes ever new ones costs a parse each, not memory.
const MAX_SHAPES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// With the code of the error.
    Refused(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Answer {
        id: u64,
        verdict: Verdict,
    },
    /// A notification, or anything else that is no answer with a number for an id.
    Other,
}

#[derive(Debug)]
struct Shape {
    before_id: Box<[u8]>,
    after_id: Box<[u8]>,
    verdict: Verdict,
}

#[derive(Debug)]
pub(crate) struct Answers {
    id: Finder<'static>,
    shapes: Vec<Shape>,
    next: usize,
    pub(crate) parsed: u64,
}

impl Answers {
    pub(crate) fn new() -> Self {
        Self { id: Finder::new(b"\"id\""), shapes: Vec::new(), next: 0, parsed: 0 }
    }

    pub(crate) fn read(&mut self, line: &[u8]) -> Line {
        let Some((start, end, id)) = self.find_id(line) else { return Line::Other };
        let (before, after) = (&line[..start], &line[end..]);
        for shape in &self.shapes {
            if *shape.after_id == *after && *shape.before_id == *before {
                return Line::Answer { id, verdict: shape.verdict };
            }
        }
        self.parsed += 1;
        let Some(verdict) = parse(line, id) else { return Line::Other };
        let shape = Shape { before_id: before.into(), after_id: after.into(), verdict };
        if self.id.find(after).is_some() {
            // Two ids in one line: which of them is the answer's, only a parse can tell.
        } else if self.shapes.len() < MAX_SHAPES {
            self.shapes.push(shape);
        } else {
            self.shapes[self.next % MAX_SHAPES] = shape;
            self.next += 1;
        }
        Line::Answer { id, verdict }
    }

    /// Where the number after the first `"id":` starts and ends, and what it is.
    fn find_id(&self, line: &[u8]) -> Option<(usize, usize, u64)> {
        let mut start = self.id.find(line)? + 4;
        while matches!(line.get(start)?, b' ' | b':') {
            start += 1;
        }
        let digits = line[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=19).contains(&digits) {
            return None;
        }
        let id = line[start..start + digits].iter().fold(0u64, |id, digit| id * 10 + u64::from(digit - b'0'));
        Some((start, start + digits, id))
    }
}

/// The verdict of an answer whose own id is the one found; `None` of any other line.
fn parse(line: &[u8], found: u64) -> Option<Verdict> {
    let value: Value = serde_json::from_slice(line).ok()?;
    if value.get("method").is_some_and(Value::is_string) || value.get("id").and_then(Value::as_u64) != Some(found) {
        return None;
    }
    let error = value.get("error").unwrap_or(&Value::Null);
    let accepted = error.is_null() && value.get("result") == Some(&Value::Bool(true));
    Some(if accepted { Verdict::Accepted } else { Verdict::Refused(wire::error_code(error)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u64, verdict: Verdict) -> Line {
        Line::Answer { id, verdict }
    }

    #[test]
    fn answers_of_every_style_are_read_right_the_first_time_and_from_memory() {
        let styles: [(&str, Verdict); 7] = [
            (r#"{"id":$,"result":true,"error":null}"#, Verdict::Accepted),
            (r#"{"result": true, "error": null, "id": $}"#, Verdict::Accepted),
            (r#"{"jsonrpc":"2.0","id":$,"result":true}"#, Verdict::Accepted),
            (r#"{"id":$,"result":false,"error":null}"#, Verdict::Refused(0)),
            (r#"{"id":$,"result":null,"error":[23,"low difficulty",null]}"#, Verdict::Refused(23)),
            (r#"{"reject-reason":"Above target","result":false,"error":[22,"d",null],"id":$}"#, Verdict::Refused(22)),
            (r#"{"id":$,"result":null,"error":{"code":21,"message":"Job not found"}}"#, Verdict::Refused(21)),
        ];
        let mut answers = Answers::new();
        for round in 0..3u64 {
            for (n, (style, verdict)) in styles.iter().enumerate() {
                let id = round * 1_000_000 + n as u64;
                let line = style.replace('$', &id.to_string());
                assert_eq!(answers.read(line.as_bytes()), answer(id, *verdict), "{line}");
            }
        }
        assert_eq!(answers.parsed, styles.len() as u64);
    }

    #[test]
    fn lines_that_are_no_answers_are_told_apart_and_not_remembered() {
        let mut answers = Answers::new();
        let cases = [
            "",
            "{",
            "no json \"id\":4",
            r#"{"id":null,"method":"mining.notify","params":[]}"#,
            r#"{"id":7,"method":"mining.notify","params":[]}"#,
            r#"{"id":"7","result":true,"error":null}"#,
            r#"{"id":99999999999999999999999,"result":true,"error":null}"#,
            r#"{"params":{"id":7},"id":8,"result":true,"error":null}"#,
            r#"{"result":true,"error":null}"#,
            r#"{"id":"#,
        ];
        for line in cases {
            for _ in 0..2 {
                assert_eq!(answers.read(line.as_bytes()), Line::Other, "{line}");
            }
        }
        assert!(answers.shapes.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(line: Vec<u8>, text in "\\PC{0,60}") {
            let mut answers = Answers::new();
            answers.read(&line);
            answers.read(format!("{{\"id\":{text}}}").as_bytes());
        }

        #[test]
        fn what_is_remembered_is_what_a_parse_would_say(
            lines in proptest::collection::vec((0u64..4, 0..4usize, 0i64..4, "[a-b]{0,1}"), 1..60),
        ) {
            let mut answers = Answers::new();
            for (id, style, code, text) in lines {
                let line = match style {
                    0 => format!(r#"{{"id":{id},"result":true,"error":null}}"#),
                    1 => format!(r#"{{"result":null,"error":[{code},"{text}",null],"id":{id}}}"#),
                    2 => format!(r#"{{"id":{id},"method":"{text}","params":[{code}]}}"#),
                    _ => format!(r#"{{"note":{{"id":{code}}},"id":{id},"result":true}}"#),
                };
                let whole: Value = serde_json::from_str(&line).unwrap();
                let expected = match (style, whole["error"][0].as_i64()) {
                    (2, _) => Line::Other,
                    // The id in the note is found first: an answer is seen only where both are equal.
                    (3, _) if whole["note"]["id"].as_u64() != Some(id) => Line::Other,
                    (_, Some(code)) => answer(id, Verdict::Refused(code)),
                    _ => answer(id, Verdict::Accepted),
                };
                proptest::prop_assert_eq!(answers.read(line.as_bytes()), expected, "{}", line);
            }
        }
    }

    #[test]
    fn ever_new_shapes_take_no_more_memory() {
        let mut answers = Answers::new();
        for n in 0..1000u64 {
            let line = format!(r#"{{"id":{n},"result":null,"error":[23,"difficulty 0.{n:04}",null]}}"#);
            assert_eq!(answers.read(line.as_bytes()), answer(n, Verdict::Refused(23)));
        }
        assert_eq!(answers.shapes.len(), MAX_SHAPES);
    }
}
