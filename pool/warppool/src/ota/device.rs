//! What is asked of an appliance's first process, on that appliance.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use warppool_protocol::{
    Client, ClientError, Clock, DataState, Mode, Progress, Reply, Request, Stage, Status, UpdateSource,
};

use super::progress::Shown;

/// A card that stalls, or a feed that is slow, may need a while between two signs of progress.
const PATIENCE: Duration = Duration::from_mins(3);

fn ask(socket: &Path, request: &Request, progress: impl FnMut(Progress)) -> Result<Reply, ClientError> {
    Client::connect(socket, PATIENCE)?.ask(request, progress)
}

fn told(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

pub fn install(socket: &Path, from: &str) -> anyhow::Result<ExitCode> {
    let source = match from {
        "usb" => UpdateSource::Usb,
        "feed" => UpdateSource::Feed,
        url if url.starts_with("http://") || url.starts_with("https://") => UpdateSource::Url(url.to_owned()),
        path => UpdateSource::File(std::path::absolute(path)?),
    };
    let mut shown = Shown::default();
    let reply = ask(socket, &Request::Install(source), |progress| {
        shown.show(words(progress.stage), progress.done, progress.total);
    });
    shown.end();
    match reply? {
        Reply::Installed(done) => Ok(told(&format!(
            "{} is in slot {} and tried at the restart that follows; {} KiB were fetched, {} KiB were here already.",
            done.version,
            done.slot,
            done.fetched / 1024,
            done.reused / 1024
        ))),
        other => bail!("an unexpected answer: {other:?}"),
    }
}

pub fn check(socket: &Path) -> anyhow::Result<ExitCode> {
    match ask(socket, &Request::CheckForUpdate, |_| ())? {
        Reply::Update(Some(update)) => {
            Ok(told(&format!("{} is there ({} MiB).\n\n{}", update.version, update.bytes >> 20, update.notes)))
        }
        Reply::Update(None) => Ok(told("This is the newest version.")),
        other => bail!("an unexpected answer: {other:?}"),
    }
}

pub fn log(socket: &Path, lines: u32) -> anyhow::Result<ExitCode> {
    let Reply::Log(lines) = ask(socket, &Request::Log { lines }, |_| ())? else { bail!("an unexpected answer") };
    for line in lines {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

pub fn commit(socket: &Path) -> anyhow::Result<ExitCode> {
    ask(socket, &Request::Commit, |_| ())?;
    Ok(told("The version on trial is kept."))
}

pub fn rollback(socket: &Path) -> anyhow::Result<ExitCode> {
    let mut shown = Shown::default();
    let reply = ask(socket, &Request::Rollback, |progress| {
        shown.show(words(progress.stage), progress.done, progress.total);
    });
    shown.end();
    reply?;
    Ok(told("The other slot is tried at the restart that follows."))
}

pub fn verify(socket: &Path) -> anyhow::Result<ExitCode> {
    let mut shown = Shown::default();
    let reply = ask(socket, &Request::Verify { slot: None }, |progress| {
        shown.show(words(progress.stage), progress.done, progress.total);
    });
    shown.end();
    let Reply::Verified(slots) = reply? else { bail!("an unexpected answer") };
    let mut sound = true;
    for (slot, damage) in slots {
        if damage.is_empty() {
            println!("slot {slot}: sound");
        } else {
            sound = false;
            println!("slot {slot}: {}", damage.join("; "));
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn status(socket: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let Reply::Status(status) = ask(socket, &Request::Status, |_| ())? else { bail!("an unexpected answer") };
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{}", text(&status));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Status) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let mode = if status.mode == Mode::Safe { ", safe mode" } else { "" };
    line("version", &format!("{} on {}{mode}", status.version, status.hardware));
    line("name", &status.hostname);
    line("running", &format!("{} seconds, the pool restarted {} times", status.uptime_seconds, status.pool_restarts));
    for slot in &status.slots {
        let mark = |is: bool, what: &'static str| if is { what } else { "" };
        let version = slot.version.as_deref().unwrap_or("empty");
        let damage =
            if slot.damage.is_empty() { String::new() } else { format!(", damaged: {}", slot.damage.join("; ")) };
        let running = mark(status.running == Some(slot.slot), ", running");
        let committed = mark(status.committed == Some(slot.slot), ", committed");
        line(&format!("slot {}", slot.slot), &format!("{version}{running}{committed}{damage}"));
    }
    if let Some(trial) = &status.trial {
        let waiting = if trial.waiting_for.is_empty() {
            String::new()
        } else {
            format!(", waiting for: {}", trial.waiting_for.join(", "))
        };
        line("trial", &format!("healthy for {} of {} s{waiting}", trial.healthy_seconds, trial.needed_seconds));
    }
    if let Some(update) = &status.update.available {
        line("update", &format!("{} is there: warppool ota install feed", update.version));
    }
    if let Some(error) = &status.update.last_error {
        line("updates", error);
    }
    line("data", &data(&status.data));
    for interface in &status.interfaces {
        line(&interface.name, &interface.addresses.join(", "));
    }
    let Clock { now, trusted } = status.clock;
    line("clock", &format!("{now} ({})", if trusted { "from the network" } else { "not known to be right" }));
    if let Some(advice) = &status.firmware.advice {
        line("firmware", advice);
    }
    if let Some(question) = status.waiting_for_button {
        line("button", &format!("press it to confirm: {question:?}"));
    }
    for fault in &status.faults {
        line("FAULT", fault);
    }
    for entry in status.journal.iter().take(12) {
        line("journal", &format!("{} {}", entry.at, entry.text));
    }
    out
}

fn data(state: &DataState) -> String {
    match state {
        DataState::Disk { total, free } => format!("{} of {} MiB free", free >> 20, total >> 20),
        DataState::ReadOnly { why } => format!("can only be read, nothing is kept: {why}"),
        DataState::Memory { why } => format!("in memory, lost at the next restart: {why}"),
    }
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Checking => "checking",
        Stage::Clearing => "clearing the slot",
        Stage::Writing => "writing",
        Stage::ReadingBack => "reading back",
        Stage::WaitingForBlock => "waiting for a found block to be settled",
        Stage::WaitingForButton => "press the device's button to confirm",
        Stage::Restarting => "restarting",
    }
}
