//! `config.txt`: the files a partition boots.
//!
//! Only what chooses files is read. A setting that would choose files in a way this model does not know is an error, not
//! something to overlook.

use crate::eeprom::Eeprom;

/// Characters of a line that count. The limit was 78 and is 98 (documentation, "config.txt"); the shorter holds everywhere.
const LINE: usize = 78;

/// Settings that choose or change the files loaded and are not modelled.
const FOREIGN: &[&str] = &[
    "auto_initramfs",
    "boot_ramdisk",
    "include",
    "kernel_address",
    "kernel_old",
    "os_prefix",
    "ramfsaddr",
    "ramfsfile",
    "upstream_kernel",
];

/// The board the loader runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    Pi5,
    Pi500,
    Cm5,
    /// A machine that brings its device tree itself: the loader asks the partition for none.
    Virt,
}

impl Board {
    /// The device trees of which one marks a partition as made for this board (`os_check`; for the CM5 since 2025-03-27).
    pub(crate) fn device_trees(self) -> &'static [&'static str] {
        match self {
            Self::Pi5 => &["bcm2712-rpi-5-b.dtb"],
            Self::Pi500 => &["bcm2712-rpi-500.dtb"],
            Self::Cm5 => &["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm5io.dtb"],
            Self::Virt => &[],
        }
    }

    fn is(self, filter: &str) -> bool {
        match filter {
            "pi5" => self != Self::Virt,
            "pi500" => self == Self::Pi500,
            "cm5" => self == Self::Cm5,
            _ => false,
        }
    }
}

/// What decides the filters of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub board: Board,
    pub eeprom: Eeprom,
    pub tryboot: bool,
    pub partition: u32,
}

/// The files one partition boots, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// `kernel=`; without it the loader's own names are tried.
    pub kernel: Option<String>,
    pub cmdline: String,
    /// To be joined in this order.
    pub initramfs: Vec<String>,
    /// `device_tree=`; without it the board's.
    pub device_tree: Option<String>,
    /// Look for a device tree of this board before booting.
    pub os_check: bool,
}

/// A line this model cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.txt says {0:?}, which this model does not know")]
pub(crate) struct NotModelled(pub String);

impl Config {
    pub fn parse(bytes: &[u8], circumstances: Circumstances) -> Result<Self, NotModelled> {
        let mut config =
            Self { kernel: None, cmdline: "cmdline.txt".into(), initramfs: vec![], device_tree: None, os_check: true };
        let mut filters = Filters::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            let line: String = line.trim_end_matches('\r').chars().take(LINE).collect();
            if let Some(filter) = line.strip_prefix('[').and_then(|rest| rest.trim_end().strip_suffix(']')) {
                filters.meet(filter, circumstances);
            } else if filters.pass() && !line.starts_with('#') {
                config.take(&line)?;
            }
        }
        Ok(config)
    }

    fn take(&mut self, line: &str) -> Result<(), NotModelled> {
        let foreign = || NotModelled(line.into());
        // `initramfs` alone is written without `=` (documentation, "initramfs"); with one it is not understood.
        if let Some(rest) = line.strip_prefix("initramfs ") {
            let (names, address) = rest.trim().split_once(' ').ok_or_else(foreign)?;
            if !matches!(address.trim(), "followkernel" | "0") {
                return Err(foreign());
            }
            self.initramfs = names.split(',').map(str::to_owned).collect();
            return Ok(());
        }
        let Some((key, value)) = line.split_once('=') else {
            let word = line.split_ascii_whitespace().next().unwrap_or_default();
            return if FOREIGN.contains(&word) { Err(foreign()) } else { Ok(()) };
        };
        match key {
            "kernel" => self.kernel = Some(value.trim_end().into()),
            "cmdline" => self.cmdline = value.trim_end().into(),
            "device_tree" => self.device_tree = Some(value.trim_end().into()),
            "os_check" => self.os_check = value.trim_end() != "0",
            // Everything that boots a Pi 5 is 64 bits wide.
            "arm_64bit" if value.trim_end() == "0" => return Err(foreign()),
            _ if FOREIGN.contains(&key) && value.trim_end() != "0" => return Err(foreign()),
            _ => {}
        }
        Ok(())
    }
}

/// Filters of different kinds add up, one of the same kind replaces the last, and `[all]` forgets them all (documentation,
/// "Combining conditional filters"). `None` is a kind that nothing was said of.
#[derive(Clone, Copy, Debug, Default)]
struct Filters {
    model: Option<bool>,
    tryboot: Option<bool>,
    partition: Option<bool>,
    other: Option<bool>,
}

impl Filters {
    fn meet(&mut self, filter: &str, circumstances: Circumstances) {
        match filter.split_once('=') {
            None if filter == "all" => *self = Self::default(),
            None if filter == "tryboot" => self.tryboot = Some(circumstances.tryboot),
            None if filter.starts_with("pi") || filter.starts_with("cm") => {
                self.model = Some(circumstances.board.is(filter));
            }
            Some(("boot_partition", number)) if circumstances.eeprom.filters_partition() => {
                self.partition = Some(number.parse() == Ok(circumstances.partition));
            }
            // `[none]`, and what a loader (or this model) does not know: nothing that follows counts.
            _ => self.other = Some(false),
        }
    }

    fn pass(self) -> bool {
        [self.model, self.tryboot, self.partition, self.other].into_iter().flatten().all(|passes| passes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circumstances() -> Circumstances {
        Circumstances { board: Board::Pi5, eeprom: Eeprom::current(), tryboot: false, partition: 2 }
    }

    fn parse(text: &str) -> Config {
        Config::parse(text.as_bytes(), circumstances()).unwrap()
    }

    #[test]
    fn names_are_taken_as_written() {
        let config = parse("# files\r\nkernel=kernel.img\r\ncmdline=line.txt\ndevice_tree=pi.dtb\nos_check=0\n");
        assert_eq!(config.kernel.as_deref(), Some("kernel.img"));
        assert_eq!(
            (config.cmdline.as_str(), config.device_tree.as_deref(), config.os_check),
            ("line.txt", Some("pi.dtb"), false)
        );
    }

    #[test]
    fn initramfs_takes_several_files_and_no_equals_sign() {
        assert_eq!(parse("initramfs a.zst,b.zst followkernel").initramfs, ["a.zst", "b.zst"]);
        assert_eq!(parse("initramfs a 0").initramfs, ["a"]);
        assert_eq!(parse("initramfs=a followkernel").initramfs, [""; 0]);
    }

    #[test]
    fn what_stands_past_the_78th_character_is_not_read() {
        let long = format!("{}.img", "k".repeat(70));
        assert_eq!(parse(&format!("kernel={long}")).kernel.unwrap().len(), LINE - "kernel=".len());
    }

    #[test]
    fn filters_add_up_and_all_forgets_them() {
        #[track_caller]
        fn case(text: &str, kernel: Option<&str>) {
            assert_eq!(parse(text).kernel.as_deref(), kernel, "{text:?}");
        }
        case("[pi5]\nkernel=a", Some("a"));
        case("[pi4]\nkernel=a", None);
        case("[pi4]\n[pi5]\nkernel=a", Some("a"));
        case("[cm5]\nkernel=a\n[all]\nkernel=b", Some("b"));
        case("[tryboot]\nkernel=a", None);
        case("[tryboot]\n[pi5]\nkernel=a", None);
        case("[none]\n[pi5]\nkernel=a", None);
        case("[boot_partition=2]\nkernel=a", Some("a"));
        case("[boot_partition=3]\nkernel=a", None);
        case("[gpio4=1]\nkernel=a", None);
    }

    #[test]
    fn the_filter_by_partition_hides_its_lines_from_a_loader_that_does_not_know_it() {
        let old = Circumstances { eeprom: Eeprom::released(2025, 3, 9), ..circumstances() };
        assert_eq!(Config::parse(b"[boot_partition=2]\nkernel=a", old).unwrap().kernel, None);
    }

    #[test]
    fn a_setting_that_chooses_files_in_an_unknown_way_is_refused() {
        for line in ["os_prefix=a/", "include b.txt", "auto_initramfs=1", "arm_64bit=0", "initramfs a 0x800000"] {
            assert!(Config::parse(line.as_bytes(), circumstances()).is_err(), "{line}");
        }
        assert!(Config::parse(b"auto_initramfs=0\narm_64bit=1\ndtparam=audio=on", circumstances()).is_ok());
    }
}
