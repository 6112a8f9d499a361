//! What the kernel's command line says to us: arguments that begin with `warppool.`.

use std::time::Duration;

/// How long a version on trial must be healthy before it is kept, unless the command line says otherwise.
const GATE: Duration = Duration::from_mins(2);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelArgs {
    /// The kind of machine: `rpi5` or `qemu`.
    pub board: String,
    pub gate: Duration,
    /// How long a trial may take to get there, where it is not by the gate's own time.
    pub gate_limit: Option<Duration>,
    /// A root shell on the console.
    pub shell: bool,
    pub fault: Option<Fault>,
}

/// What goes wrong on purpose, for tests of what then happens. Each after this much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The kernel panics.
    Panic(Duration),
    /// PID 1 stalls for ever.
    Hang(Duration),
    /// PID 1 panics, once.
    Stumble(Duration),
    /// The pool is killed each time it starts, until safe mode.
    PoolDies(Duration),
    /// The health gate never opens.
    Gate,
}

impl KernelArgs {
    /// Reads the line. What is unknown or malformed is left out and told by the second value.
    pub fn parse(line: &str) -> (Self, Vec<String>) {
        let mut args = Self { board: "rpi5".into(), gate: GATE, gate_limit: None, shell: false, fault: None };
        let mut strange = Vec::new();
        for argument in line.split_ascii_whitespace() {
            let Some(ours) = argument.strip_prefix("warppool.") else { continue };
            let taken = match ours.split_once('=') {
                Some(("board", board)) if is_name(board) => {
                    args.board = board.into();
                    true
                }
                Some(("gate", seconds)) => {
                    seconds.parse().map(|seconds| args.gate = Duration::from_secs(seconds)).is_ok()
                }
                Some(("gate-limit", seconds)) => {
                    seconds.parse().map(|seconds| args.gate_limit = Some(Duration::from_secs(seconds))).is_ok()
                }
                Some(("console", "shell")) => {
                    args.shell = true;
                    true
                }
                Some(("fault", fault)) => {
                    args.fault = parse_fault(fault);
                    args.fault.is_some()
                }
                _ => false,
            };
            if !taken {
                strange.push(format!("the kernel argument {argument} is not known; left out"));
            }
        }
        (args, strange)
    }
}

fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn parse_fault(text: &str) -> Option<Fault> {
    let (name, after) = text.split_once(':').unwrap_or((text, "0"));
    let after = Duration::from_secs(after.parse().ok()?);
    match name {
        "panic" => Some(Fault::Panic(after)),
        "hang" => Some(Fault::Hang(after)),
        "stumble" => Some(Fault::Stumble(after)),
        "pool-dies" => Some(Fault::PoolDies(after)),
        "gate" => Some(Fault::Gate),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(board: &str) -> KernelArgs {
        KernelArgs { board: board.into(), gate: GATE, gate_limit: None, shell: false, fault: None }
    }

    #[test]
    fn a_shell_and_a_limit_are_there_when_asked_for() {
        let (args, strange) = KernelArgs::parse("warppool.console=shell warppool.gate-limit=20");
        assert_eq!(args, KernelArgs { shell: true, gate_limit: Some(Duration::from_secs(20)), ..plain("rpi5") });
        assert_eq!(strange, Vec::<String>::new());
    }

    #[test]
    fn the_line_is_read_as_documented() {
        let (args, strange) = KernelArgs::parse("console=ttyAMA0 warppool.board=qemu panic=10 warppool.gate=5\n");
        assert_eq!(args, KernelArgs { gate: Duration::from_secs(5), ..plain("qemu") });
        assert!(strange.is_empty());
        assert_eq!(KernelArgs::parse("").0, plain("rpi5"));
    }

    #[test]
    fn faults_have_a_name_and_a_time() {
        let seconds = Duration::from_secs;
        let cases = [
            ("panic", Some(Fault::Panic(seconds(0)))),
            ("panic:7", Some(Fault::Panic(seconds(7)))),
            ("hang:1", Some(Fault::Hang(seconds(1)))),
            ("pool-dies", Some(Fault::PoolDies(seconds(0)))),
            ("gate", Some(Fault::Gate)),
            ("panic:soon", None),
            ("explode", None),
        ];
        for (text, fault) in cases {
            let (args, strange) = KernelArgs::parse(&format!("warppool.fault={text}"));
            assert_eq!(args.fault, fault, "{text}");
            assert_eq!(strange.is_empty(), fault.is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_not_ours_to_know_is_told() {
        for argument in ["warppool.x=1", "warppool.gate=-1", "warppool.gate", "warppool.board=../etc"] {
            let (args, strange) = KernelArgs::parse(argument);
            assert_eq!(args, KernelArgs::parse("").0, "{argument}");
            assert_eq!(strange.len(), 1, "{argument}");
        }
    }
}
