//! The data partition: grown, checked, repaired and mounted; and what stands in for it when it cannot be.
//!
//! A pool that mines without remembering is better than none: a partition that can only be read gives its settings, and with none
//! at all everything is in memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use warppool_ota::{FileDisk, mbr};

use crate::child::{Launch, run};
use crate::console::say;
use crate::disk::BootDisk;
use crate::mounts::{DATA, folder, folder_of};
use crate::reaper::{Exit, Reaper};
use crate::{aside, durable, sys, users};

const E2FSCK: &str = "/sbin/e2fsck";
const MKE2FS: &str = "/sbin/mke2fs";
const LABEL: &str = "warppool-data";
const CHECK_PATIENCE: Duration = Duration::from_mins(10);
const REPAIR_PATIENCE: Duration = Duration::from_mins(30);
const MAKE_PATIENCE: Duration = Duration::from_mins(5);
/// For a sector or two, or a folder.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);
/// For what reads or writes many: a journal that is replayed, settings that are copied.
const WORK_PATIENCE: Duration = Duration::from_mins(5);
/// Where the pool keeps found blocks whose fate is open.
const SPOOL: &str = "pool/spool";
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
            let to_grow = disk.clone();
            aside::wait("data: the partition table", LOOK_PATIENCE, idle, move || grow_table(&to_grow));
            mount_partition(reaper, &disk.data(), idle)
        }
    };
    match &state {
        Data::Disk => {}
        Data::ReadOnly { why } => {
            say!("data: only readable: {why}");
            if let Err(why) = stand_in() {
                say!("data: its settings cannot be taken over: {why}");
            } else {
                let copy = || copy_settings(Path::new(READ_ONLY), Path::new(DATA));
                aside::wait("data: its settings", WORK_PATIENCE, idle, copy);
            }
        }
        Data::Memory { why } => {
            say!("data: in memory: {why}");
            if let Err(why) = stand_in() {
                say!("data: no memory for it either: {why}");
            }
        }
    }
    if let Some(Err(why)) = aside::wait("data: its folders", LOOK_PATIENCE, idle, || folders(Path::new(DATA))) {
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
    let path = device.to_owned();
    let read = move || -> io::Result<Content> {
        let mut beginning = vec![0; BEGINNING];
        File::open(path)?.read_exact_at(&mut beginning, 0)?;
        Ok(Content::of(&beginning))
    };
    let content = match aside::wait("data: its beginning", LOOK_PATIENCE, idle, read) {
        Some(Ok(content)) => content,
        None => {
            return Data::Memory { why: format!("{} does not answer; replace the disk", device.display()) };
        }
        Some(Err(why)) => {
            return Data::Memory { why: format!("{} cannot be read ({why}); replace the disk", device.display()) };
        }
    };
    if content == Content::Blank {
        say!("data: {} is blank; making a file system", device.display());
        if let Err(why) = make(reaper, device, idle) {
            return Data::Memory { why: format!("no file system can be made ({why}); replace the disk") };
        }
    } else if let Err(why) = check(reaper, device, idle) {
        return salvage(device, &why, idle);
    }
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    match mount_at(device, DATA, flags, "errors=remount-ro", idle) {
        Ok(()) => {
            say!(
                "data: mounted {} ({} MiB)",
                device.display(),
                space(Path::new(DATA)).map_or(0, |space| space.total >> 20)
            );
            Data::Disk
        }
        Err(why) => salvage(device, &format!("it cannot be mounted ({why})"), idle),
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

/// A mount that nobody has waited for to its end is undone.
struct Mounted {
    at: &'static str,
    wanted: bool,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.wanted {
            let _ = umount2(self.at, MntFlags::MNT_DETACH);
        }
    }
}

fn mount_at(
    device: &Path,
    at: &'static str,
    flags: MsFlags,
    options: &'static str,
    idle: &mut dyn FnMut(),
) -> Result<(), String> {
    let path = device.to_owned();
    let mounted = aside::wait("data: mounting", WORK_PATIENCE, idle, move || {
        mount(Some(&path), at, Some("ext4"), flags, Some(options)).map(|()| Mounted { at, wanted: false })
    });
    match mounted {
        Some(Ok(mut mounted)) => {
            mounted.wanted = true;
            Ok(())
        }
        Some(Err(why)) => Err(why.to_string()),
        None => Err("the disk does not answer".into()),
    }
}

/// Takes what can still be read.
fn salvage(device: &Path, why: &str, idle: &mut dyn FnMut()) -> Data {
    let remedy =
        "save what you need from it on another computer, then hold the button for a factory reset, or replace the disk";
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let _ = folder(READ_ONLY, 0o700);
    match mount_at(device, READ_ONLY, flags, "noload", idle) {
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

/// A factory reset of a partition that cannot be emptied file by file: a new file system. Blocks that can be read, in the stand-in at
/// [`DATA`] or on the partition itself, are written back.
pub fn make_anew(reaper: &Reaper, device: &Path, idle: &mut dyn FnMut()) -> Result<usize, String> {
    let late = || "the disk does not answer".to_owned();
    let gather = || unsettled(&[Path::new(READ_ONLY), Path::new(DATA)]);
    let blocks = aside::wait("data: found blocks", WORK_PATIENCE, idle, gather).ok_or_else(late)?;
    let _ = umount2(READ_ONLY, MntFlags::MNT_DETACH);
    make(reaper, device, idle)?;
    mount_at(device, READ_ONLY, MsFlags::MS_NOATIME, "", idle)?;
    let work = move || {
        let kept = write_back(Path::new(READ_ONLY), &blocks).map_err(|why| why.to_string());
        crate::mounts::put_away(READ_ONLY);
        kept
    };
    aside::wait("data: writing blocks back", WORK_PATIENCE, idle, work).unwrap_or_else(|| Err(late()))
}

/// Found blocks whose fate is open, by name; what a later place has counts.
fn unsettled(places: &[&Path]) -> BTreeMap<OsString, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    for path in places.iter().flat_map(|place| blocks_in(&place.join(SPOOL))) {
        match fs::read(&path) {
            Ok(bytes) => drop(blocks.insert(path.file_name().unwrap_or_default().to_owned(), bytes)),
            Err(why) => say!("data: the block {} cannot be read: {why}", path.display()),
        }
    }
    blocks
}

fn blocks_in(spool: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(spool).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "block"))
        .filter(|path| path.symlink_metadata().is_ok_and(|about| about.is_file()))
}

fn write_back(root: &Path, blocks: &BTreeMap<OsString, Vec<u8>>) -> io::Result<usize> {
    folders(root)?;
    let spool = root.join(SPOOL);
    folder_of(&spool, 0o700, users::POOL.uid, users::POOL.gid)?;
    for (name, bytes) in blocks {
        durable::write_for(Some(users::POOL), &spool.join(name), bytes, 0o600)?;
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

/// Copies all but statistics and logs; first of all what is worth most: found blocks, however much else there is.
fn copy_settings(from: &Path, to: &Path) {
    copy_folder(&from.join("pool"), &to.join("pool"));
    copy_folder(&from.join(SPOOL), &to.join(SPOOL));
    for block in blocks_in(&from.join(SPOOL)) {
        copy_file(&block, &to.join(SPOOL).join(block.file_name().unwrap_or_default()));
    }
    let mut left = MAX_COPY;
    for part in ["system", "ota", "ssh", "pool"] {
        copy(&from.join(part), &to.join(part), &mut left);
    }
}

/// A damaged file system has unreadable places; each costs only itself.
fn copy(from: &Path, to: &Path, left: &mut u64) {
    let Ok(entries) = fs::read_dir(from) else { return };
    copy_folder(from, to);
    for entry in entries.filter_map(Result::ok) {
        let (name, Ok(about)) = (entry.file_name(), entry.metadata()) else { continue };
        let to = to.join(&name);
        if about.is_dir() && name != "ledger" && name != "crash" && name != "archive" {
            copy(&entry.path(), &to, left);
        } else if about.is_file() && about.len() <= *left && !to.exists() {
            *left -= about.len();
            copy_file(&entry.path(), &to);
        }
    }
}

/// Makes a folder with the owner and bits of another; where those cannot be read or set, it is there all the same.
fn copy_folder(from: &Path, to: &Path) {
    if let Ok(about) = fs::metadata(from)
        && let Err(why) = folder_of(to, about.mode() & 0o777, about.uid(), about.gid())
    {
        say!("data: {}: {why}", to.display());
    }
}

fn copy_file(from: &Path, to: &Path) {
    let copied = fs::copy(from, to)
        .and_then(|_| fs::metadata(from))
        .and_then(|about| lchown(to, Some(about.uid()), Some(about.gid())));
    if let Err(why) = copied {
        say!("data: {} is not taken over: {why}", from.display());
    }
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
        copy_settings(&from, &to);
        for (file, there) in [
            ("pool/config.toml", true),
            ("pool/spool/1.block", true),
            ("system/system.toml", true),
            ("pool/ledger", false),
            ("other", false),
        ] {
            assert_eq!(to.join(file).exists(), there, "{file}");
        }
    }

    #[test]
    fn found_blocks_are_taken_over_however_much_else_there_is() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        for file in ["pool/a", "pool/spool/0.tmp", "system/a"] {
            fs::create_dir_all(from.join(file).parent().unwrap()).unwrap();
            fs::File::create(from.join(file)).unwrap().set_len(MAX_COPY - 10).unwrap();
        }
        fs::write(from.join("pool/spool/9.block"), "a block as long as this").unwrap();
        copy_settings(&from, &to);
        assert_eq!(fs::read(to.join("pool/spool/9.block")).unwrap(), b"a block as long as this");
        assert!(!to.join("pool/a").exists(), "there was no room for this");
    }

    #[test]
    fn blocks_are_gathered_from_the_partition_and_from_what_stands_in_for_it() {
        let root = tempfile::tempdir().unwrap();
        let (partition, memory) = (root.path().join("partition"), root.path().join("memory"));
        for (place, name, text) in [
            (&partition, "1.block", "only here"),
            (&partition, "2.block", "older"),
            (&memory, "2.block", "newer"),
            (&memory, "3.block", "only there"),
            (&memory, "4.block.new", "half"),
        ] {
            fs::create_dir_all(place.join(SPOOL)).unwrap();
            fs::write(place.join(SPOOL).join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", memory.join(SPOOL).join("5.block")).unwrap();
        let found = unsettled(&[&partition, &memory]);
        let found: Vec<_> =
            found.iter().map(|(name, bytes)| (name.to_str().unwrap(), str::from_utf8(bytes).unwrap())).collect();
        assert_eq!(found, [("1.block", "only here"), ("2.block", "newer"), ("3.block", "only there")]);
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
