//! What happened to this device's updates, a line each, for people. It is bounded, and losing it costs nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state::replace;

const NAME: &str = "journal";
/// When it grows beyond this many bytes, the older half goes.
const LONGEST: u64 = 64 * 1024;
/// Characters of one line.
const LONGEST_LINE: usize = 400;

/// Lines on the data partition.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Unix seconds.
    pub at: u64,
    pub text: String,
}

impl Journal {
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join(NAME) }
    }

    /// Adds a line, durably. `at` in Unix seconds.
    pub fn add(&self, at: u64, text: &str) -> io::Result<()> {
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_LINE).collect();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        // A line that a power cut tore must not swallow the next one.
        let torn = file.seek(SeekFrom::End(-1)).is_ok() && {
            let mut last = [0];
            file.read_exact(&mut last)?;
            last != *b"\n"
        };
        let line = format!("{}{at} {plain}\n", if torn { "\n" } else { "" });
        if file.metadata()?.len() + line.len() as u64 > LONGEST {
            drop(file);
            return self.shorten(&line);
        }
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }

    /// The last lines, newest first. What is no line, as after a power cut, is passed over.
    pub fn last(&self, count: usize) -> Vec<Line> {
        let text = self.read().unwrap_or_default();
        text.lines().rev().filter_map(parse).take(count).collect()
    }

    fn read(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.path)?).into_owned())
    }

    fn shorten(&self, line: &str) -> io::Result<()> {
        let text = self.read()?;
        let mut keep = text.len().saturating_sub(LONGEST as usize / 2);
        while !text.is_char_boundary(keep) {
            keep += 1;
        }
        let rest = text[keep..].split_once('\n').map_or("", |(_, rest)| rest);
        replace(&self.path, format!("{rest}{line}").as_bytes())
    }
}

fn parse(line: &str) -> Option<Line> {
    let (at, text) = line.split_once(' ')?;
    Some(Line { at: at.parse().ok()?, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        assert_eq!(journal.last(9), []);
        for (at, text) in [(1, "installed 1.0.0"), (2, "two\nlines\tin one"), (3, "committed")] {
            journal.add(at, text).unwrap();
        }
        let line = |at, text: &str| Line { at, text: text.into() };
        assert_eq!(journal.last(2), [line(3, "committed"), line(2, "two lines in one")]);
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "1 whole\n2").unwrap();
        let journal = Journal::new(dir.path());
        journal.add(3, "next").unwrap();
        assert_eq!(journal.last(9).iter().map(|line| line.at).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn it_stays_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        fs::write(dir.path().join(NAME), "torn\n\u{fffd}\n").unwrap();
        for at in 0..400 {
            journal.add(at, &"ä".repeat(LONGEST_LINE * 2)).unwrap();
            assert!(fs::metadata(dir.path().join(NAME)).unwrap().len() <= LONGEST);
        }
        let lines = journal.last(1000);
        assert_eq!(lines[0].at, 399);
        assert!(lines.len() > 30 && lines.windows(2).all(|pair| pair[0].at == pair[1].at + 1), "{}", lines.len());
    }
}
