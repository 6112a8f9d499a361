//! The disk we booted from. The firmware says on which bus it lies; the partition table says that it is ours. Labels are not asked:
//! another card in the machine may have the same.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use warppool_ota::layout::DISK_ID;
use warppool_ota::{Disk as _, FileDisk, Layout, Slot, mbr};

use crate::{aside, sys};

/// How long the disk the firmware booted from may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long any disk may, where no firmware says that there is one.
const PATIENCE_WITHOUT_FIRMWARE: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(100);
/// How long one disk may take to answer at all.
const LOOK: Duration = Duration::from_secs(30);
/// Of the MBR, where the disk id lies.
const DISK_ID_AT: usize = 440;

/// A disk with WarpPool's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDisk {
    /// As in `/dev/nvme0n1`.
    pub device: PathBuf,
    pub layout: Layout,
}

impl BootDisk {
    /// The device of a partition.
    pub fn partition(&self, number: u32) -> PathBuf {
        let disk = self.device.display().to_string();
        // Names that end in a digit have a letter between.
        let between = if disk.ends_with(|letter: char| letter.is_ascii_digit()) { "p" } else { "" };
        format!("{disk}{between}{number}").into()
    }

    pub fn slot(&self, slot: Slot) -> PathBuf {
        self.partition(slot.partition())
    }

    pub fn handover(&self) -> PathBuf {
        self.partition(5)
    }

    pub fn data(&self) -> PathBuf {
        self.partition(6)
    }

    pub fn name(&self) -> String {
        self.device.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("no disk with WarpPool's partitions appeared; nothing is kept, and updates are not possible")]
    Missing,
    #[error("{device}: {why}")]
    Unusable { device: String, why: mbr::MbrError },
}

/// Where the kernel lists disks and keeps their devices.
#[derive(Clone, Debug)]
pub struct Places {
    pub sys_block: PathBuf,
    pub dev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sys_block: "/sys/block".into(), dev: "/dev".into() }
    }
}

/// Waits for the disk. Of several on the right bus, one that `is_running` says yes to wins, else the first by name.
pub fn wait(
    boot_mode: Option<u32>,
    is_running: impl Fn(&BootDisk, &mut dyn FnMut()) -> bool,
    idle: &mut dyn FnMut(),
) -> Result<(BootDisk, Vec<BootDisk>), DiskError> {
    let until = sys::uptime() + if boot_mode.is_some() { PATIENCE } else { PATIENCE_WITHOUT_FIRMWARE };
    loop {
        idle();
        let found = find(&Places::default(), boot_mode, &is_running, idle);
        match found {
            Err(DiskError::Missing) if sys::uptime() < until => std::thread::sleep(TURN),
            other => return other,
        }
    }
}

/// Looks once. The others of our kind on the same bus are the second value.
pub fn find(
    places: &Places,
    boot_mode: Option<u32>,
    is_running: impl Fn(&BootDisk, &mut dyn FnMut()) -> bool,
    idle: &mut dyn FnMut(),
) -> Result<(BootDisk, Vec<BootDisk>), DiskError> {
    let mut names: Vec<(usize, String)> = fs::read_dir(&places.sys_block)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some((rank(&name, boot_mode)?, name)))
        .collect();
    names.sort();
    let mut ours = Vec::new();
    let mut unusable = None;
    for (_, name) in names {
        let (places, its_name) = (places.clone(), name.clone());
        let looked = aside::wait(&format!("disk: {name}"), LOOK, idle, move || look(&places, &its_name));
        match looked.unwrap_or(Ok(None)) {
            Ok(Some(disk)) => ours.push(disk),
            Ok(None) => {}
            Err(why) => unusable = unusable.or(Some(DiskError::Unusable { device: name, why })),
        }
    }
    if ours.is_empty() {
        return Err(unusable.unwrap_or(DiskError::Missing));
    }
    let at = if ours.len() > 1 { ours.iter().position(|disk| is_running(disk, idle)).unwrap_or(0) } else { 0 };
    Ok((ours.remove(at), ours))
}

/// In which order a disk is looked at; `None` for one on another bus, and for what is no disk.
fn rank(name: &str, boot_mode: Option<u32>) -> Option<usize> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_nvme =
        || name.strip_prefix("nvme").and_then(|it| it.split_once('n')).is_some_and(|(a, b)| digits(a) && digits(b));
    let is_sd_card = || name.strip_prefix("mmcblk").is_some_and(digits);
    let is_usb =
        || name.strip_prefix("sd").is_some_and(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_lowercase()));
    match boot_mode {
        Some(1) => is_sd_card().then_some(0),
        Some(4) => is_usb().then_some(0),
        Some(6) => is_nvme().then_some(0),
        // A loader that does not say.
        _ => [is_nvme(), is_sd_card(), is_usb()].into_iter().position(|is| is),
    }
}

/// `None` for a disk that is somebody else's.
fn look(places: &Places, name: &str) -> Result<Option<BootDisk>, mbr::MbrError> {
    let device = places.dev.join(name);
    let Ok(mut disk) = FileDisk::open_read_only(&device) else { return Ok(None) };
    let mut sector = [0; 512];
    if disk.read_at(0, &mut sector).is_err() || sector[DISK_ID_AT..DISK_ID_AT + 4] != DISK_ID.to_le_bytes() {
        return Ok(None);
    }
    let size = fs::read_to_string(places.sys_block.join(name).join("queue/logical_block_size"));
    if let Some(size) = size.ok().and_then(|text| text.trim_end().parse().ok()) {
        mbr::check_sector_size(size)?;
    }
    let layout = mbr::read(&mut disk)?;
    Ok(Some(BootDisk { device, layout }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    struct Machine {
        places: Places,
        _root: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let places = Places { sys_block: root.path().join("sys"), dev: root.path().join("dev") };
            fs::create_dir(&places.dev).unwrap();
            Self { places, _root: root }
        }

        fn add(&self, name: &str, ours: bool) {
            fs::create_dir_all(self.places.sys_block.join(name)).unwrap();
            let layout = Layout::default();
            let file = fs::File::create(self.places.dev.join(name)).unwrap();
            file.set_len(layout.sectors() * 512).unwrap();
            if ours {
                mbr::write(&mut FileDisk::open(&self.places.dev.join(name)).unwrap(), &layout).unwrap();
            }
        }

        fn find(&self, boot_mode: Option<u32>, running: &str) -> Result<(String, usize), DiskError> {
            let (disk, others) = find(&self.places, boot_mode, |disk, _| disk.name() == running, &mut || ())?;
            Ok((disk.name(), others.len()))
        }
    }

    #[test]
    fn the_bus_the_firmware_named_decides() {
        let machine = Machine::new();
        for name in ["mmcblk0", "mmcblk0boot0", "nvme0n1", "sda", "sdb", "loop0", "ram0"] {
            machine.add(name, true);
        }
        for (mode, name, others) in [(Some(1), "mmcblk0", 0), (Some(6), "nvme0n1", 0), (Some(4), "sda", 1)] {
            assert_eq!(machine.find(mode, "").unwrap(), (name.to_owned(), others));
        }
        assert_eq!(machine.find(None, "").unwrap(), ("nvme0n1".to_owned(), 3));
    }

    #[test]
    fn a_disk_of_somebody_else_is_not_taken() {
        let machine = Machine::new();
        machine.add("sda", false);
        machine.add("sdb", true);
        assert_eq!(machine.find(Some(4), "").unwrap(), ("sdb".to_owned(), 0));
        assert!(matches!(machine.find(Some(6), ""), Err(DiskError::Missing)));
    }

    #[test]
    fn of_two_of_ours_the_one_that_holds_what_runs_wins() {
        let machine = Machine::new();
        machine.add("nvme0n1", true);
        machine.add("nvme1n1", true);
        assert_eq!(machine.find(Some(6), "nvme1n1").unwrap(), ("nvme1n1".to_owned(), 1));
        assert_eq!(machine.find(Some(6), "neither").unwrap(), ("nvme0n1".to_owned(), 1));
    }

    #[test]
    fn a_disk_of_ours_with_a_damaged_table_says_what_is_wrong() {
        let machine = Machine::new();
        machine.add("nvme0n1", true);
        let mut disk = FileDisk::open(&machine.places.dev.join("nvme0n1")).unwrap();
        let extended = u64::from(Layout::default().extended.start) * 512;
        disk.write_at(extended, &[0; 512]).unwrap();
        let why = machine.find(Some(6), "").unwrap_err().to_string();
        assert!(why.contains("nvme0n1") && why.contains("flash"), "{why}");
    }

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        for (disk, slot_b, data) in
            [("/dev/sda", "/dev/sda3", "/dev/sda6"), ("/dev/mmcblk0", "/dev/mmcblk0p3", "/dev/mmcblk0p6")]
        {
            let disk = BootDisk { device: disk.into(), layout: Layout::default() };
            assert_eq!(disk.slot(Slot::B), Path::new(slot_b));
            assert_eq!(disk.data(), Path::new(data));
        }
    }
}
