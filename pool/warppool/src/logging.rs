//! Where the log goes: journald where it collects this process's output anyway, else standard output.
//!
//! Lines for standard output go through a thread of their own: a reader that stalls (a paused terminal, a stuck collector)
//! costs log lines, never a share.

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Context as _;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};
use warppool_config::{Journald, LoggingConfig};

/// Lines that may wait to be written; more are dropped.
const LINES: usize = 4096;

/// Changes the filter while the pool runs.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: Handle<EnvFilter, Registry>,
    /// Writes what is left when the process ends.
    _writer: Arc<WorkerGuard>,
}

impl LogControl {
    /// Takes over what can change: the filter.
    pub fn apply(&self, logging: &LoggingConfig) -> anyhow::Result<()> {
        self.filter.reload(filter(logging)?).context("the log filter cannot be changed")
    }
}

fn filter(logging: &LoggingConfig) -> anyhow::Result<EnvFilter> {
    // The configuration has taken RUST_LOG in already, at its place in the order.
    let filter: EnvFilter = logging.filter.parse().with_context(|| {
        format!(
            "logging.filter = \"{}\" is not a log filter; write for instance \"info,warppool_node=debug\"",
            logging.filter
        )
    })?;
    if logging.net_debug { Ok(filter.add_directive("warppool_stratum=trace".parse()?)) } else { Ok(filter) }
}

/// Starts logging. Once a process.
pub fn start(logging: &LoggingConfig) -> anyhow::Result<LogControl> {
    let (filter, control) = reload::Layer::new(filter(logging)?);
    let registry = tracing_subscriber::registry().with(filter);
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).finish(std::io::stdout());
    let colours = std::io::stdout().is_terminal();
    let layer = match journald(logging.journald)? {
        Some(layer) => layer,
        None if logging.json => fmt::layer().json().with_writer(writer).boxed(),
        None => fmt::layer().with_ansi(colours).with_target(false).compact().with_writer(writer).boxed(),
    };
    registry.with(layer).init();
    Ok(LogControl { filter: control, _writer: Arc::new(guard) })
}

type BoxedLayer =
    Box<dyn Layer<tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>> + Send + Sync>;

#[cfg(target_os = "linux")]
fn journald(wanted: Journald) -> anyhow::Result<Option<BoxedLayer>> {
    // systemd sets this where our output goes to the journal; structured entries are better than lines there.
    let collected = std::env::var_os("JOURNAL_STREAM").is_some();
    match wanted {
        Journald::Off => Ok(None),
        Journald::Auto if !collected => Ok(None),
        Journald::Auto => Ok(tracing_journald::layer().ok().map(Layer::boxed)),
        Journald::On => {
            let layer = tracing_journald::layer().context("logging.journald is on, but there is no journal here")?;
            Ok(Some(layer.boxed()))
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn journald(wanted: Journald) -> anyhow::Result<Option<BoxedLayer>> {
    anyhow::ensure!(wanted != Journald::On, "logging.journald is on, but only Linux has a journal");
    Ok(None)
}
