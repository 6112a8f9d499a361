//! Who may connect and authorize how often: caps in all and for each address, token buckets for each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::settings::Settings;

/// Most addresses remembered; a flood from more of them than that is turned away rather than remembered.
const MOST_ADDRESSES: usize = 65_536;

/// What counts as one address: an IPv4 address, or an IPv6 /64, which is what one household or host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Source {
    /// The address, or the first of its /64.
    pub(crate) fn address(self) -> IpAddr {
        self.0
    }
}

/// Why a connection is turned away before a word is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnedAway {
    /// All connections are taken.
    Full,
    /// All connections of this address are taken.
    AddressFull,
    /// The address connects too often.
    TooOften,
    /// A named proxy sent no PROXY header version 2, or a broken one.
    ProxyHeader,
    /// The TLS handshake failed or took too long.
    TlsHandshake,
}

impl TurnedAway {
    pub const ALL: [Self; 5] = [Self::Full, Self::AddressFull, Self::TooOften, Self::ProxyHeader, Self::TlsHandshake];

    /// As metrics label it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::TooOften => "too_often",
            Self::ProxyHeader => "proxy_header",
            Self::TlsHandshake => "tls_handshake",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Bucket {
    fn full(burst: u32, now: Duration) -> Self {
        Self { tokens: f64::from(burst), at: now }
    }

    /// Takes a token if there is one.
    fn take(&mut self, per_second: f64, burst: u32, now: Duration) -> bool {
        let gained = now.saturating_sub(self.at).as_secs_f64() * per_second;
        self.tokens = (self.tokens + gained).min(f64::from(burst));
        // Connections read the clock at different moments: an older time must not make the same seconds count again.
        self.at = self.at.max(now);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }
}

#[derive(Debug)]
struct Known {
    connections: usize,
    connects: Bucket,
    authorizes: Bucket,
    last_seen: Duration,
}

#[derive(Debug, Default)]
struct State {
    total: usize,
    sources: HashMap<Source, Known>,
}

/// Times are from the server's monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    state: Mutex<State>,
}

/// A connection's place in the counts; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    limits: Arc<Limits>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.limits.state.lock();
        state.total -= 1;
        if let Some(known) = state.sources.get_mut(&self.source) {
            known.connections -= 1;
        }
    }
}

impl Limits {
    /// Takes a place for a connection from `source`.
    pub(crate) fn connect(
        self: &Arc<Self>,
        source: Source,
        settings: &Settings,
        now: Duration,
    ) -> Result<Place, TurnedAway> {
        let state = &mut *self.state.lock();
        if state.total >= settings.max_connections {
            return Err(TurnedAway::Full);
        }
        if !state.sources.contains_key(&source) && state.sources.len() >= MOST_ADDRESSES {
            return Err(TurnedAway::TooOften);
        }
        let rates = &settings.rates;
        let known = state.sources.entry(source).or_insert_with(|| Known {
            connections: 0,
            connects: Bucket::full(rates.connect_burst, now),
            authorizes: Bucket::full(rates.authorize_burst, now),
            last_seen: now,
        });
        known.last_seen = now;
        if rates.enabled && !known.connects.take(rates.connects_per_second, rates.connect_burst, now) {
            return Err(TurnedAway::TooOften);
        }
        if known.connections >= settings.max_per_address {
            return Err(TurnedAway::AddressFull);
        }
        known.connections += 1;
        state.total += 1;
        Ok(Place { limits: Arc::clone(self), source })
    }

    /// Whether `source` may try to authorize now.
    pub(crate) fn authorize(&self, source: Source, settings: &Settings, now: Duration) -> bool {
        let rates = &settings.rates;
        if !rates.enabled {
            return true;
        }
        match self.state.lock().sources.get_mut(&source) {
            Some(known) => {
                known.last_seen = now;
                known.authorizes.take(rates.authorizes_per_second, rates.authorize_burst, now)
            }
            // Only a connection that was never counted (a test's, without a socket) is unknown here.
            None => true,
        }
    }

    /// Forgets addresses that have no connection and were not heard of for a while.
    pub(crate) fn sweep(&self, idle: Duration, now: Duration) {
        let mut state = self.state.lock();
        state.sources.retain(|_, known| known.connections > 0 || now < known.last_seen + idle);
        if state.sources.capacity() > 4 * state.sources.len().max(64) {
            state.sources.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Rates;

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    fn settings() -> Settings {
        let rates = Rates { connects_per_second: 2.0, connect_burst: 3, authorize_burst: 2, ..Rates::default() };
        Settings { max_connections: 5, max_per_address: 4, rates, ..Settings::default() }
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_ipv4_address_count_as_one() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn a_burst_is_let_in_and_then_the_rate_holds() {
        let (limits, settings) = (Arc::new(Limits::default()), settings());
        let connect = |at| limits.connect(source("192.0.2.1"), &settings, seconds(at)).map(drop);
        assert_eq!([(); 4].map(|()| connect(10.0)), [Ok(()), Ok(()), Ok(()), Err(TurnedAway::TooOften)]);
        assert_eq!(connect(10.4), Err(TurnedAway::TooOften));
        assert_eq!(connect(10.6), Ok(()));
        assert_eq!(connect(10.7), Err(TurnedAway::TooOften));
        assert_eq!(limits.connect(source("192.0.2.2"), &settings, seconds(10.7)).map(drop), Ok(()), "another address");
    }

    #[test]
    fn caps_hold_in_all_and_for_each_address_and_places_come_back() {
        let limits = Arc::new(Limits::default());
        let settings = Settings { rates: Rates { enabled: false, ..Rates::default() }, ..settings() };
        let connect = |from: &str| limits.connect(source(from), &settings, Duration::ZERO);
        let mut held: Vec<_> = (0..4).map(|_| connect("192.0.2.1").unwrap()).collect();
        assert_eq!(connect("192.0.2.1").err(), Some(TurnedAway::AddressFull));
        held.push(connect("192.0.2.2").unwrap());
        assert_eq!(connect("192.0.2.3").err(), Some(TurnedAway::Full));
        held.pop();
        assert!(connect("192.0.2.3").is_ok());
        // A smaller cap kicks nobody, and lets nobody in until enough have left.
        let smaller = Settings { max_connections: 2, ..settings.clone() };
        let connect = || limits.connect(source("192.0.2.9"), &smaller, Duration::ZERO);
        assert_eq!(connect().err(), Some(TurnedAway::Full));
        held.truncate(1);
        assert!(connect().is_ok());
    }

    #[test]
    fn a_bucket_counts_no_second_twice_when_times_come_out_of_order() {
        let mut bucket = Bucket::full(1, Duration::from_secs(10));
        assert!(bucket.take(1.0, 1, Duration::from_secs(10)));
        for _ in 0..10 {
            assert!(!bucket.take(1.0, 1, Duration::from_secs(9)));
            assert!(!bucket.take(1.0, 1, Duration::from_secs(10)));
        }
        assert!(bucket.take(1.0, 1, Duration::from_secs(11)));
    }

    #[test]
    fn authorizations_have_a_bucket_of_their_own() {
        let (limits, settings) = (Arc::new(Limits::default()), settings());
        let _place = limits.connect(source("192.0.2.1"), &settings, Duration::ZERO).unwrap();
        let authorize = |at| limits.authorize(source("192.0.2.1"), &settings, seconds(at));
        assert_eq!([authorize(0.0), authorize(0.0), authorize(0.0), authorize(1.1)], [true, true, false, true]);
    }

    #[test]
    fn idle_addresses_are_forgotten_but_not_those_connected() {
        let (limits, settings) = (Arc::new(Limits::default()), settings());
        let _place = limits.connect(source("192.0.2.1"), &settings, Duration::ZERO).unwrap();
        drop(limits.connect(source("192.0.2.2"), &settings, Duration::ZERO).unwrap());
        limits.sweep(seconds(300.0), seconds(299.0));
        assert_eq!(limits.state.lock().sources.len(), 2);
        limits.sweep(seconds(300.0), seconds(301.0));
        assert_eq!(limits.state.lock().sources.len(), 1);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let (limits, settings) = (Arc::new(Limits::default()), settings());
        for n in 0..MOST_ADDRESSES as u32 {
            drop(limits.connect(Source(IpAddr::V4(n.into())), &settings, Duration::ZERO).unwrap());
        }
        assert_eq!(limits.connect(source("192.0.2.1"), &settings, Duration::ZERO).err(), Some(TurnedAway::TooOften));
        limits.sweep(Duration::from_mins(5), Duration::from_secs(301));
        assert!(limits.connect(source("192.0.2.1"), &settings, Duration::from_secs(301)).is_ok());
    }
}
