//! Profiles: how large a pool is meant to be, and what follows from it for everything the operator left open.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hardware::{Hardware, Storage};
use crate::model::Config;

/// The size of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileKind {
    /// A few home miners.
    #[serde(alias = "klein")]
    Small,
    /// A household and its friends.
    #[serde(alias = "mittel")]
    Medium,
    /// Hundreds of miners.
    #[serde(alias = "gross")]
    Large,
    /// Thousands.
    Enterprise,
}

impl ProfileKind {
    pub const ALL: [Self; 4] = [Self::Small, Self::Medium, Self::Large, Self::Enterprise];

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Enterprise => "enterprise",
        }
    }

    /// Most connections.
    pub fn max_connections(self) -> u32 {
        match self {
            Self::Small => 64,
            Self::Medium => 256,
            Self::Large => 1024,
            Self::Enterprise => 4096,
        }
    }

    /// The smallest profile with room for `miners`, counting two connections for each: devices open a second one for
    /// heart-beats and fail-over.
    pub fn for_miners(miners: u32) -> Self {
        let fits = |kind: &Self| miners.saturating_mul(2) <= kind.max_connections();
        Self::ALL.into_iter().find(fits).unwrap_or(Self::Enterprise)
    }
}

impl fmt::Display for ProfileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for ProfileKind {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "small" | "klein" => Ok(Self::Small),
            "medium" | "mittel" => Ok(Self::Medium),
            "large" | "gross" => Ok(Self::Large),
            "enterprise" => Ok(Self::Enterprise),
            _ => Err(UnknownProfile(crate::kind::shown(text))),
        }
    }
}

/// A name that no profile has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile `{0}`; write small, medium, large or enterprise")]
pub struct UnknownProfile(String);

/// What chose the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChosenBy {
    Config,
    ExpectedMiners,
    Hardware,
}

/// The limits a running pool keeps: the profile's, where the configuration leaves them open. Plain values, swapped as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limits {
    pub profile: ProfileKind,
    pub chosen_by: ChosenBy,
    /// Connections in all.
    pub max_connections: u32,
    /// Connections of one peer address.
    pub max_connections_per_address: u32,
    /// What vardiff aims at.
    pub vardiff_target_seconds: f64,
    /// How often statistics are committed.
    pub ledger_commit_seconds: u64,
}

impl Limits {
    /// A profile's own limits.
    pub fn of(profile: ProfileKind, chosen_by: ChosenBy) -> Self {
        let (per_address, target, commit) = match profile {
            ProfileKind::Small => (32, 20.0, 60),
            ProfileKind::Medium => (128, 20.0, 60),
            ProfileKind::Large => (256, 30.0, 30),
            ProfileKind::Enterprise => (1024, 30.0, 30),
        };
        Self {
            profile,
            chosen_by,
            max_connections: profile.max_connections(),
            max_connections_per_address: per_address,
            vardiff_target_seconds: target,
            ledger_commit_seconds: commit,
        }
    }
}

/// The limits of this configuration on this hardware: by `[profile] kind`, else the expected miners, else the hardware.
pub fn resolve(config: &Config, hardware: &Hardware) -> Limits {
    let (profile, chosen_by) = match (config.profile.kind, config.profile.expected_miner_count) {
        (Some(kind), _) => (kind, ChosenBy::Config),
        (None, Some(miners)) => (ProfileKind::for_miners(miners), ChosenBy::ExpectedMiners),
        (None, None) => (hardware.recommended_profile(), ChosenBy::Hardware),
    };
    let mut limits = Limits::of(profile, chosen_by);
    // An SD card wears out by writes, whatever the profile.
    if hardware.storage == Storage::SdCard {
        limits.ledger_commit_seconds = limits.ledger_commit_seconds.max(60);
    }
    if let Some(max) = config.stratum.max_connections {
        limits.max_connections = max;
    }
    if let Some(max) = config.stratum.max_connections_per_address {
        limits.max_connections_per_address = max;
    }
    if let Some(seconds) = config.vardiff.target_seconds_per_share {
        limits.vardiff_target_seconds = seconds;
    }
    if let Some(seconds) = config.ledger.commit_seconds {
        limits.ledger_commit_seconds = seconds;
    }
    limits.max_connections_per_address = limits.max_connections_per_address.min(limits.max_connections);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kind: Option<ProfileKind>, miners: Option<u32>) -> Config {
        let mut config = Config::default();
        config.profile.kind = kind;
        config.profile.expected_miner_count = miners;
        config
    }

    #[test]
    fn an_explicit_profile_wins_over_miners_and_miners_win_over_hardware() {
        #[track_caller]
        fn case(kind: Option<ProfileKind>, miners: Option<u32>, expected: ProfileKind, by: ChosenBy) {
            let limits = resolve(&config(kind, miners), &Hardware { cpus: 4, ..Hardware::default() });
            assert_eq!((limits.profile, limits.chosen_by), (expected, by));
        }
        case(Some(ProfileKind::Enterprise), Some(1), ProfileKind::Enterprise, ChosenBy::Config);
        case(None, Some(1), ProfileKind::Small, ChosenBy::ExpectedMiners);
        case(None, Some(32), ProfileKind::Small, ChosenBy::ExpectedMiners);
        case(None, Some(33), ProfileKind::Medium, ChosenBy::ExpectedMiners);
        case(None, Some(128), ProfileKind::Medium, ChosenBy::ExpectedMiners);
        case(None, Some(512), ProfileKind::Large, ChosenBy::ExpectedMiners);
        case(None, Some(u32::MAX), ProfileKind::Enterprise, ChosenBy::ExpectedMiners);
        case(None, None, ProfileKind::Medium, ChosenBy::Hardware);
    }

    #[test]
    fn a_larger_profile_never_has_a_smaller_limit() {
        for pair in ProfileKind::ALL.windows(2) {
            let [a, b] = [Limits::of(pair[0], ChosenBy::Config), Limits::of(pair[1], ChosenBy::Config)];
            assert!(a.max_connections < b.max_connections);
            assert!(a.max_connections_per_address < b.max_connections_per_address);
            assert!(a.vardiff_target_seconds <= b.vardiff_target_seconds);
        }
    }

    #[test]
    fn what_the_configuration_sets_wins_over_the_profile() {
        let mut config = config(Some(ProfileKind::Small), None);
        config.stratum.max_connections = Some(12_000);
        config.stratum.max_connections_per_address = Some(11_000);
        config.vardiff.target_seconds_per_share = Some(5.0);
        config.ledger.commit_seconds = Some(7);
        let limits = resolve(&config, &Hardware { storage: Storage::SdCard, ..Hardware::default() });
        assert_eq!((limits.max_connections, limits.max_connections_per_address), (12_000, 11_000));
        assert_eq!(limits.ledger_commit_seconds, 7);
        assert!((limits.vardiff_target_seconds - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn one_address_never_gets_more_than_there_is_in_all() {
        let mut config = config(Some(ProfileKind::Large), None);
        config.stratum.max_connections = Some(10);
        assert_eq!(resolve(&config, &Hardware::default()).max_connections_per_address, 10);
    }

    #[test]
    fn an_sd_card_is_written_once_a_minute_in_every_profile() {
        for kind in ProfileKind::ALL {
            let on = |storage| resolve(&config(Some(kind), None), &Hardware { storage, ..Hardware::default() });
            assert!(on(Storage::SdCard).ledger_commit_seconds >= 60);
            assert_eq!(
                on(Storage::Nvme).ledger_commit_seconds,
                Limits::of(kind, ChosenBy::Config).ledger_commit_seconds
            );
        }
    }

    #[test]
    fn the_old_names_of_the_profiles_are_understood() {
        for (old, kind) in
            [("klein", ProfileKind::Small), ("Mittel", ProfileKind::Medium), ("gross", ProfileKind::Large)]
        {
            assert_eq!(old.parse(), Ok(kind));
        }
        assert!("tiny".parse::<ProfileKind>().is_err());
        assert!(ProfileKind::ALL.iter().all(|kind| kind.name().parse() == Ok(*kind)));
    }
}
