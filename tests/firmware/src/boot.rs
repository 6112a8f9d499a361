//! From a disk to a running kernel, or to the reason why there is none.
//!
//! One attempt reads as the loader's log does: try partition 0, read `autoboot.txt`, select a partition, try it, walk on when
//! it is not bootable, load its files.

use crate::autoboot::Autoboot;
use crate::config::{Board, Circumstances, Config};
use crate::disk::Disk;
use crate::eeprom::{LostTryboot, Zero};
use crate::fat::Volume;
use crate::mbr::{MbrError, Table};
use crate::registers::{Firmware, Medium};

/// The partition walk goes "up to 8" (documentation, `PARTITION_WALK`).
const LAST: u32 = 8;

/// Names tried when config.txt names no kernel.
const KERNELS: [&str; 2] = ["kernel_2712.img", "kernel8.img"];

/// From here on an `NVMe` read in one piece failed before 2025-06-09.
const LARGE: u64 = 32 << 20;

/// How much of the files is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// All bytes, as the loader reads them.
    Whole,
    /// Only that they are there, and how long: for tests that boot often and verify by other means.
    Names,
}

/// What a boot ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A kernel runs.
    Started(Box<Boot>),
    /// Nothing runs until somebody comes.
    Stuck(Stuck),
}

impl Outcome {
    /// The partition that runs.
    pub fn partition(&self) -> Option<u32> {
        match self {
            Self::Started(boot) => Some(boot.partition),
            Self::Stuck(_) => None,
        }
    }
}

/// What the loader hands to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The partition the files come from, whatever is reported.
    pub partition: u32,
    /// The device tree's `/chosen/bootloader`.
    pub chosen: Chosen,
    /// Name of the kernel.
    pub kernel: String,
    /// Names of the parts of the initramfs, in order.
    pub initramfs: Vec<String>,
    /// Name of the device tree; nothing on a machine that brings its own.
    pub device_tree: Option<String>,
    /// Content of cmdline.txt, one line.
    pub cmdline: String,
    /// Their bytes, when [`Load::Whole`] was asked for.
    pub files: Option<Files>,
    /// What was missing and did not stop the loader, though it may stop the kernel.
    pub complaints: Vec<String>,
}

/// Bytes of the files loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The kernel, which may be a gzip archive.
    pub kernel: Vec<u8>,
    /// All parts joined, each padded with zeros to a multiple of four bytes.
    pub initramfs: Vec<u8>,
}

/// Properties of `/chosen/bootloader`: big-endian u32s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// 0 from loaders before 2024-05-13, which do not tell.
    pub partition: u32,
    /// 1 when the tryboot flag was set, whichever partition boots.
    pub tryboot: u32,
    /// 1 for an SD card, 6 for `NVMe`.
    pub boot_mode: u32,
    /// Boots since power came on; absent before 2025-02-11.
    pub count: Option<u32>,
    /// The word set by the operating system; absent before 2025-02-11.
    pub arg1: Option<u32>,
    /// The loader's release, Unix seconds.
    pub build_timestamp: u32,
}

/// Why nothing runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    #[error(transparent)]
    NoTable(#[from] MbrError),
    #[error("no partition is bootable (wanted {wanted}); the loader goes through its boot order for ever: {}", tried.join("; "))]
    NothingBootable { wanted: u32, tried: Vec<String> },
    #[error("a fatal error that this loader shows for ever: {0}")]
    Fatal(String),
    #[error("a fatal error that resets the board again and again: {0}")]
    Resets(String),
    #[error("{0}")]
    NotModelled(String),
}

/// Boots the disk. Registers change as on the board: the counter rises, the tryboot flag is used up.
pub fn boot(disk: &dyn Disk, firmware: &mut Firmware, load: Load) -> Outcome {
    match attempt(disk, firmware, load) {
        Err(Trouble::Fatal(_)) if firmware.eeprom.resets_when_fatal() => match attempt(disk, firmware, load) {
            // Without the flags of the first attempt, which are used up, the second stands for all that follow.
            Err(Trouble::Fatal(why)) => Outcome::Stuck(Stuck::Resets(why)),
            other => settle(other),
        },
        other => settle(other),
    }
}

fn settle(attempt: Result<Boot, Trouble>) -> Outcome {
    match attempt {
        Ok(boot) => Outcome::Started(Box::new(boot)),
        Err(Trouble::Stuck(stuck)) => Outcome::Stuck(stuck),
        Err(Trouble::Fatal(why)) => Outcome::Stuck(Stuck::Fatal(why)),
    }
}

enum Trouble {
    Stuck(Stuck),
    Fatal(String),
}

impl From<Stuck> for Trouble {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck)
    }
}

fn attempt(disk: &dyn Disk, firmware: &mut Firmware, load: Load) -> Result<Boot, Trouble> {
    // The flag is cleared before anything runs, so that a crash or a reset boots as before.
    let tryboot = std::mem::take(&mut firmware.reboot_flags) & 1 != 0;
    let requested = std::mem::take(&mut firmware.reboot_partition);
    // Counted just before the boot order begins (release notes, 2025-02-11).
    firmware.count = firmware.count.wrapping_add(1);

    let table = Table::read(disk).map_err(Stuck::from)?;
    let autoboot = read_autoboot(disk, &table, tryboot);
    let loader = Loader { disk, firmware, table: &table, tryboot, a_b: autoboot.a_b };
    // A partition given to `reboot` goes before autoboot.txt (documentation, `boot_partition`).
    let wanted = if requested == 0 { autoboot.partition } else { requested };
    let candidate = loader.select(wanted)?;
    loader.start(candidate, load)
}

/// Anything that hinders reading counts as no file at all.
fn read_autoboot(disk: &dyn Disk, table: &Table, tryboot: bool) -> Autoboot {
    let bytes = table
        .first_fat()
        .and_then(|partition| Volume::open(disk, partition).ok())
        .and_then(|volume| volume.read("autoboot.txt").ok().flatten());
    bytes.map_or_else(Autoboot::default, |bytes| Autoboot::parse(&bytes, tryboot))
}

struct Loader<'a> {
    disk: &'a dyn Disk,
    firmware: &'a Firmware,
    table: &'a Table,
    tryboot: bool,
    a_b: bool,
}

/// A bootable partition.
struct Candidate<'a> {
    number: u32,
    volume: Volume<'a>,
    config: Config,
    device_tree: Option<String>,
}

enum Refusal {
    NotBootable(String),
    NotModelled(String),
}

impl<'a> Loader<'a> {
    /// The wanted partition, or the one the walk finds.
    fn select(&self, wanted: u32) -> Result<Candidate<'a>, Stuck> {
        let eeprom = self.firmware.eeprom;
        let order: Vec<u32> = if eeprom.partition_walk || (wanted == 0 && eeprom.zero == Zero::FirstBootable) {
            // From the wanted one on to 8, then from 0 up to it.
            (wanted..=LAST).chain(0..wanted.min(LAST + 1)).collect()
        } else {
            vec![wanted]
        };
        let mut tried = Vec::new();
        for number in order {
            match self.open(number) {
                Ok(candidate) => return Ok(candidate),
                Err(Refusal::NotBootable(why)) => tried.push(why),
                Err(Refusal::NotModelled(why)) => return Err(Stuck::NotModelled(why)),
            }
        }
        Err(Stuck::NothingBootable { wanted, tried })
    }

    /// A partition is bootable when it is FAT and holds config.txt and a device tree of this board (documentation,
    /// `PARTITION_WALK`, `os_check`). Its kernel is not looked for.
    fn open(&self, number: u32) -> Result<Candidate<'a>, Refusal> {
        let no = |why: String| Refusal::NotBootable(format!("partition {number}: {why}"));
        let partition = if number == 0 { self.table.first_fat() } else { self.table.get(number) };
        let partition = partition.ok_or_else(|| no("there is none".into()))?;
        if !partition.promises_fat() {
            return Err(no(format!("type {:#04x} is not FAT", partition.kind)));
        }
        let volume = Volume::open(self.disk, partition).map_err(|why| no(why.to_string()))?;
        let read = |name: &str| volume.read(name).map_err(|why| no(why.to_string()));
        let bytes = match (self.tryboot && !self.a_b, self.firmware.eeprom.lost_tryboot) {
            (false, _) => read("config.txt")?.ok_or_else(|| no("no config.txt".into()))?,
            (true, LostTryboot::NeedsTrybootTxt) => {
                read("tryboot.txt")?.ok_or_else(|| no("no tryboot.txt, and tryboot_a_b is not set".into()))?
            }
            (true, LostTryboot::FallsBack) => match read("tryboot.txt")? {
                Some(bytes) => bytes,
                None => read("config.txt")?.ok_or_else(|| no("neither tryboot.txt nor config.txt".into()))?,
            },
        };
        let Firmware { board, eeprom, .. } = *self.firmware;
        let circumstances = Circumstances { board, eeprom, tryboot: self.tryboot, partition: partition.number };
        let config = Config::parse(&bytes, circumstances).map_err(|why| Refusal::NotModelled(why.to_string()))?;
        let device_tree = self.device_tree(&volume, &config).map_err(no)?;
        Ok(Candidate { number: partition.number, volume, config, device_tree })
    }

    fn device_tree(&self, volume: &Volume, config: &Config) -> Result<Option<String>, String> {
        let board = self.firmware.board;
        let names = match &config.device_tree {
            _ if board == Board::Virt => return Ok(None),
            Some(name) => vec![name.as_str()],
            None => board.device_trees().to_vec(),
        };
        for name in &names {
            if volume.size(name).map_err(|why| why.to_string())?.is_some_and(|length| length > 0) {
                return Ok(Some((*name).into()));
            }
        }
        if config.os_check { Err(format!("no device tree for this board ({})", names.join(" or "))) } else { Ok(None) }
    }

    /// Loads the files. From here on nothing walks to another partition.
    fn start(&self, candidate: Candidate, load: Load) -> Result<Boot, Trouble> {
        let Candidate { number, volume, config, device_tree } = candidate;
        let mut complaints = Vec::new();

        let kernel = match &config.kernel {
            Some(name) => self.length(&volume, name)?.map(|_| name.clone()),
            None => self.default_kernel(&volume)?,
        };
        let kernel = kernel.ok_or_else(|| {
            let name = config.kernel.as_deref().unwrap_or("kernel_2712.img or kernel8.img");
            Trouble::Fatal(format!("partition {number} has no {name}"))
        })?;

        let cmdline = match volume.read(&config.cmdline) {
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().trim().into(),
            Ok(None) => {
                complaints.push(format!("partition {number} has no {}: the kernel gets no arguments", config.cmdline));
                String::new()
            }
            Err(why) => return Err(Trouble::Fatal(why.to_string())),
        };

        let mut initramfs = Vec::new();
        for (index, name) in config.initramfs.iter().enumerate() {
            match self.length(&volume, name)? {
                Some(length) => {
                    // Parts whose lengths are no multiples of four crashed the loader (firmware issue 1843).
                    let last = index + 1 == config.initramfs.len();
                    if length % 4 != 0 && !last && !self.firmware.eeprom.joins_unaligned() {
                        return Err(Trouble::Fatal(format!("{name} is not padded to a multiple of four bytes")));
                    }
                    initramfs.push(name.clone());
                }
                None => complaints.push(format!("partition {number} has no {name}: the kernel gets no part of it")),
            }
        }

        let files = match load {
            Load::Names => None,
            Load::Whole => Some(Files {
                kernel: Self::bytes(&volume, &kernel)?,
                initramfs: initramfs.iter().try_fold(Vec::new(), |mut joined, name| {
                    joined.extend(Self::bytes(&volume, name)?);
                    joined.resize(joined.len().next_multiple_of(4), 0);
                    Ok::<_, Trouble>(joined)
                })?,
            }),
        };
        let chosen = self.chosen(number);
        Ok(Boot { partition: number, chosen, kernel, initramfs, device_tree, cmdline, files, complaints })
    }

    fn default_kernel(&self, volume: &Volume) -> Result<Option<String>, Trouble> {
        for name in KERNELS {
            if self.length(volume, name)?.is_some() {
                return Ok(Some(name.into()));
            }
        }
        Ok(None)
    }

    /// Length of a file this loader can read.
    fn length(&self, volume: &Volume, name: &str) -> Result<Option<u64>, Trouble> {
        let length = volume.size(name).map_err(|why| Trouble::Fatal(why.to_string()))?;
        let nvme = self.firmware.medium == Medium::Nvme;
        if nvme && !self.firmware.eeprom.reads_large() && length.is_some_and(|length| length >= LARGE) {
            return Err(Trouble::Fatal(format!("{name} has 32 MiB or more, which this loader cannot read from NVMe")));
        }
        Ok(length)
    }

    fn bytes(volume: &Volume, name: &str) -> Result<Vec<u8>, Trouble> {
        let bytes = volume.read(name).map_err(|why| Trouble::Fatal(why.to_string()))?;
        bytes.ok_or_else(|| Trouble::Fatal(format!("{name} is gone")))
    }

    fn chosen(&self, number: u32) -> Chosen {
        let Firmware { eeprom, medium, count, arg1, .. } = *self.firmware;
        Chosen {
            partition: if eeprom.reports_partition() { number } else { 0 },
            tryboot: u32::from(self.tryboot),
            boot_mode: medium.boot_mode(),
            count: eeprom.counts().then_some(count),
            arg1: eeprom.counts().then_some(arg1),
            build_timestamp: eeprom.released.seconds(),
        }
    }
}
