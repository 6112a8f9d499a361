//! What the operator can set, all of it while the server runs.

use std::fmt;
use std::time::Duration;

use warppool_work::{Difficulty, VardiffSettings};

/// Takes effect for new and living connections; a smaller cap shrinks as miners leave and kicks nobody.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Most connections in all.
    pub max_connections: usize,
    /// Most connections from one address (an IPv6 /64 counts as one).
    pub max_per_address: usize,
    /// How long a connection may take to authorize. After that there is no idle time-out.
    pub authorize_timeout: Duration,
    /// A miner left without a job for longer than this is counted as silent. The engine publishes more often.
    pub keepalive: Duration,
    pub rates: Rates,
    /// How long a worker that sent nothing but rejects is shut out from its address; `None` bans nobody.
    pub ban: Option<Duration>,
    pub vardiff: VardiffSettings,
    /// What sessions begin with; `None` goes by the device's class.
    pub initial_difficulty: Option<Difficulty>,
    /// What miners must give as password; `None` lets everyone in.
    pub password: Option<String>,
    /// Refuse shares only unusual hardware sends.
    pub safe_mode: bool,
    /// Longest line read, bytes.
    pub line_limit: usize,
    /// Most bytes kept for a miner that does not read them.
    pub write_limit: usize,
    /// Most TLS handshakes going on at once; more wait for their turn. Read when the server is made.
    pub tls_handshakes: usize,
    /// How long a PROXY header and a TLS handshake may take.
    pub handshake_timeout: Duration,
}

/// Token buckets for each address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub enabled: bool,
    pub connects_per_second: f64,
    pub connect_burst: u32,
    pub authorizes_per_second: f64,
    pub authorize_burst: u32,
    /// After so long without traffic an address is forgotten.
    pub idle_evict: Duration,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            enabled: true,
            connects_per_second: 5.0,
            connect_burst: 20,
            authorizes_per_second: 1.0,
            authorize_burst: 10,
            idle_evict: Duration::from_mins(5),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_per_address: 64,
            authorize_timeout: Duration::from_mins(1),
            keepalive: Duration::from_secs(55),
            rates: Rates::default(),
            ban: Some(Duration::from_mins(10)),
            vardiff: VardiffSettings::default(),
            initial_difficulty: None,
            password: None,
            safe_mode: true,
            line_limit: 16 * 1024,
            write_limit: 64 * 1024,
            tls_handshakes: 64,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_connections", &self.max_connections)
            .field("max_per_address", &self.max_per_address)
            .field("authorize_timeout", &self.authorize_timeout)
            .field("keepalive", &self.keepalive)
            .field("rates", &self.rates)
            .field("ban", &self.ban)
            .field("vardiff", &self.vardiff)
            .field("initial_difficulty", &self.initial_difficulty)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("safe_mode", &self.safe_mode)
            .field("line_limit", &self.line_limit)
            .field("write_limit", &self.write_limit)
            .field("tls_handshakes", &self.tls_handshakes)
            .field("handshake_timeout", &self.handshake_timeout)
            .finish()
    }
}
