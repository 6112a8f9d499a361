//! What the operating system tells the process: to stop, or to read its configuration again.

/// Ctrl-C and, where there is one, SIGTERM.
pub struct Stop {
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
}

impl Stop {
    pub fn new() -> Self {
        Self {
            #[cfg(unix)]
            terminate: listen(tokio::signal::unix::SignalKind::terminate()),
        }
    }

    pub async fn wait(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            () = received(&mut self.terminate) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

pub enum Signal {
    Reload,
    Stop,
}

/// All that a running pool listens to: [`Stop`], and SIGHUP where there is one.
pub struct Signals {
    stop: Stop,
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    pub fn new() -> Self {
        Self {
            stop: Stop::new(),
            #[cfg(unix)]
            hangup: listen(tokio::signal::unix::SignalKind::hangup()),
        }
    }

    pub async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        tokio::select! {
            () = received(&mut self.hangup) => return Signal::Reload,
            () = self.stop.wait() => {}
        }
        #[cfg(not(unix))]
        self.stop.wait().await;
        Signal::Stop
    }
}

#[cfg(unix)]
fn listen(kind: tokio::signal::unix::SignalKind) -> Option<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(kind).ok()
}

/// Waits for ever for a signal that cannot be listened to.
#[cfg(unix)]
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
