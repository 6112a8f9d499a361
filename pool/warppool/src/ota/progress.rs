//! How far it is: on a terminal one line that changes, elsewhere a line now and then.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Lines where no terminal shows a changing one.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Shown {
    last: Option<(&'static str, Instant)>,
    open: bool,
}

impl Shown {
    pub fn show(&mut self, stage: &'static str, done: u64, total: u64) {
        let terminal = std::io::stdout().is_terminal();
        let new = self.last.is_none_or(|(shown, _)| shown != stage);
        let due = self.last.is_none_or(|(_, at)| at.elapsed() >= LINE_EVERY);
        if !terminal && !new && !due {
            return;
        }
        let line = match (done * 100).checked_div(total) {
            Some(percent) => format!("{stage}: {percent} %"),
            None => stage.to_owned(),
        };
        if terminal {
            if new && self.open {
                println!();
            }
            print!("\r{line}   ");
            let _ = std::io::stdout().flush();
            self.open = true;
        } else {
            println!("{line}");
        }
        if new || due {
            self.last = Some((stage, Instant::now()));
        }
    }

    pub fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            println!();
        }
    }
}
