//! QEMU's control socket (QMP): commands with their answers, and the events that tell how a boot ends.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::console::Console;
use crate::error::Error;
use crate::machine::End;

/// QEMU answers at once unless the host is very busy.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Control {
    stream: UnixStream,
    answers: Receiver<Value>,
}

impl Control {
    /// Takes over a fresh connection; `console` learns how the boot ends.
    pub fn new(stream: UnixStream, console: Console) -> Result<Self, Error> {
        let reader = stream.try_clone().map_err(|why| Error::QemuEnded(why.to_string()))?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                match message["event"].as_str() {
                    Some("WATCHDOG") => console.watchdog_bit(),
                    Some("SHUTDOWN") => console.end(end(&message["data"]["reason"])),
                    Some(_) => {}
                    None if message.get("QMP").is_some() => {}
                    // Nobody waits any more: the machine is being taken down.
                    None => drop(sender.send(message)),
                }
            }
            console.end(End::Lost);
        });
        let mut control = Self { stream, answers };
        control.command("qmp_capabilities", &json!({}))?;
        Ok(control)
    }

    pub fn command(&mut self, name: &str, arguments: &Value) -> Result<Value, Error> {
        let refused = |why: String| Error::Refused { command: name.into(), why };
        let message = json!({ "execute": name, "arguments": arguments });
        writeln!(self.stream, "{message}").map_err(|why| refused(why.to_string()))?;
        let mut answer = self.answers.recv_timeout(PATIENCE).map_err(|why| refused(why.to_string()))?;
        match answer.get("error") {
            Some(error) => Err(refused(error["desc"].to_string())),
            None => Ok(answer["return"].take()),
        }
    }

    /// A command of the monitor for people, as text.
    pub fn monitor(&mut self, line: &str) -> Result<String, Error> {
        let answer = self.command("human-monitor-command", &json!({ "command-line": line }))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }
}

fn end(reason: &Value) -> End {
    match reason.as_str() {
        Some("guest-reset" | "host-qmp-system-reset") => End::Reset,
        Some("guest-shutdown") => End::PowerOff,
        _ => End::Lost,
    }
}
