//! The data partition: grown, checked, repaired and mounted; and what stands in for it when it cannot be.
//!
//! A pool that mines without remembering is better than none: a partition that can only be read gives its settings, and with none
//! at all everything is in memory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use warppool_ota::{FileDisk, mbr};

use crate::child::{Launch, run};
use crate::console::say;
use crate::disk::BootDisk;
use crate::mounts::{DATA, folder, folder_of};
use crate::reaper::{Exit, Reaper};
use crate::{sys, users};

const E2FSCK: &str = "/sbin/e2fsck";
const MKE2FS: &str = "/sbin/mke2fs";
const LABEL: &str = "warppool-data";
const CHECK_PATIENCE: Duration = Duration::from_mins(10);
const REPAIR_PATIENCE: Duration = Duration::from_mins(30);
const MAKE_PATIENCE: Duration = Duration::from_mins(5);
/// Where a partition that can only be read is looked at.
const READ_ONLY: &str = "/run/warppool/data-read-only";
/// The most that is copied from there, bytes: settings and blocks, not statistics.
const MAX_COPY: u64 = 48 << 20;

/// What is mounted at [`DATA`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Disk,
    /// Settings were read from the partition; nothing is kept.
    ReadOnly {
        why: String,
    },
    Memory {
        why: String,
    },
}

/// What lies at the beginning of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Blank,
    Ext4,
    Other,
}

/// Bytes of the beginning that must be zero in a blank partition.
const BEGINNING: usize = 64 * 1024;
const SUPERBLOCK: usize = 1024;

impl Content {
    fn of(beginning: &[u8]) -> Self {
        match beginning.get(SUPERBLOCK + 0x38..SUPERBLOCK + 0x3a) {
            Some([0x53, 0xef]) => Self::Ext4,
            _ if beginning.iter().all(|&byte| byte == 0) => Self::Blank,
            _ => Self::Other,
        }
    }
}

/// What a run of e2fsck means: its exit code is a sum of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    Sound,
    Repaired,
    /// Errors are left that this run did not dare to, or could not, repair.
    Unsound,
    /// It did not get far enough to say.
    Failed,
}

impl Checked {
    fn of(exit: Exit) -> Self {
        match exit {
            Exit::Code(0) => Self::Sound,
            Exit::Code(1..=3) => Self::Repaired,
            Exit::Code(code) if code & !7 == 0 => Self::Unsound,
            _ => Self::Failed,
        }
    }
}

/// Brings up what it can. `idle` is called at least twice a second: checking a large, damaged disk takes longer than the
/// watchdog waits.
pub fn bring_up(reaper: &Reaper, disk: Option<&BootDisk>, idle: &mut dyn FnMut()) -> Data {
    let state = match disk {
        None => Data::Memory { why: "the disk this started from is not there".into() },
        Some(disk) => {
            grow_table(disk);
            mount_partition(reaper, &disk.data(), idle)
        }
    };
    match &state {
        Data::Disk => {}
        Data::ReadOnly { why } => {
            say!("data: only readable: {why}");
            if let Err(why) = stand_in().and_then(|()| copy_settings(Path::new(READ_ONLY), Path::new(DATA))) {
                say!("data: its settings cannot be taken over: {why}");
            }
        }
        Data::Memory { why } => {
            say!("data: in memory: {why}");
            if let Err(why) = stand_in() {
                say!("data: no memory for it either: {why}");
            }
        }
    }
    if let Err(why) = folders(Path::new(DATA)) {
        say!("data: its folders cannot be made: {why}");
    }
    state
}

/// After a panic: what the program before us had mounted. `fault` is what it knew to be wrong.
pub fn resumed(fault: Option<String>) -> Data {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    match (crate::mounts::device_at(&mounts, DATA), fault) {
        (Some((device, _)), None) if device.starts_with("/dev/") => Data::Disk,
        (_, why) => Data::Memory { why: why.unwrap_or_else(|| "unknown".into()) },
    }
}

/// Extends the partition to the end of its disk; at the first boot, and at any after a card was copied to a larger one.
fn grow_table(disk: &BootDisk) {
    let mut device = match FileDisk::open(&disk.device) {
        Ok(device) => device,
        Err(why) => return say!("data: {} cannot be written: {why}", disk.device.display()),
    };
    match mbr::grow(&mut device) {
        Ok(mbr::Growth::Complete) => {}
        Ok(mbr::Growth::Grown { from, to }) => {
            let (start, length) = (u64::from(disk.layout.data.start) * 512, u64::from(to) * 512);
            say!("data: the partition grows from {} to {} MiB", from / 2048, to / 2048);
            let told = File::open(&disk.device).and_then(|file| sys::resize_partition(&file, 6, start, length));
            if let Err(why) = told {
                say!("data: the kernel learns of it at the next start ({why})");
            }
        }
        Err(why) => say!("data: the partition does not grow: {why}"),
    }
}

fn mount_partition(reaper: &Reaper, device: &Path, idle: &mut dyn FnMut()) -> Data {
    let mut beginning = vec![0; BEGINNING];
    let read = File::open(device).and_then(|file| file.read_exact_at(&mut beginning, 0));
    let content = match read {
        Ok(()) => Content::of(&beginning),
        Err(why) => {
            return Data::Memory { why: format!("{} cannot be read ({why}); replace the disk", device.display()) };
        }
    };
    if content == Content::Blank {
        say!("data: {} is blank; making a file system", device.display());
        if let Err(why) = make(reaper, device, idle) {
            return Data::Memory { why: format!("no file system can be made ({why}); replace the disk") };
        }
    } else if let Err(why) = check(reaper, device, idle) {
        return salvage(device, &why);
    }
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let mounted = mount(Some(device), DATA, Some("ext4"), flags, Some("errors=remount-ro"));
    match mounted {
        Ok(()) => {
            say!(
                "data: mounted {} ({} MiB)",
                device.display(),
                space(Path::new(DATA)).map_or(0, |space| space.total >> 20)
            );
            Data::Disk
        }
        Err(why) => salvage(device, &format!("it cannot be mounted ({why})")),
    }
}

/// Checks the file system and repairs what can be repaired.
fn check(reaper: &Reaper, device: &Path, idle: &mut dyn FnMut()) -> Result<(), String> {
    let mut e2fsck = |how: &[&str], patience| {
        let arguments = how.iter().map(Into::into).chain([device.as_os_str().to_owned()]);
        run(reaper, &Launch::new::<std::ffi::OsString>("e2fsck", E2FSCK, arguments), patience, &mut *idle)
    };
    let first = e2fsck(&["-p"], CHECK_PATIENCE);
    match first.as_ref().map(|done| Checked::of(done.exit)) {
        Ok(Checked::Sound) => return Ok(()),
        Ok(Checked::Repaired) => {
            say!("data: checked and repaired");
            return Ok(());
        }
        _ => {}
    }
    say!("data: {} is damaged; repairing it, which may take minutes", device.display());
    let second = e2fsck(&["-f", "-y"], REPAIR_PATIENCE).map_err(|why| why.to_string())?;
    match Checked::of(second.exit) {
        Checked::Sound | Checked::Repaired => {
            say!("data: repaired");
            Ok(())
        }
        Checked::Unsound | Checked::Failed => Err(format!("it is damaged beyond repair (e2fsck {})", second.exit)),
    }
}

/// Takes what can still be read.
fn salvage(device: &Path, why: &str) -> Data {
    let remedy =
        "save what you need from it on another computer, then hold the button for a factory reset, or replace the disk";
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let _ = folder(READ_ONLY, 0o700);
    match mount(Some(device), READ_ONLY, Some("ext4"), flags, Some("noload")) {
        Ok(()) => Data::ReadOnly { why: format!("{why}; {remedy}") },
        Err(_) => Data::Memory { why: format!("{why}; {remedy}") },
    }
}

fn make(reaper: &Reaper, device: &Path, idle: &mut dyn FnMut()) -> Result<(), String> {
    // `resize_inode` is left out: with 64-bit block numbers and meta block groups it grows without it, to any size.
    let arguments =
        ["-q", "-F", "-t", "ext4", "-L", LABEL, "-m", "1", "-O", "64bit,metadata_csum,^resize_inode,meta_bg"]
            .into_iter()
            .map(Into::into)
            .chain([device.as_os_str().to_owned()]);
    let launch = Launch::new::<std::ffi::OsString>("mke2fs", MKE2FS, arguments);
    let done = run(reaper, &launch, MAKE_PATIENCE, idle).map_err(|why| why.to_string())?;
    if done.exit.is_success() { Ok(()) } else { Err(format!("mke2fs {}", done.exit)) }
}

/// A factory reset of a partition that cannot be emptied file by file: a new file system. Blocks that could be read are in the
/// stand-in at [`DATA`] and are written back.
pub fn make_anew(reaper: &Reaper, device: &Path, idle: &mut dyn FnMut()) -> Result<usize, String> {
    let spool = Path::new(DATA).join("pool/spool");
    let blocks: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&spool)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "block"))
        .filter_map(|path| Some((path.clone(), fs::read(path).ok()?)))
        .collect();
    let _ = nix::mount::umount2(READ_ONLY, nix::mount::MntFlags::MNT_DETACH);
    make(reaper, device, idle)?;
    let place = Path::new(READ_ONLY);
    mount(Some(device), place, Some("ext4"), MsFlags::MS_NOATIME, None::<&str>).map_err(|why| why.to_string())?;
    let kept = write_back(place, &blocks).map_err(|why| why.to_string());
    crate::mounts::put_away(READ_ONLY);
    kept
}

fn write_back(root: &Path, blocks: &[(PathBuf, Vec<u8>)]) -> io::Result<usize> {
    folders(root)?;
    let spool = root.join("pool/spool");
    folder_of(&spool, 0o700, users::POOL.uid, users::POOL.gid)?;
    for (path, bytes) in blocks {
        let to = spool.join(path.file_name().unwrap_or_default());
        crate::durable::write(&to, bytes, 0o600)?;
        std::os::unix::fs::chown(&to, Some(users::POOL.uid), Some(users::POOL.gid))?;
    }
    Ok(blocks.len())
}

fn stand_in() -> io::Result<()> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    match mount(Some("data"), DATA, Some("tmpfs"), flags, Some("mode=0755,size=64m")) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

/// The folders of the roles, with their owners.
pub fn folders(data: &Path) -> io::Result<()> {
    folder_of(data.join("pool"), 0o700, users::POOL.uid, users::POOL.gid)?;
    folder_of(data.join("ota"), 0o755, 0, 0)?;
    folder_of(data.join("system"), 0o755, 0, 0)?;
    folder_of(data.join("ssh"), 0o700, 0, 0)
}

/// Copies all but statistics and logs.
fn copy_settings(from: &Path, to: &Path) -> io::Result<()> {
    let mut left = MAX_COPY;
    for part in ["system", "pool", "ota", "ssh"] {
        copy(&from.join(part), &to.join(part), &mut left)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, left: &mut u64) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    let owner = fs::metadata(from)?;
    folder_of(to, owner.mode() & 0o777, owner.uid(), owner.gid())?;
    for entry in entries {
        // A damaged file system has unreadable places; each costs only itself.
        let Ok(entry) = entry else { continue };
        let (name, Ok(about)) = (entry.file_name(), entry.metadata()) else { continue };
        if about.is_dir() && name != "ledger" && name != "crash" && name != "archive" {
            copy(&entry.path(), &to.join(name), left)?;
        } else if about.is_file() && about.len() <= *left {
            *left -= about.len();
            if fs::copy(entry.path(), to.join(&name)).is_ok() {
                std::os::unix::fs::chown(to.join(&name), Some(about.uid()), Some(about.gid()))?;
            }
        }
    }
    Ok(())
}

/// Grows the mounted file system to its partition; quick for a card, some seconds for a terabyte.
pub fn grow_file_system(device: &Path, root: &Path) -> io::Result<Option<u64>> {
    use std::io::{Seek as _, SeekFrom};
    let mut file = File::open(device)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    let mut superblock = [0; 1024];
    file.read_exact_at(&mut superblock, SUPERBLOCK as u64)?;
    let (block, has) = geometry(&superblock);
    let wanted = bytes / block;
    // The kernel leaves out a last group too small to use: not worth a word each boot.
    if wanted.saturating_sub(has) * block < 16 << 20 {
        return Ok(None);
    }
    sys::ext4_resize(File::open(root)?, wanted)?;
    Ok(Some(wanted * block))
}

/// The bit of a superblock that says that block numbers have 64 bits.
const INCOMPAT_64BIT: u32 = 0x80;

/// Bytes of a block, and how many there are, of an ext4 superblock.
fn geometry(superblock: &[u8; 1024]) -> (u64, u64) {
    let word =
        |at: usize| u32::from_le_bytes([superblock[at], superblock[at + 1], superblock[at + 2], superblock[at + 3]]);
    let high = if word(0x60) & INCOMPAT_64BIT == 0 { 0 } else { word(0x150) };
    (1024 << word(0x18).min(6), u64::from(high) << 32 | u64::from(word(0x04)))
}

/// Bytes of the file system, and those that are free for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    pub free: u64,
    pub read_only: bool,
}

pub fn space(path: &Path) -> Option<Space> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = stat.fragment_size();
    Some(Space {
        total: unit * stat.blocks(),
        free: unit * stat.blocks_available(),
        read_only: stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
    })
}

/// Below this the owner is told.
const LITTLE: u64 = 16 << 20;

/// What is wrong with the mounted partition, and what to do about it.
pub fn fault(state: &Data, space: Option<Space>) -> Option<String> {
    match (state, space) {
        (Data::ReadOnly { why } | Data::Memory { why }, _) => Some(format!("nothing is kept over a restart: {why}")),
        (Data::Disk, None) => Some("the data partition does not answer; replace the disk".into()),
        (Data::Disk, Some(space)) if space.read_only => Some(
            "the data partition failed while it was written and can only be read now: the disk is worn or loose. \
             Restart to have it repaired; if this comes back, replace the disk"
                .into(),
        ),
        (Data::Disk, Some(space)) if space.free < LITTLE.min(space.total / 8) => Some(format!(
            "the data partition is full ({} KiB of {} MiB free): statistics pause. Use a larger disk, or shorten [retention]",
            space.free >> 10,
            space.total >> 20
        )),
        (Data::Disk, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_known_by_its_beginning() {
        let mut ext4 = vec![0; BEGINNING];
        ext4[SUPERBLOCK + 0x38] = 0x53;
        ext4[SUPERBLOCK + 0x39] = 0xef;
        let mut other = vec![0; BEGINNING];
        other[BEGINNING - 1] = 1;
        assert_eq!(Content::of(&ext4), Content::Ext4);
        assert_eq!(Content::of(&other), Content::Other);
        assert_eq!(Content::of(&vec![0; BEGINNING]), Content::Blank);
    }

    #[test]
    fn the_checker_s_exit_code_is_a_sum() {
        for (exit, checked) in [
            (Exit::Code(0), Checked::Sound),
            (Exit::Code(1), Checked::Repaired),
            (Exit::Code(3), Checked::Repaired),
            (Exit::Code(4), Checked::Unsound),
            (Exit::Code(5), Checked::Unsound),
            (Exit::Code(8), Checked::Failed),
            (Exit::Code(12), Checked::Failed),
            (Exit::Code(128), Checked::Failed),
            (Exit::Signal(9), Checked::Failed),
            (Exit::Unknown, Checked::Failed),
        ] {
            assert_eq!(Checked::of(exit), checked, "{exit:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let space = |free, read_only| Some(Space { total: 64 << 20, free, read_only });
        assert_eq!(fault(&Data::Disk, space(32 << 20, false)), None);
        for (state, space, said) in [
            (Data::Disk, space(1 << 20, false), "larger disk"),
            (Data::Disk, space(32 << 20, true), "replace the disk"),
            (Data::Disk, None, "replace the disk"),
            (Data::Memory { why: "x; do y".into() }, None, "do y"),
            (Data::ReadOnly { why: "x; do y".into() }, None, "nothing is kept"),
        ] {
            let text = fault(&state, space).expect("a fault");
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn settings_and_blocks_are_copied_but_no_statistics() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        for file in ["pool/config.toml", "pool/spool/1.block", "pool/ledger/data.mdb", "system/system.toml", "other/x"]
        {
            let path = from.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::create_dir(&to).unwrap();
        let mut left = 1000;
        for part in ["pool", "system"] {
            copy(&from.join(part), &to.join(part), &mut left).unwrap();
        }
        for (file, there) in [
            ("pool/config.toml", true),
            ("pool/spool/1.block", true),
            ("system/system.toml", true),
            ("pool/ledger", false),
            ("other", false),
        ] {
            assert_eq!(to.join(file).exists(), there, "{file}");
        }
        assert!(left < 1000);
    }

    #[test]
    fn a_file_system_s_size_is_read_from_its_superblock() {
        let mut superblock = [0; 1024];
        superblock[0x04..0x08].copy_from_slice(&16_384_u32.to_le_bytes());
        superblock[0x18] = 2;
        assert_eq!(geometry(&superblock), (4096, 16_384));
        superblock[0x60] = 0x80;
        superblock[0x150] = 1;
        assert_eq!(geometry(&superblock), (4096, (1 << 32) + 16_384));
    }
}
