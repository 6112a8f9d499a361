//! Device classes by user agent, and the difficulty each starts with.

use serde::{Deserialize, Serialize};

use crate::Difficulty;

/// What kind of machine a miner says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceClass {
    /// ESP32 boards hashing on their own processor.
    NerdMiner,
    Cpu,
    Bitaxe,
    /// NerdQAxe, NerdOctaxe: several chips on one board.
    NerdAxe,
    /// Avalon Nano, Avalon Q and their larger kin.
    Avalon,
    Whatsminer,
    Antminer,
    /// Hash power brokers.
    Rental,
    Unknown,
}

/// Parts of user agents in lower case, the more telling first.
const AGENTS: &[(&str, DeviceClass)] = &[
    ("nerdminer", DeviceClass::NerdMiner),
    ("nerdqaxe", DeviceClass::NerdAxe),
    ("nerdoctaxe", DeviceClass::NerdAxe),
    ("nerdaxe", DeviceClass::Bitaxe),
    ("nerdnos", DeviceClass::NerdAxe),
    ("bitaxe", DeviceClass::Bitaxe),
    ("esp-miner", DeviceClass::Bitaxe),
    ("bitforge", DeviceClass::Bitaxe),
    ("bitdsk", DeviceClass::Bitaxe),
    ("leafminer", DeviceClass::NerdMiner),
    ("sparkminer", DeviceClass::NerdMiner),
    ("esp32", DeviceClass::NerdMiner),
    ("hmminer", DeviceClass::NerdMiner),
    ("nicehash", DeviceClass::Rental),
    ("miningrigrentals", DeviceClass::Rental),
    ("braiins hashpower", DeviceClass::Rental),
    ("cpuminer", DeviceClass::Cpu),
    ("whatsminer", DeviceClass::Whatsminer),
    ("btminer", DeviceClass::Whatsminer),
    ("avalon", DeviceClass::Avalon),
    ("canaan", DeviceClass::Avalon),
    ("antminer", DeviceClass::Antminer),
    ("bmminer", DeviceClass::Antminer),
    ("bosminer", DeviceClass::Antminer),
    ("bosm", DeviceClass::Antminer),
    ("luxminer", DeviceClass::Antminer),
    ("vnish", DeviceClass::Antminer),
    // Avalon and others ship it under its own name; the smallest of them must get work it can finish.
    ("cgminer", DeviceClass::Avalon),
];

impl DeviceClass {
    pub fn from_agent(agent: &str) -> Self {
        let agent = agent.to_ascii_lowercase();
        AGENTS.iter().find(|(part, _)| agent.contains(part)).map_or(Self::Unknown, |(_, class)| *class)
    }

    /// What a machine of this class begins with; vardiff takes it from there.
    pub fn start_difficulty(self) -> Difficulty {
        let value = match self {
            Self::NerdMiner => 1e-3,
            Self::Cpu => 0.1,
            Self::Bitaxe => 1_000.0,
            Self::NerdAxe => 8_000.0,
            Self::Avalon => 16_384.0,
            Self::Whatsminer | Self::Antminer => 262_144.0,
            Self::Rental => 1_000_000.0,
            // Low enough for a small machine to be heard of soon; a large one is stepped up within seconds.
            Self::Unknown => 256.0,
        };
        Difficulty::new(value).expect("each is finite and above zero")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_real_firmware_are_told_apart() {
        let case = |agent: &str, class| assert_eq!(DeviceClass::from_agent(agent), class, "{agent}");
        case("NerdMinerV2", DeviceClass::NerdMiner);
        case("bitaxe/BM1366/v2.4.0", DeviceClass::Bitaxe);
        case("NerdQAxe++/BM1370/v1.0.29", DeviceClass::NerdAxe);
        case("NerdOCTAXE-γ/BM1370", DeviceClass::NerdAxe);
        case("cgminer/4.11.1", DeviceClass::Avalon);
        case("bmminer/2.0.0/Antminer S19/a1", DeviceClass::Antminer);
        case("bosminer-plus-tuner", DeviceClass::Antminer);
        case("whatsminer/v1.1", DeviceClass::Whatsminer);
        case("cpuminer/2.5.1", DeviceClass::Cpu);
        case("NiceHash/1.0.0", DeviceClass::Rental);
        case("", DeviceClass::Unknown);
        case("🦀", DeviceClass::Unknown);
    }
}
