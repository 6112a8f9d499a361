//! `warppool ota keygen | sign | inspect | verify`: what a developer does with files. Nothing is printed here; values have a Display.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

use crate::bundle::{self, BundleError, BundleHeader};
use crate::digest::KeyId;
use crate::disk::{Disk, FileDisk, Window};
use crate::envelope::{self, EnvelopeError, Head, Kind};
use crate::feed::{Feed, FeedError};
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::layout::Slot;
use crate::manifest::SlotManifest;
use crate::mbr;
use crate::slot::{self, Verdict};
use crate::trust::{BadToml, Trust};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Toml(#[from] BadToml),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("{0} is no bundle, slot manifest or feed of WarpPool")]
    Unknown(PathBuf),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    move |error| CliError::Io { path: path.into(), error }
}

/// A key that was made. Its Display is what goes into `trust.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    pub path: PathBuf,
    pub public: PublicKey,
}

impl fmt::Display for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "The private key is in {}: keep it where no build machine's neighbour can read it.",
            self.path.display()
        )?;
        writeln!(f, "Its id is {}. For trust.toml:\n", self.public.id())?;
        write!(f, "[[keys]]\nname = \"release\"\npublic = \"{}\"", self.public)
    }
}

/// Makes a key and writes its private half, readable by its owner only.
pub fn keygen(path: &Path) -> Result<NewKey, CliError> {
    let key = PrivateKey::generate();
    key.write_new(path)?;
    Ok(NewKey { path: path.into(), public: key.public() })
}

/// Reads a `trust.toml`.
pub fn read_trust(path: &Path) -> Result<Trust, CliError> {
    Ok(Trust::parse(&fs::read_to_string(path).map_err(at(path))?)?)
}

/// Makes a bundle of a slot image; see [`bundle::write`].
pub fn sign_bundle(
    slot: &Path,
    trust: &Trust,
    minimum_eeprom: u64,
    key: &PrivateKey,
    out: &Path,
) -> Result<BundleHeader, CliError> {
    let mut slot = FileDisk::open_read_only(slot).map_err(at(slot))?;
    let file = File::create(out).map_err(at(out))?;
    let header = bundle::write(&mut slot, trust, minimum_eeprom, key, &mut BufWriter::new(&file))?;
    file.sync_all().map_err(at(out))?;
    Ok(header)
}

/// Signs a feed that is written as TOML.
pub fn sign_feed(toml: &Path, key: &PrivateKey, out: &Path) -> Result<Feed, CliError> {
    let feed = Feed::from_toml(&fs::read_to_string(toml).map_err(at(toml))?)?;
    fs::write(out, feed.seal(key)?).map_err(at(out))?;
    Ok(feed)
}

/// What a signed file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub key: KeyId,
    pub signature: Signature,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    Good,
    /// No trust was given to check it by.
    NotChecked,
    Bad(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Bundle(BundleHeader),
    Slot(SlotManifest),
    Feed(Feed),
}

/// Shows what a bundle, slot manifest or feed says, also when its signature is not good: then it says so.
pub fn inspect(path: &Path, trust: Option<&Trust>) -> Result<Inspection, CliError> {
    let most = Kind::Bundle.longest() + envelope::HEAD as u64;
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(at(path))?;
    let (head, payload) = envelope::unverified(&bytes).ok_or_else(|| CliError::Unknown(path.into()))?;
    let content = match head.kind() {
        Kind::Bundle => Content::Bundle(envelope::decode(Kind::Bundle, payload)?),
        Kind::Slot => Content::Slot(envelope::decode(Kind::Slot, payload)?),
        Kind::Feed => Content::Feed(envelope::decode(Kind::Feed, payload)?),
    };
    Ok(Inspection { key: head.key(), signature: judge(&head, payload, trust), content })
}

fn judge(head: &Head, payload: &[u8], trust: Option<&Trust>) -> Signature {
    match trust.map(|trust| head.verify(payload, trust)) {
        None => Signature::NotChecked,
        Some(Ok(())) => Signature::Good,
        Some(Err(error)) => Signature::Bad(error.to_string()),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Bundle(header) => {
                let BundleHeader { product, hardware, version, built, minimum_eeprom, slot_size, chunks, zeros } =
                    header;
                writeln!(f, "update bundle: {product} {version} for {hardware}, built {built}")?;
                writeln!(f, "minimum boot loader: {minimum_eeprom}")?;
                let late = chunks.iter().filter(|chunk| chunk.late).count();
                writeln!(
                    f,
                    "slot: {slot_size} bytes; {} chunks of {} bytes, {late} late",
                    chunks.len(),
                    header.bytes()
                )?;
                writeln!(f, "runs of zeros: {}", zeros.len())?;
            }
            Content::Slot(manifest) => {
                let SlotManifest { product, hardware, version, built, files } = manifest;
                writeln!(f, "slot manifest: {product} {version} for {hardware}, built {built}")?;
                for file in files {
                    writeln!(f, "  {} {:>10}  {}", file.sha256, file.size, file.name)?;
                }
            }
            Content::Feed(feed) => {
                let Feed { product, channel, serial, issued, expires, releases } = feed;
                writeln!(f, "release feed: {product} {channel}, serial {serial}, issued {issued}, expires {expires}")?;
                for release in releases {
                    let crate::feed::FeedRelease { version, hardware, url, size, percent, .. } = release;
                    writeln!(f, "  {version} for {hardware}, {size} bytes, {percent} %: {url}")?;
                }
            }
        }
        write!(f, "signed by {}: ", self.key)?;
        match &self.signature {
            Signature::Good => f.write_str("good"),
            Signature::NotChecked => f.write_str("not checked"),
            Signature::Bad(why) => write!(f, "NOT GOOD: {why}"),
        }
    }
}

/// The verdicts over a slot image, or over both slots of a disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification(pub Vec<(Option<Slot>, Verdict)>);

impl Verification {
    /// Every slot is sound, an empty one aside, and at least one is.
    pub fn is_sound(&self) -> bool {
        self.0.iter().any(|(_, verdict)| verdict.is_sound())
            && self.0.iter().all(|(slot, verdict)| verdict.is_sound() || slot.is_some() && is_empty(verdict))
    }
}

fn is_empty(verdict: &Verdict) -> bool {
    matches!(verdict.damage.as_slice(), [slot::Damage::FileSystem(_)])
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (slot, verdict)) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            if let Some(slot) = slot {
                write!(f, "slot {slot}: ")?;
            }
            match &verdict.manifest {
                Some(manifest) if verdict.damage.is_empty() => {
                    write!(f, "{} {}, {} files, sound", manifest.product, manifest.version, manifest.files.len())?;
                }
                Some(manifest) => write!(f, "{} {}, damaged", manifest.product, manifest.version)?,
                None if is_empty(verdict) => write!(f, "empty")?,
                None => write!(f, "not a sound slot")?,
            }
            for damage in &verdict.damage {
                write!(f, "\n  {damage}")?;
            }
            for name in &verdict.foreign {
                write!(f, "\n  {name} is not WarpPool's, which does no harm")?;
            }
        }
        Ok(())
    }
}

/// Reads every file of a slot image, or of both slots of a disk image.
pub fn verify(path: &Path, trust: &Trust) -> Result<Verification, CliError> {
    let mut disk = FileDisk::open_read_only(path).map_err(at(path))?;
    let Ok(layout) = mbr::read(&mut disk) else {
        return Ok(Verification(vec![(None, slot::verify(&mut disk, trust))]));
    };
    let mut verdicts = Vec::new();
    for slot in Slot::BOTH {
        let mut window = Window::new(&mut disk as &mut dyn Disk, layout.slot(slot).bytes()).map_err(at(path))?;
        verdicts.push((Some(slot), slot::verify(&mut window, trust)));
    }
    Ok(Verification(verdicts))
}
