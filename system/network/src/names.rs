//! The device's name on the local network: `NAME.local` and its services by multicast DNS (RFC 6762, 6763).
//! This is the work of an unprivileged child; what it has to tell PID 1 goes through a callback.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use mdns_sd::{DaemonEvent, DaemonStatus, IfKind, ServiceDaemon, ServiceInfo};
use serde::{Deserialize, Serialize};

use crate::Hostname;

/// How often the addresses of this machine are compared with those that are announced.
const ADDRESS_CHECK_SECONDS: u32 = 2;
const POLL: Duration = Duration::from_millis(200);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// A network on which so many names are taken is not one to go on trying in.
const MAX_RENAMES: u32 = 100;

/// What is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub hostname: Hostname,
    pub services: Vec<Service>,
}

/// A service at a port of this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// As in `_http._tcp`.
    pub kind: String,
    pub port: u16,
    /// Keys and values beside it.
    pub txt: Vec<(String, String)>,
}

impl Service {
    /// The web page.
    pub fn http(port: u16) -> Self {
        Self { kind: "_http._tcp".into(), port, txt: vec![("path".into(), "/".into())] }
    }

    /// The port miners connect to.
    pub fn stratum(port: u16) -> Self {
        Self { kind: "_stratum._tcp".into(), port, txt: vec![("proto".into(), "v1".into())] }
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The device answers to this name now, as in `warppool.local`; another one than was asked for when that was taken.
    Name(String),
    /// Something does not work; told for the log.
    Trouble(String),
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    #[error("name service does not start: {0}; is another one running on this machine?")]
    Start(mdns_sd::Error),
    #[error("the service {kind} on port {port} cannot be announced: {why}")]
    Service { kind: String, port: u16, why: mdns_sd::Error },
    #[error("{0} and {MAX_RENAMES} names like it are taken on this network; choose another host name")]
    AllTaken(Hostname),
}

/// Announces name and services on all interfaces until `stop` is sent to or its sender is gone, then says farewell.
/// Follows addresses as they come and go; when the name is taken takes the next of NAME-2, NAME-3, … for name and
/// services together.
pub fn serve(config: &Config, stop: &Receiver<()>, mut tell: impl FnMut(Event)) -> Result<(), NamesError> {
    let mut name = config.hostname.clone();
    for _ in 0..MAX_RENAMES {
        match announce(&name, &config.services, stop, &mut tell)? {
            Ended::Stopped => return Ok(()),
            Ended::Taken => name = next_name(&config.hostname, &name),
        }
    }
    Err(NamesError::AllTaken(config.hostname.clone()))
}

enum Ended {
    Stopped,
    /// Another device has this name.
    Taken,
}

/// Announces under one name. The library would rename single records, an A record here and an SRV record there; a name
/// that is taken for one of them is given up for all, so that one name leads to everything.
fn announce(
    name: &Hostname,
    services: &[Service],
    stop: &Receiver<()>,
    tell: &mut impl FnMut(Event),
) -> Result<Ended, NamesError> {
    let daemon = ServiceDaemon::new().map_err(NamesError::Start)?;
    let events = daemon.monitor().map_err(NamesError::Start)?;
    daemon.set_ip_check_interval(ADDRESS_CHECK_SECONDS).map_err(NamesError::Start)?;
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6]).map_err(NamesError::Start)?;
    let host = format!("{name}.local.");
    for service in services {
        let failed = |why| NamesError::Service { kind: service.kind.clone(), port: service.port, why };
        let kind = format!("{}.local.", service.kind);
        let info = ServiceInfo::new(&kind, &label(name), &host, "", service.port, service.txt.as_slice());
        daemon.register(info.map_err(failed)?.enable_addr_auto()).map_err(failed)?;
    }
    let mut told = false;
    let ended = loop {
        match stop.recv_timeout(POLL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break Ended::Stopped,
        }
        let mut taken = false;
        for event in events.try_iter() {
            match event {
                DaemonEvent::NameChange(_) => taken = true,
                DaemonEvent::Announce(..) if !told && !taken => {
                    told = true;
                    tell(Event::Name(format!("{name}.local")));
                }
                DaemonEvent::Error(why) => tell(Event::Trouble(why.to_string())),
                _ => {}
            }
        }
        if taken {
            break Ended::Taken;
        }
    };
    farewell(&daemon);
    Ok(ended)
}

/// Takes the announcements back (records with no time to live), so that nobody shows a device that is gone.
fn farewell(daemon: &ServiceDaemon) {
    if let Ok(status) = daemon.shutdown() {
        while let Ok(said) = status.recv_timeout(FAREWELL) {
            if said == DaemonStatus::Shutdown {
                break;
            }
        }
    }
}

/// What a person reads in a list of services.
fn label(name: &Hostname) -> String {
    format!("WarpPool ({name})")
}

/// NAME-2 after NAME, NAME-3 after NAME-2. A long name is shortened to make room for the number.
fn next_name(original: &Hostname, current: &Hostname) -> Hostname {
    let number = current
        .as_str()
        .rsplit_once('-')
        .filter(|_| current != original)
        .and_then(|(_, number)| number.parse::<u32>().ok())
        .unwrap_or(1);
    let ending = format!("-{}", number + 1);
    let room = 63 - ending.len();
    let stem = &original.as_str()[..original.as_str().len().min(room)];
    format!("{stem}{ending}").parse().expect("a host name's beginning and a number are a host name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_counts_from_the_one_that_was_asked_for() {
        let long = "a".repeat(63);
        let cases = [
            ("warppool", "warppool", "warppool-2"),
            ("warppool", "warppool-2", "warppool-3"),
            ("warppool", "warppool-9", "warppool-10"),
            ("pool-7", "pool-7", "pool-7-2"),
            ("pool-7", "pool-7-2", "pool-7-3"),
            (long.as_str(), long.as_str(), &format!("{}-2", "a".repeat(61))),
        ];
        for (original, current, want) in cases {
            let [original, current] = [original, current].map(|name| name.parse::<Hostname>().expect("a name"));
            assert_eq!(next_name(&original, &current).as_str(), want);
        }
    }
}
