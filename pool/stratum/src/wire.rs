//! Every line to and from the miners, for the operator who wants to see them: logged at level TRACE.
//!
//! Nothing is done for it while nobody listens: who reads or writes asks once, not for each line.

use std::fmt::{self, Write};
use std::net::SocketAddr;

/// So that the log can be filtered by it.
const TARGET: &str = "warppool_stratum";
/// Bytes shown of a line.
const SHOWN: usize = 512;

#[inline]
pub(crate) fn is_watched() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// A line a miner sent.
pub(crate) fn came(peer: SocketAddr, line: &[u8]) {
    tracing::trace!(target: TARGET, %peer, line = %Shown(line), "in");
}

/// Lines sent to a miner.
pub(crate) fn sent(peer: SocketAddr, lines: &[u8]) {
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        tracing::trace!(target: TARGET, %peer, line = %Shown(line), "out");
    }
}

/// A line cut, and without what does not belong into a log. Quotes stay as they are: JSON is full of them.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.iter().take(SHOWN) {
            match byte {
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        if self.0.len() > SHOWN { write!(f, "... ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_escaped_and_cut() {
        let case = |line: &[u8], shown: &str| assert_eq!(Shown(line).to_string(), shown);
        case(br#"{"id":1}"#, r#"{"id":1}"#);
        case(b"", "");
        case(b"a\r\x1b[31m\xff\x7f\xc3\xa4", r"a\x0d\x1b[31m\xff\x7f\xc3\xa4");
        case(&[b'x'; SHOWN], &"x".repeat(SHOWN));
        case(&[b'x'; SHOWN + 1], &format!("{}... (513 bytes)", "x".repeat(SHOWN)));
    }
}
