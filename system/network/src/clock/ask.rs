//! Asking servers, all at the same time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rsntp::{Config, SntpClient};

use super::{NtpServer, Sample};

/// A pool's name stands for several servers; so many of each are asked.
const ADDRESSES_PER_NAME: usize = 4;
/// In all.
const MAX_QUESTIONS: usize = 12;

/// Asks every server and waits no longer than `patience` for all of them together. A look-up that hangs is left behind
/// in its thread and ends by the resolver's own time-out.
pub(super) fn ask_all(servers: &[NtpServer], patience: Duration) -> Vec<(String, Result<Sample, String>)> {
    let until = Instant::now() + patience;
    let (tell, told) = mpsc::channel();
    let mut waiting = 0;
    for server in servers.iter().take(MAX_QUESTIONS) {
        let (tell, server) = (tell.clone(), server.clone());
        let asking = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            let answers = ask_name(&server, until);
            // Nobody listens any more when this took too long.
            let _ = tell.send(answers);
        });
        waiting += usize::from(asking.is_ok());
    }
    let mut answers = Vec::new();
    while waiting > 0 {
        match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(some) => answers.extend(some),
            Err(_) => break,
        }
        waiting -= 1;
    }
    answers.truncate(MAX_QUESTIONS);
    answers
}

/// The answers of the servers that a name stands for.
fn ask_name(server: &NtpServer, until: Instant) -> Vec<(String, Result<Sample, String>)> {
    let addresses: Vec<SocketAddr> = match (server.host(), server.port()).to_socket_addrs() {
        Ok(found) => found.take(ADDRESSES_PER_NAME).collect(),
        Err(why) => return vec![(server.to_string(), Err(why.to_string()))],
    };
    thread::scope(|scope| {
        let asked: Vec<_> =
            addresses.into_iter().map(|address| (address, scope.spawn(move || ask_one(address, until)))).collect();
        asked.into_iter().filter_map(|(address, asking)| Some((address.to_string(), asking.join().ok()?))).collect()
    })
}

fn ask_one(address: SocketAddr, until: Instant) -> Result<Sample, String> {
    // A little earlier than whoever collects the answers gives up.
    let left = until.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_millis(100));
    if left.is_zero() {
        return Err("no time left to ask".to_owned());
    }
    let here: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let config = Config::default().bind_address(SocketAddr::new(here, 0)).timeout(left);
    let answer = SntpClient::with_config(config).synchronize(address).map_err(|why| why.to_string())?;
    Ok(Sample { offset: answer.clock_offset().as_secs_f64(), delay: answer.round_trip_delay().as_secs_f64() })
}
