//! What is wrong in a file, where, and what to write instead.

use std::fmt;

use serde::{Deserialize, Serialize};

/// More faults than this are not listed.
pub const MAX_FAULTS: usize = 20;

/// One fault of the owner's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// From 1; `None` where it is about the file as a whole.
    pub line: Option<u32>,
    /// As in `network.address`; empty where it is no key's.
    pub key: String,
    pub problem: String,
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}
