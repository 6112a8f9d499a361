//! The log's last lines, of PID 1 and of everything it runs, in a bounded piece of memory.

use std::collections::VecDeque;

/// What one line may be long, bytes; the rest of a longer one is a line of its own.
pub const MAX_LINE: usize = 1024;

/// Stands where a program begins.
const BEGINNING: &str = "--- started ---";

/// Lines in the order they came, the oldest going when there are too many bytes.
#[derive(Debug)]
pub struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Line {
    from: String,
    text: String,
}

impl Line {
    /// What a line costs beside its letters, roughly.
    const OVERHEAD: usize = 64;

    fn cost(&self) -> usize {
        self.from.len() + self.text.len() + Self::OVERHEAD
    }
}

impl Ring {
    pub const fn new(limit: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, limit }
    }

    pub fn push(&mut self, from: &str, text: &str) {
        let line = Line { from: from.to_owned(), text: clean(text) };
        self.bytes += line.cost();
        self.lines.push_back(line);
        while self.bytes > self.limit
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.cost();
        }
    }

    /// The last `count` lines of all, as `name: text`, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        let skip = self.lines.len().saturating_sub(count);
        self.lines.iter().skip(skip).map(|line| format!("{}: {}", line.from, line.text)).collect()
    }

    /// A program begins: what its name said before is another run's.
    pub fn begin(&mut self, from: &str) {
        self.push(from, BEGINNING);
    }

    /// The last `count` lines of one program's last run, oldest first.
    pub fn last_of(&self, from: &str, count: usize) -> Vec<String> {
        let mut found: Vec<String> = self
            .lines
            .iter()
            .rev()
            .filter(|line| line.from == from)
            .take_while(|line| line.text != BEGINNING)
            .take(count)
            .map(|line| line.text.clone())
            .collect();
        found.reverse();
        found
    }
}

/// A line as it may be shown on a terminal or a page: no control characters, not too long.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE));
    for letter in text.chars() {
        if out.len() + letter.len_utf8() > MAX_LINE {
            break;
        }
        match letter {
            '\t' => out.push(' '),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_go_when_the_bytes_are_full() {
        let mut ring = Ring::new(10 * (Line::OVERHEAD + 8));
        for n in 0..100 {
            ring.push("pool", &format!("{n:04}"));
        }
        let lines = ring.last(1000);
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[9], "pool: 0099");
        assert!(ring.bytes <= ring.limit);
    }

    #[test]
    fn a_program_s_own_lines_are_found_among_the_others() {
        let mut ring = Ring::new(10_000);
        for n in 0..4 {
            ring.push("pool", &format!("p{n}"));
            ring.push("clock", &format!("c{n}"));
        }
        assert_eq!(ring.last_of("pool", 2), ["p2", "p3"]);
        assert_eq!(ring.last(3), ["clock: c2", "pool: p3", "clock: c3"]);
        assert!(ring.last_of("nobody", 5).is_empty());
        ring.begin("pool");
        ring.push("pool", "again");
        assert_eq!(ring.last_of("pool", 5), ["again"], "what an earlier run said is not its");
    }

    #[test]
    fn a_line_loses_what_a_terminal_would_act_on() {
        assert_eq!(clean("a\x1b[2Jb\tc\u{7}\r"), "a[2Jb c");
        assert_eq!(clean(&"ä".repeat(2000)).len(), MAX_LINE);
    }
}
