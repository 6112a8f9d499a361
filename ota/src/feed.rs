//! The release feed: a signed list of what can be installed, one for each channel.
//!
//! A signature alone does not keep somebody from showing an old feed. Against replay the serial must not go down; against freezing a
//! feed expires, which is told as soon as the clock can be trusted.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::envelope::{self, EnvelopeError, Kind};
use crate::keys::PrivateKey;
use crate::trust::Trust;
use crate::version::Version;

/// A feed's name ends so.
pub const EXTENSION: &str = "wpf";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    #[default]
    Stable,
    Beta,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Beta => "beta",
        })
    }
}

/// What can be installed. Fields are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    pub product: String,
    pub channel: Channel,
    /// Rises with every feed of the channel.
    pub serial: u64,
    /// Unix seconds.
    pub issued: u64,
    /// Unix seconds; later, a newer feed must be there.
    pub expires: u64,
    pub releases: Vec<FeedRelease>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedRelease {
    pub version: Version,
    pub hardware: String,
    pub url: String,
    /// Bytes of the bundle.
    pub size: u64,
    /// Plain text.
    #[serde(default)]
    pub notes: String,
    /// Of 100 devices, how many are offered it without being asked.
    #[serde(default = "everybody")]
    pub percent: u8,
}

fn everybody() -> u8 {
    100
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("the feed is for {is}, and this is {should}: check the feed's address")]
    Product { is: String, should: String },
    #[error("the feed is of the channel {is}, and {should} was asked for: check the feed's address")]
    Channel { is: Channel, should: Channel },
    #[error("the feed is an old one: serial {is}, and {seen} was seen before; somebody may be holding updates back")]
    Replayed { is: u64, seen: u64 },
    #[error(
        "the feed expired at {expired} (Unix seconds): its server is out of date, or somebody is holding updates back"
    )]
    Expired { expired: u64 },
    #[error("the feed cannot be read: {0}")]
    Toml(String),
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    pub running: Version,
    /// Stable and the device's own; it decides whether a staged release is offered.
    pub device: String,
    /// Versions that failed here.
    pub given_up: Vec<Version>,
    /// Somebody asked by hand: staging and failures do not count.
    pub by_hand: bool,
}

impl Feed {
    /// Where a channel's feed lies under the address in `trust.toml`.
    pub fn url(base: &str, channel: Channel) -> String {
        format!("{}/{channel}.{EXTENSION}", base.trim_end_matches('/'))
    }

    /// Reads what a release engineer wrote: the same fields as TOML.
    pub fn from_toml(text: &str) -> Result<Self, FeedError> {
        toml::from_str(text).map_err(|error| FeedError::Toml(error.to_string()))
    }

    pub fn seal(&self, key: &PrivateKey) -> Result<Vec<u8>, EnvelopeError> {
        envelope::seal(Kind::Feed, key, &envelope::encode(self))
    }

    /// Reads a feed once its signature has been found good, and refuses one that is not the newest there can be.
    ///
    /// `seen` is the highest serial of this channel so far; `now`, in Unix seconds, is `None` until the clock is trusted.
    pub fn open(file: &[u8], trust: &Trust, channel: Channel, seen: u64, now: Option<u64>) -> Result<Self, FeedError> {
        let feed: Self = envelope::decode(Kind::Feed, envelope::open(Kind::Feed, file, trust)?)?;
        if feed.product != trust.product {
            return Err(FeedError::Product { is: feed.product, should: trust.product.clone() });
        }
        if feed.channel != channel {
            return Err(FeedError::Channel { is: feed.channel, should: channel });
        }
        if feed.serial < seen {
            return Err(FeedError::Replayed { is: feed.serial, seen });
        }
        if now.is_some_and(|now| now > feed.expires) {
            return Err(FeedError::Expired { expired: feed.expires });
        }
        Ok(feed)
    }

    /// The newest release that this device may have and does not run yet.
    pub fn offer(&self, trust: &Trust, asker: &Asker) -> Option<&FeedRelease> {
        let fits = |release: &&FeedRelease| {
            release.hardware == trust.hardware
                && release.version > asker.running
                && release.version >= trust.minimum_version
                && (asker.by_hand
                    || !asker.given_up.contains(&release.version)
                        && draw(&asker.device, &release.version) < release.percent)
        };
        self.releases.iter().filter(fits).max_by(|a, b| a.version.cmp(&b.version))
    }
}

/// A number below 100 that stays the same for a device and a version, and says nothing about the next version.
fn draw(device: &str, version: &Version) -> u8 {
    let hash = Sha256::new().chain_update(device).chain_update([0]).chain_update(version.to_string()).finalize();
    let number = hash[..8].iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    (number % 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key, trust};

    fn release(version: &str, percent: u8) -> FeedRelease {
        FeedRelease {
            version: version.parse().unwrap(),
            hardware: "rpi5".into(),
            url: format!("https://example.org/{version}.bundle"),
            size: 1,
            notes: String::new(),
            percent,
        }
    }

    fn feed(releases: Vec<FeedRelease>) -> Feed {
        Feed { product: "warppool".into(), channel: Channel::Stable, serial: 7, issued: 1000, expires: 2000, releases }
    }

    fn asker(device: &str) -> Asker {
        Asker { running: Version::new(1, 0, 0), device: device.into(), given_up: vec![], by_hand: false }
    }

    #[test]
    fn a_feed_that_lies_replays_or_freezes_is_refused_with_what_it_is() {
        let sealed = feed(vec![]).seal(&key()).unwrap();
        let open = |seen, now| Feed::open(&sealed, &trust(), Channel::Stable, seen, now);
        assert_eq!(open(0, Some(1500)), Ok(feed(vec![])));
        assert_eq!(open(7, Some(2000)), Ok(feed(vec![])), "the same feed again is no replay");
        assert_eq!(open(8, Some(1500)), Err(FeedError::Replayed { is: 7, seen: 8 }));
        assert_eq!(open(7, Some(2001)), Err(FeedError::Expired { expired: 2000 }));
        assert_eq!(open(7, None), Ok(feed(vec![])), "a clock that is not trusted judges nothing");
        let other = Feed::open(&sealed, &trust(), Channel::Beta, 0, None);
        assert_eq!(other, Err(FeedError::Channel { is: Channel::Stable, should: Channel::Beta }));
        let mut elsewhere = trust();
        elsewhere.product = "another".into();
        let refused = Feed::open(&sealed, &elsewhere, Channel::Stable, 0, None);
        assert!(matches!(refused, Err(FeedError::Product { .. })));
        assert!(matches!(Feed::open(&sealed[1..], &trust(), Channel::Stable, 0, None), Err(FeedError::Envelope(_))));
    }

    #[test]
    fn the_newest_release_that_fits_is_offered() {
        let mut foreign = release("9.0.0", 100);
        foreign.hardware = "rpi6".into();
        let feed = feed(vec![
            release("1.1.0", 100),
            release("1.3.0", 100),
            release("1.2.0", 100),
            release("1.4.0", 0),
            foreign,
        ]);
        let offered = |asker: &Asker| feed.offer(&trust(), asker).map(|release| release.version.to_string());
        let mut asker = asker("a");
        assert_eq!(offered(&asker).as_deref(), Some("1.3.0"));
        asker.given_up = vec!["1.3.0".parse().unwrap()];
        assert_eq!(offered(&asker).as_deref(), Some("1.2.0"));
        asker.by_hand = true;
        assert_eq!(offered(&asker).as_deref(), Some("1.4.0"), "who asks by hand is not kept waiting");
        asker.running = Version::new(1, 4, 0);
        assert_eq!(offered(&asker), None, "nothing older and nothing equal");
        let mut strict = trust();
        strict.minimum_version = Version::new(2, 0, 0);
        asker.running = Version::new(1, 0, 0);
        assert_eq!(feed.offer(&strict, &asker), None);
    }

    #[test]
    fn a_staged_release_reaches_about_its_share_of_devices_and_always_the_same() {
        let share = |percent| {
            let feed = feed(vec![release("1.1.0", percent)]);
            (0..2000).filter(|n| feed.offer(&trust(), &asker(&format!("device {n}"))).is_some()).count()
        };
        assert_eq!((share(0), share(100)), (0, 2000));
        assert!((400..600).contains(&share(25)), "{}", share(25));
        let chosen = |percent| {
            let feed = feed(vec![release("1.1.0", percent)]);
            (0..200).filter(|n| feed.offer(&trust(), &asker(&n.to_string())).is_some()).collect::<Vec<_>>()
        };
        assert!(
            chosen(20).iter().all(|device| chosen(50).contains(device)),
            "who was offered it stays so as the share rises"
        );
    }

    #[test]
    fn a_feed_is_written_as_toml() {
        let text = "product = 'warppool'\nchannel = 'beta'\nserial = 1\nissued = 2\nexpires = 3\n[[releases]]\nversion = '1.2.3'\n\
                    hardware = 'rpi5'\nurl = 'https://example.org/b'\nsize = 9\n";
        let feed = Feed::from_toml(text).unwrap();
        assert_eq!((feed.channel, feed.releases[0].percent), (Channel::Beta, 100));
        assert!(Feed::from_toml("serial = 'x'").is_err());
        assert_eq!(Feed::url("https://example.org/feed/", Channel::Beta), "https://example.org/feed/beta.wpf");
    }
}
