//! The loader's release, and what that release can do.
//!
//! Dates are those of `firmware-2712/release-notes.md` in the rpi-eeprom repository. Where the notes are silent, an option lets
//! tests run both answers; the default is the one that hurts more.

/// A release's day, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: u16,
    pub month: u8,
    pub day: u8,
}

impl Date {
    /// A day of the calendar.
    pub const fn new(year: u16, month: u8, day: u8) -> Self {
        Self { year, month, day }
    }

    /// Seconds since 1970 at this day's start, UTC.
    pub fn seconds(self) -> u32 {
        // Days by the civil calendar, years beginning in March so that the leap day comes last.
        let (year, month) = (i64::from(self.year) - i64::from(self.month <= 2), i64::from(self.month));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let days = 365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468;
        (days * 86_400) as u32
    }
}

/// What "partition 0" boots when nothing named a partition and nothing walks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// The first FAT partition or none: what the notes of 2025-01-27 say the loader did before it learnt to walk.
    FirstFat,
    /// The first partition that is bootable: the wording of the documentation of `boot_partition`.
    FirstBootable,
}

/// What the tryboot flag does when no `autoboot.txt` says `tryboot_a_b=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostTryboot {
    /// Only a partition with `tryboot.txt` boots, as the documentation of tryboot says of the plain mode.
    NeedsTrybootTxt,
    /// A partition without `tryboot.txt` boots its `config.txt`.
    FallsBack,
}

/// One release of the loader and its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eeprom {
    /// The release.
    pub released: Date,
    /// `PARTITION_WALK`: look for another bootable partition when the wanted one is not.
    pub partition_walk: bool,
    /// See [`Zero`].
    pub zero: Zero,
    /// See [`LostTryboot`].
    pub lost_tryboot: LostTryboot,
}

impl Eeprom {
    /// A release as it is shipped, with the answers that hurt where the notes are silent.
    pub const fn released(year: u16, month: u8, day: u8) -> Self {
        let released = Date::new(year, month, day);
        let partition_walk = since(released, Date::new(2025, 8, 13));
        Self { released, partition_walk, zero: Zero::FirstFat, lost_tryboot: LostTryboot::NeedsTrybootTxt }
    }

    /// A recent release: all that is documented works.
    pub const fn current() -> Self {
        Self::released(2026, 5, 26)
    }

    /// The oldest release the appliance calls good.
    pub const fn floor() -> Self {
        Self::released(2025, 12, 8)
    }

    /// What the first boards were sold with.
    pub const fn oldest() -> Self {
        Self::released(2023, 10, 30)
    }

    /// The same release with `PARTITION_WALK` set; before 2025-01-27 the setting does not exist and stays off.
    #[must_use]
    pub const fn walking(self, on: bool) -> Self {
        Self { partition_walk: on && since(self.released, Date::new(2025, 1, 27)), ..self }
    }

    /// Several initramfs files need not be multiples of four bytes long.
    pub(crate) fn joins_unaligned(self) -> bool {
        self.released >= Date::new(2023, 11, 20)
    }

    /// `/chosen/bootloader/partition` tells the truth.
    pub(crate) fn reports_partition(self) -> bool {
        self.released >= Date::new(2024, 5, 13)
    }

    /// Boot counter and `arg1` exist.
    pub(crate) fn counts(self) -> bool {
        self.released >= Date::new(2025, 2, 11)
    }

    /// config.txt knows `[boot_partition=N]`.
    pub(crate) fn filters_partition(self) -> bool {
        self.released >= Date::new(2025, 3, 10)
    }

    /// `NVMe` reads of 32 MiB and more in one piece work.
    pub(crate) fn reads_large(self) -> bool {
        self.released >= Date::new(2025, 6, 9)
    }

    /// A fatal error ends in a reset, not in waiting for ever (`REBOOT_ON_FATAL_ERROR`).
    pub(crate) fn resets_when_fatal(self) -> bool {
        self.released >= Date::new(2026, 4, 14)
    }
}

/// `released` is `day` or later; comparing by `>=` is not possible in a constant.
const fn since(released: Date, day: Date) -> bool {
    key(released) >= key(day)
}

const fn key(date: Date) -> u32 {
    date.year as u32 * 10_000 + date.month as u32 * 100 + date.day as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_counted_from_1970() {
        for (date, seconds) in [
            (Date::new(1970, 1, 1), 0),
            (Date::new(2000, 2, 29), 951_782_400),
            (Date::new(2000, 3, 1), 951_868_800),
            (Date::new(2025, 12, 8), 1_765_152_000),
        ] {
            assert_eq!(date.seconds(), seconds, "{date:?}");
        }
    }

    #[test]
    fn walking_came_in_january_2025_and_is_on_since_august() {
        for (eeprom, shipped, asked) in [
            (Eeprom::oldest(), false, false),
            (Eeprom::released(2025, 1, 27), false, true),
            (Eeprom::released(2025, 8, 12), false, true),
            (Eeprom::released(2025, 8, 13), true, true),
            (Eeprom::floor(), true, true),
        ] {
            assert_eq!(eeprom.partition_walk, shipped, "{eeprom:?}");
            assert_eq!(eeprom.walking(true).partition_walk, asked, "{eeprom:?}");
            assert!(!eeprom.walking(false).partition_walk);
        }
    }
}
