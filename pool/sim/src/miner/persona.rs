//! The devices we can be: what each says first, in which order, what it cannot bear, how it comes back.
//! Facts of the firmware where its source is public, of the field where it is not; hash rates are nominal, for naming only.

use std::{fmt, str::FromStr, time::Duration};

use serde::Serialize;

/// A kind of miner, as in the handbook's table, and two more that behave differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persona {
    NerdminerV2,
    BitaxeUltra,
    NerdOctaxe,
    AvalonQ,
    #[serde(rename = "antminer-s23-pro")]
    AntminerS23Pro,
    Whatsminer,
    Cpuminer,
    Adversary,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no miner called {0:?}; there are nerdminer-v2, bitaxe-ultra, nerd-octaxe, avalon-q, antminer-s23-pro, \
         whatsminer, cpuminer and adversary"
)]
pub struct UnknownPersona(String);

impl Persona {
    pub const ALL: [Self; 8] = [
        Self::NerdminerV2,
        Self::BitaxeUltra,
        Self::NerdOctaxe,
        Self::AvalonQ,
        Self::AntminerS23Pro,
        Self::Whatsminer,
        Self::Cpuminer,
        Self::Adversary,
    ];

    /// All that really mine.
    pub fn honest() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|persona| *persona != Self::Adversary)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::NerdminerV2 => "nerdminer-v2",
            Self::BitaxeUltra => "bitaxe-ultra",
            Self::NerdOctaxe => "nerd-octaxe",
            Self::AvalonQ => "avalon-q",
            Self::AntminerS23Pro => "antminer-s23-pro",
            Self::Whatsminer => "whatsminer",
            Self::Cpuminer => "cpuminer",
            Self::Adversary => "adversary",
        }
    }

    /// Whether the device can speak TLS.
    pub fn speaks_tls(self) -> bool {
        matches!(self, Self::BitaxeUltra | Self::NerdOctaxe | Self::AntminerS23Pro)
    }

    pub(crate) fn profile(self) -> &'static Profile {
        match self {
            Self::NerdminerV2 => &NERDMINER,
            Self::BitaxeUltra => &BITAXE,
            Self::NerdOctaxe => &NERD_OCTAXE,
            Self::AvalonQ => &AVALON,
            Self::AntminerS23Pro => &ANTMINER,
            Self::Whatsminer => &WHATSMINER,
            Self::Cpuminer => &CPUMINER,
            Self::Adversary => &ADVERSARY,
        }
    }
}

impl fmt::Display for Persona {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Persona {
    type Err = UnknownPersona;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|persona| persona.name() == name).ok_or_else(|| UnknownPersona(name.into()))
    }
}

/// What is said during set-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Say {
    Configure,
    Subscribe,
    Authorize,
    SuggestDifficulty,
    ExtranonceSubscribe,
}

/// What the device waits for before it goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Then {
    GoOn,
    /// Other lines may come first.
    Answer,
    /// It takes whatever line comes next for the answer.
    FirstLine,
}

/// The ids of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ids {
    Counting,
    /// Every submit carries the same id.
    SubmitAlways(u64),
}

/// The sixth parameter of a submit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum VersionBits {
    /// The device does not roll the version: there is no sixth parameter.
    None,
    /// The bits inside the mask (BIP310).
    Masked,
    /// The rolled version XOR the job's (ESP-Miner).
    Xor,
}

#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) agent: &'static str,
    pub(crate) steps: &'static [(Say, Then)],
    /// The parameters of `mining.configure`, as JSON.
    pub(crate) configure: &'static str,
    pub(crate) ids: Ids,
    pub(crate) version_bits: VersionBits,
    pub(crate) suggests: f64,
    /// `suggest_difficulty` is repeated this often, to keep the connection alive.
    pub(crate) keep_alive: Option<Duration>,
    /// A new difficulty counts from the next job on, not at once.
    pub(crate) difficulty_waits_for_job: bool,
    /// A job whose id is among the last 16 is thrown away unless it says `clean_jobs`.
    pub(crate) drops_repeated_ids: bool,
    pub(crate) unpadded_nonce: bool,
    /// User names are cut to so many characters.
    pub(crate) user_limit: Option<usize>,
    /// The longest coinbase it can hold, in bytes.
    pub(crate) coinbase_limit: usize,
    pub(crate) extranonce2_sizes: &'static [usize],
    pub(crate) extranonce2_words: &'static str,
    /// After so long without a line it gives the connection up.
    pub(crate) silence: Duration,
    pub(crate) reconnect_after: Duration,
}

/// Devices take at most this many merkle branches.
pub(crate) const MAX_BRANCHES: usize = 32;

const ROLLING: &str = r#"[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]"#;

const CGMINER: Profile = Profile {
    agent: "cgminer/4.11.1",
    steps: &[(Say::Configure, Then::FirstLine), (Say::Subscribe, Then::FirstLine), (Say::Authorize, Then::Answer)],
    configure: ROLLING,
    ids: Ids::Counting,
    version_bits: VersionBits::Masked,
    suggests: 1.0,
    keep_alive: None,
    difficulty_waits_for_job: true,
    drops_repeated_ids: false,
    unpadded_nonce: false,
    user_limit: None,
    coinbase_limit: 255,
    extranonce2_sizes: &[2, 3, 4, 5, 6, 7, 8],
    extranonce2_words: "2 to 8",
    silence: Duration::from_mins(2),
    reconnect_after: Duration::from_secs(30),
};

const ESP_MINER: Profile = Profile {
    agent: "bitaxe/BM1366/v2.9.0",
    steps: &[
        (Say::Configure, Then::GoOn),
        (Say::Subscribe, Then::GoOn),
        (Say::SuggestDifficulty, Then::GoOn),
        (Say::Authorize, Then::GoOn),
    ],
    configure: r#"[["version-rolling"],{"version-rolling.mask":"ffffffff"}]"#,
    version_bits: VersionBits::Xor,
    suggests: 1000.0,
    drops_repeated_ids: true,
    silence: Duration::from_mins(3),
    reconnect_after: Duration::from_secs(5),
    ..CGMINER
};

static NERDMINER: Profile = Profile {
    agent: "NerdMinerV2",
    steps: &[(Say::Subscribe, Then::FirstLine), (Say::Authorize, Then::GoOn), (Say::SuggestDifficulty, Then::GoOn)],
    version_bits: VersionBits::None,
    suggests: 0.000_15,
    keep_alive: Some(Duration::from_secs(30)),
    difficulty_waits_for_job: false,
    unpadded_nonce: true,
    extranonce2_sizes: &[2, 4, 8],
    extranonce2_words: "2, 4 or 8",
    silence: Duration::from_mins(10),
    reconnect_after: Duration::from_secs(10),
    ..CGMINER
};

static BITAXE: Profile = ESP_MINER;

/// Subscribe is its request 1, configure 2, suggest 3, authorize 4: it tells answers apart by these numbers alone.
static NERD_OCTAXE: Profile = Profile {
    agent: "NerdOCTAXE-γ/BM1370/v1.0.33",
    steps: &[
        (Say::Subscribe, Then::GoOn),
        (Say::Configure, Then::GoOn),
        (Say::SuggestDifficulty, Then::GoOn),
        (Say::Authorize, Then::GoOn),
        (Say::ExtranonceSubscribe, Then::GoOn),
    ],
    reconnect_after: Duration::from_secs(1),
    ..ESP_MINER
};

static AVALON: Profile = Profile { user_limit: Some(63), ..CGMINER };

static ANTMINER: Profile = Profile {
    agent: "bmminer/2.0.0/Antminer S23 Pro/580000",
    steps: &[
        (Say::Configure, Then::Answer),
        (Say::Subscribe, Then::Answer),
        (Say::ExtranonceSubscribe, Then::GoOn),
        (Say::Authorize, Then::Answer),
    ],
    configure: r#"[["minimum-difficulty","version-rolling"],{"minimum-difficulty.value":2048,"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]"#,
    extranonce2_sizes: &[4, 5, 6, 7, 8],
    extranonce2_words: "4 to 8",
    reconnect_after: Duration::from_secs(10),
    ..CGMINER
};

static WHATSMINER: Profile = Profile {
    agent: "btminer/1.9",
    steps: &[(Say::Configure, Then::Answer), (Say::Subscribe, Then::Answer), (Say::Authorize, Then::Answer)],
    user_limit: Some(127),
    reconnect_after: Duration::from_secs(10),
    ..CGMINER
};

static CPUMINER: Profile = Profile {
    agent: "cpuminer/2.5.1",
    steps: &[(Say::Subscribe, Then::Answer), (Say::Authorize, Then::Answer)],
    ids: Ids::SubmitAlways(4),
    version_bits: VersionBits::None,
    extranonce2_sizes: &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    extranonce2_words: "2 to 16",
    coinbase_limit: 4096,
    silence: Duration::from_mins(2),
    reconnect_after: Duration::from_secs(30),
    ..CGMINER
};

static ADVERSARY: Profile = Profile {
    agent: "warppool-adversary",
    steps: &[(Say::Subscribe, Then::GoOn), (Say::Authorize, Then::GoOn)],
    reconnect_after: Duration::from_millis(100),
    ..CGMINER
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_persona_is_found_by_its_name_and_no_other_name_is() {
        for persona in Persona::ALL {
            assert_eq!(persona.name().parse(), Ok(persona));
            assert_eq!(serde_json::to_value(persona).unwrap(), persona.name());
            assert!(serde_json::from_str::<serde_json::Value>(persona.profile().configure).is_ok());
        }
        for name in ["", "bitaxe", "Bitaxe-Ultra", "nerdminer-v2 "] {
            assert!(name.parse::<Persona>().unwrap_err().to_string().contains("nerd-octaxe"), "{name}");
        }
    }
}
