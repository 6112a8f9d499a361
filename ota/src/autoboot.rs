//! `autoboot.txt`: which slot the firmware starts, and which one for a trial.
//!
//! Both versions of it have the same length and fit into one sector, so that committing overwrites that one data sector in place:
//! no FAT, no folder, nothing else moves. It is the only dangerous write there is.

use std::io;

use crate::disk::{Disk, SECTOR};
use crate::layout::Slot;
use crate::p1::{self, P1Error};

/// Its name on partition 1.
pub const NAME: &str = "autoboot.txt";
/// The firmware reads no more of it, bytes.
pub const LONGEST: usize = 512;

/// What `autoboot.txt` says: the slot that is started, and, once, by a trial the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autoboot {
    pub committed: Slot,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutobootError {
    #[error("autoboot.txt cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("autoboot.txt {0}")]
    Text(BadText),
    #[error("partition 1: {0}")]
    Partition(#[from] P1Error),
    #[error("autoboot.txt reads back as something else than was written: the card is worn out; use another one")]
    NotWritten,
}

/// Why a text is not one of the two that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadText {
    #[error("is longer than the 512 bytes the firmware reads")]
    TooLong,
    #[error("is not text")]
    NotText,
    #[error("does not switch tryboot_a_b on")]
    NotAb,
    #[error("names no partition to boot")]
    NoPartition,
    #[error("names partition {0}, which is no slot")]
    NotASlot(u32),
    #[error("names the same slot for a trial as for every boot")]
    SameSlot,
}

impl Autoboot {
    pub fn new(committed: Slot) -> Self {
        Self { committed }
    }

    /// The slot that a trial starts.
    pub fn trial(self) -> Slot {
        self.committed.other()
    }

    /// What is written to the card.
    pub fn text(self) -> String {
        format!(
            "[all]\ntryboot_a_b=1\nboot_partition={}\n[tryboot]\nboot_partition={}\n",
            self.committed.partition(),
            self.trial().partition()
        )
    }

    /// Reads the file as the firmware does, and refuses what it would not find both slots in.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadText> {
        let Settings { tryboot_a_b, boot, trial } = Settings::parse(bytes)?;
        if !tryboot_a_b {
            return Err(BadText::NotAb);
        }
        let slot = |number: Option<u32>| {
            let number = number.ok_or(BadText::NoPartition)?;
            Slot::from_partition(number).ok_or(BadText::NotASlot(number))
        };
        let (committed, trial) = (slot(boot)?, slot(trial)?);
        if committed == trial { Err(BadText::SameSlot) } else { Ok(Self { committed }) }
    }

    /// The data sector that holds it: the text, then zeros.
    fn sector(self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        let text = self.text();
        sector[..text.len()].copy_from_slice(text.as_bytes());
        sector
    }
}

/// What the firmware makes of the file: settings before any section and under `[all]` hold always, those under `[tryboot]` for a
/// trial, those under `[none]` never. A later line wins. Names in capitals and blanks around `=` are not counted on: a file that has
/// them is repaired rather than trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Settings {
    tryboot_a_b: bool,
    boot: Option<u32>,
    trial: Option<u32>,
}

impl Settings {
    fn parse(bytes: &[u8]) -> Result<Self, BadText> {
        if bytes.len() > LONGEST {
            return Err(BadText::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadText::NotText)?;
        if text.contains('\0') {
            return Err(BadText::NotText);
        }
        let mut settings = Self::default();
        let (mut always, mut trial) = (true, true);
        for line in text.lines().map(str::trim_end) {
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                (always, trial) = match section {
                    "all" => (true, true),
                    "tryboot" => (false, true),
                    _ => (false, false),
                };
                continue;
            }
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.parse::<u32>().ok();
            match name {
                "tryboot_a_b" if always => settings.tryboot_a_b = value == Some(1),
                "boot_partition" => {
                    if always {
                        settings.boot = value;
                    }
                    if trial {
                        settings.trial = value;
                    }
                }
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// Reads partition 1 and the file on it.
pub fn read(p1: &mut dyn Disk) -> Result<Autoboot, AutobootError> {
    let bytes = p1::read(p1)?;
    Autoboot::parse(&bytes).map_err(AutobootError::Text)
}

/// Makes `slot` the one that is started from now on: one sector is overwritten in place, made durable and read back.
///
/// Refuses when partition 1 is not as it was made; then [`repair`] is to be used. The caller has written its journalled copy before.
pub fn commit(p1: &mut dyn Disk, slot: Slot) -> Result<(), AutobootError> {
    let wanted = Autoboot::new(slot);
    let place = p1::locate(p1)?;
    if place.len as usize != wanted.text().len() {
        return Err(P1Error::Changed("autoboot.txt has another length").into());
    }
    if Autoboot::parse(&p1::read(p1)?) == Ok(wanted) {
        return Ok(());
    }
    write_sector(p1, place.offset, wanted)
}

/// [`commit`], and where partition 1 is not as it was made, [`repair`]: a file that somebody edited is no reason to keep no version.
pub fn commit_or_repair(p1: &mut dyn Disk, slot: Slot) -> Result<(), AutobootError> {
    match commit(p1, slot) {
        Err(AutobootError::Partition(P1Error::Changed(_) | P1Error::Fat(_))) => repair(p1, slot),
        done => done,
    }
}

/// Brings partition 1 back from the journalled copy: in place where its file system still leads to the file, and otherwise by making
/// the whole partition anew, in an order in which a power cut leaves it ignored by the firmware, or right.
pub fn repair(p1: &mut dyn Disk, slot: Slot) -> Result<(), AutobootError> {
    let wanted = Autoboot::new(slot);
    match p1::locate(p1) {
        Ok(place) if place.len as usize == wanted.text().len() && p1::is_alone(p1) => {
            write_sector(p1, place.offset, wanted)?;
        }
        _ => p1::write(p1, &wanted.text())?,
    }
    if read(p1)? == wanted { Ok(()) } else { Err(AutobootError::NotWritten) }
}

fn write_sector(p1: &mut dyn Disk, offset: u64, wanted: Autoboot) -> Result<(), AutobootError> {
    let sector = wanted.sector();
    p1.write_at(offset, &sector)?;
    p1.flush()?;
    let mut back = [0; SECTOR];
    p1.read_at(offset, &mut back)?;
    if back == sector { Ok(()) } else { Err(AutobootError::NotWritten) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_as_long_as_one_another_and_fit_in_a_sector() {
        let [a, b] = Slot::BOTH.map(|slot| Autoboot::new(slot).text());
        assert_eq!(a, "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n");
        assert_eq!(b, "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n");
        assert!(a.len() == b.len() && a.len() <= SECTOR);
        for slot in Slot::BOTH {
            assert_eq!(Autoboot::parse(Autoboot::new(slot).text().as_bytes()), Ok(Autoboot::new(slot)));
        }
    }

    #[test]
    fn the_file_is_read_as_the_firmware_reads_it() {
        let long = format!("{}{}", Autoboot::new(Slot::A).text(), " ".repeat(512));
        for (text, expected) in [
            ("tryboot_a_b=1\r\nboot_partition=3\r\n[tryboot]\r\nboot_partition=2\r\n", Ok(Slot::B)),
            (
                "[none]\nboot_partition=9\n[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3",
                Ok(Slot::A),
            ),
            (
                "[TRYBOOT]\nboot_partition=2\n[ALL]\ntryboot_a_b = 1\n[all]\nboot_partition = 3\n[tryboot]\nboot_partition=2",
                Err(BadText::NotAb),
            ),
            (
                "# note\n\n[all]\ntryboot_a_b=1\nboot_partition=3\nboot_partition=2\n[tryboot]\nboot_partition=3",
                Ok(Slot::A),
            ),
            ("[all]\nboot_partition=2\n[tryboot]\nboot_partition=3", Err(BadText::NotAb)),
            ("[tryboot]\ntryboot_a_b=1\nboot_partition=3\n[all]\nboot_partition=2", Err(BadText::NotAb)),
            ("[all]\ntryboot_a_b=1\n[tryboot]\nboot_partition=3", Err(BadText::NoPartition)),
            ("[all]\ntryboot_a_b=1\nboot_partition=2\n", Err(BadText::SameSlot)),
            ("[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2", Err(BadText::SameSlot)),
            ("[all]\ntryboot_a_b=1\nboot_partition=4\n[tryboot]\nboot_partition=3", Err(BadText::NotASlot(4))),
            ("[all]\ntryboot_a_b=1\nboot_partition=x\n[tryboot]\nboot_partition=3", Err(BadText::NoPartition)),
            ("", Err(BadText::NotAb)),
            ("[all]\0", Err(BadText::NotText)),
            (long.as_str(), Err(BadText::TooLong)),
        ] {
            assert_eq!(Autoboot::parse(text.as_bytes()), expected.map(Autoboot::new), "{text:?}");
        }
        assert_eq!(Autoboot::parse(&[0xff, 0xfe]), Err(BadText::NotText));
    }
}
