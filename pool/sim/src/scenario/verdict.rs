//! What came of a story.

use std::fmt;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub name: &'static str,
    pub passed: bool,
    pub seconds: f64,
    /// What was looked at, with figures: `ok:`, `FAILED:`, or `note:` where nothing was judged.
    pub lines: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed { "passed" } else { "FAILED" };
        write!(f, "{}: {word} in {:.1} s", self.name, self.seconds)?;
        for line in &self.lines {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
