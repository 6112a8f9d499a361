//! A whole release by the command, as post-image runs it: twice the same, and readable by other people's tools.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use warppool_image::limits::LEAST_FAT32_CLUSTERS;
use warppool_ota::autoboot::Autoboot;
use warppool_ota::bundle::Bundle;
use warppool_ota::fat::{self, Directory};
use warppool_ota::source::FileSource;
use warppool_ota::trust::{Trust, TrustedKey};
use warppool_ota::{Digest, FileDisk, Layout, PrivateKey, Slot, Version, Window, mbr, p1};

/// A folder with everything a release is made of, small.
struct Workshop {
    folder: PathBuf,
    key: PathBuf,
}

impl Workshop {
    /// `order` and `mode` must not matter: the order in which files come into being, and a umask.
    fn new(folder: &Path, key: &PrivateKey, mode: u32, backwards: bool) -> Self {
        let mut kernel = vec![0; 1 << 20];
        kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
        let mut files: Vec<(&str, &[u8])> = vec![
            ("kernel", &kernel),
            ("warppool", b"\x7fELF the binary"),
            ("root/bin/busybox", b"\x7fELF busybox"),
            ("root/etc/hosts", b"below"),
            ("over/etc/hosts", b"127.0.0.1 localhost\n"),
            ("over/etc/passwd", b"root:*:0:0:root:/root:/bin/sh\n"),
            ("over/etc/group", b"root:*:0:\n"),
        ];
        if backwards {
            files.reverse();
        }
        for (name, bytes) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            let run = if bytes.starts_with(b"\x7fELF") { mode & 0o100 } else { 0 };
            fs::set_permissions(&path, Permissions::from_mode(mode & 0o666 | run)).unwrap();
        }
        symlink("busybox", folder.join("root/bin/sh")).unwrap();
        let recipe = "board = \"qemu\"\nkernel = \"kernel\"\nbinary = \"warppool\"\nroots = [\"root\", \"over\"]\n";
        fs::write(folder.join("image.toml"), recipe).unwrap();
        let path = folder.join("key.pem");
        key.write_new(&path).unwrap();
        Self { folder: folder.into(), key: path }
    }

    fn command(&self, version: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warppool-image"));
        command.args(["all", "--version", version, "--recipe"]).arg(self.folder.join("image.toml"));
        command.arg("--key").arg(&self.key).arg("--output").arg(self.folder.join(version));
        command.env("SOURCE_DATE_EPOCH", "1790000000");
        command
    }

    /// Makes a release and gives its folder.
    fn make(&self, version: &str) -> PathBuf {
        succeeded(&self.command(version).output().unwrap());
        self.folder.join(version)
    }

    /// The same without the compressed disk image.
    fn make_plain(&self, version: &str) -> PathBuf {
        succeeded(&self.command(version).arg("--plain").output().unwrap());
        self.folder.join(version)
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// SHA-256 by file name.
fn digests(folder: &Path) -> BTreeMap<String, Digest> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), Digest::of(&fs::read(path).unwrap())))
        .collect()
}

#[test]
fn two_builds_in_different_folders_are_identical() {
    let key = PrivateKey::generate();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let deep = second.path().join("another/and deeper");
    fs::create_dir_all(&deep).unwrap();
    let first = Workshop::new(first.path(), &key, 0o755, false).make("1.2.3");
    let second = Workshop::new(&deep, &key, 0o700, true);
    let mut elsewhere = second.command("1.2.3");
    elsewhere.env("LC_ALL", "tr_TR.UTF-8").env("TZ", "Pacific/Apia").env("HOME", "/nonexistent").current_dir("/");
    succeeded(&elsewhere.output().unwrap());
    let (first, second) = (digests(&first), digests(&deep.join("1.2.3")));
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "base.cpio.zst",
            "kernel.img",
            "pool.cpio.zst",
            "warppool-qemu-1.2.3.bundle",
            "warppool-qemu-1.2.3.img",
            "warppool-qemu-1.2.3.img.bmap",
            "warppool-qemu-1.2.3.img.zst",
            "warppool-qemu-1.2.3.sha256",
        ]
    );
    assert_eq!(first, second);
}

#[test]
fn the_disk_is_laid_out_for_the_firmware_and_slot_b_does_not_start() {
    let key = PrivateKey::generate();
    let folder = tempfile::tempdir().unwrap();
    let made = Workshop::new(folder.path(), &key, 0o755, false).make_plain("1.2.3");
    let trust = trust(&key);
    let image = made.join("warppool-qemu-1.2.3.img");
    let mut disk = FileDisk::open_read_only(&image).unwrap();
    let layout = mbr::read(&mut disk).unwrap();
    assert_eq!(layout, Layout::default());

    let text = p1::read(&mut Window::new(&mut disk, layout.boot.bytes()).unwrap()).unwrap();
    assert_eq!(Autoboot::parse(&text).unwrap(), Autoboot::new(Slot::A));
    assert!(p1::is_alone(&mut Window::new(&mut disk, layout.boot.bytes()).unwrap()));

    let verdict = warppool_ota::slot::verify(&mut Window::new(&mut disk, layout.slot_a.bytes()).unwrap(), &trust);
    assert!(verdict.is_sound() && verdict.foreign.is_empty(), "{:?} {:?}", verdict.damage, verdict.foreign);
    let slot = fat::Volume::open(Window::new(&mut disk, layout.slot_a.bytes()).unwrap()).unwrap();
    assert!(slot.geometry().clusters >= LEAST_FAT32_CLUSTERS);
    assert!(!warppool_ota::slot::look(&mut Window::new(&mut disk, layout.slot_b.bytes()).unwrap(), &trust).bootable);
    let mut file = File::open(&image).unwrap();
    file.seek(SeekFrom::Start(layout.slot_b.bytes().start)).unwrap();
    let mut slot_b = vec![1; 256 << 20];
    file.read_exact(&mut slot_b).unwrap();
    assert!(slot_b == vec![0; 256 << 20]);

    let mut handover = fat::Volume::open(Window::new(&mut disk, layout.handover.bytes()).unwrap()).unwrap();
    let names: Vec<String> =
        handover.list(&Directory::root()).unwrap().iter().map(|entry| entry.name().into()).collect();
    assert_eq!(names, ["README.txt", warppool_handover::EXAMPLE_FILE]);

    let mut superblock = [0; 1024];
    file.seek(SeekFrom::Start(layout.data.bytes().start + 1024)).unwrap();
    file.read_exact(&mut superblock).unwrap();
    assert_eq!(&superblock[0x78..0x85], b"warppool-data");
    // Each block of 64 descriptors describes 8 GiB: 256 of them are the 2 TiB that an MBR can name.
    assert_eq!(u16::from_le_bytes([superblock[0xce], superblock[0xcf]]), 255);
}

fn trust(key: &PrivateKey) -> Trust {
    Trust {
        product: "warppool".into(),
        hardware: "qemu".into(),
        minimum_version: Version::new(0, 0, 0),
        feed: String::new(),
        revoked: vec![],
        keys: vec![TrustedKey { name: "development".into(), public: key.public() }],
    }
}

#[test]
fn a_release_of_the_pool_alone_leaves_kernel_and_base_as_they_were() {
    let key = PrivateKey::generate();
    let folder = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(folder.path(), &key, 0o755, false);
    let (older, newer) = (workshop.make_plain("1.2.3"), workshop.make_plain("1.2.4"));
    for (part, same) in [("kernel.img", true), ("base.cpio.zst", true), ("pool.cpio.zst", false)] {
        let equal = fs::read(older.join(part)).unwrap() == fs::read(newer.join(part)).unwrap();
        assert_eq!(equal, same, "{part}");
    }
    let chunks = |folder: &Path, version: &str| {
        let file = File::open(folder.join(format!("warppool-qemu-{version}.bundle"))).unwrap();
        let bundle = Bundle::open(&mut FileSource::new(file).unwrap(), &trust(&key)).unwrap();
        assert_eq!(bundle.header.version.to_string(), version);
        bundle.header.chunks.iter().map(|chunk| chunk.sha256).collect::<HashSet<_>>()
    };
    let (older, newer) = (chunks(&older, "1.2.3"), chunks(&newer, "1.2.4"));
    assert!(older.intersection(&newer).count() >= 2, "{} and {} chunks", older.len(), newer.len());
}

/// Runs a tool that is not ours; where it is missing says so and gives nothing.
fn tool(program: &str, arguments: &[&str]) -> Option<String> {
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    match Command::new(program).args(arguments).env("PATH", paths).env("LC_ALL", "C").output() {
        Ok(output) => Some(succeeded(&output)),
        Err(error) => {
            println!("NOT RUN: {program} on the image: {error}");
            None
        }
    }
}

#[test]
fn other_peoples_tools_find_nothing_wrong() {
    let key = PrivateKey::generate();
    let folder = tempfile::tempdir().unwrap();
    let made = Workshop::new(folder.path(), &key, 0o755, false).make("1.2.3");
    let image = made.join("warppool-qemu-1.2.3.img");
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    let layout = Layout::default();
    let part = |name: &str, extent: warppool_ota::layout::Extent| {
        let path = made.join(name);
        let mut file = File::open(&image).unwrap();
        file.seek(SeekFrom::Start(extent.bytes().start)).unwrap();
        let mut part = File::create(&path).unwrap();
        std::io::copy(&mut file.take(u64::from(extent.sectors) * 512), &mut part).unwrap();
        at(&path)
    };
    let (boot, slot) = (part("p1", layout.boot), part("p2", layout.slot_a));
    let (handover, data) = (part("p5", layout.handover), part("p6", layout.data));
    for (path, listed) in [(&boot, "autoboot"), (&slot, "manifest"), (&handover, "README")] {
        tool("fsck.vfat", &["-n", path]);
        if let Some(listing) = tool("mdir", &["-i", path, "::"]) {
            assert!(listing.to_lowercase().contains(&listed.to_lowercase()), "{listing}");
        }
    }
    tool("e2fsck", &["-fn", &data]);
    if let Some(table) = tool("sfdisk", &["-d", &at(&image)]) {
        assert!(table.contains("label: dos") && table.contains("label-id: 0x57504f4c"), "{table}");
        assert_eq!(table.lines().filter(|line| line.contains("start=")).count(), 6, "{table}");
    }
    if tool("sha256sum", &["--version"]).is_some() {
        let sums =
            Command::new("sha256sum").args(["-c", "warppool-qemu-1.2.3.sha256"]).current_dir(&made).output().unwrap();
        succeeded(&sums);
    }

    let packed = fs::read(made.join("base.cpio.zst")).unwrap();
    let mut archive = Vec::new();
    zstd::Decoder::new(&packed[..]).unwrap().single_frame().read_to_end(&mut archive).unwrap();
    fs::write(made.join("base.cpio"), archive).unwrap();
    if let Some(listing) = tool("cpio", &["-t", "--quiet", "-F", &at(&made.join("base.cpio"))]) {
        let names: Vec<&str> = listing.lines().collect();
        assert!(names.contains(&"dev/console") && names.contains(&"bin/sh") && !names.contains(&"init"), "{listing}");
    }

    // A card that was used before: what the map leaves out keeps its old content, and nobody is to notice.
    let card = made.join("card");
    fs::write(&card, vec![0xa5; fs::metadata(&image).unwrap().len() as usize]).unwrap();
    let map = at(&made.join("warppool-qemu-1.2.3.img.bmap"));
    if tool("bmaptool", &["copy", "--bmap", &map, &(at(&image) + ".zst"), &at(&card)]).is_some() {
        let mut disk = FileDisk::open_read_only(&card).unwrap();
        let mut slot = Window::new(&mut disk, layout.slot_a.bytes()).unwrap();
        assert!(warppool_ota::slot::verify(&mut slot, &trust(&key)).is_sound());
        let mut slot = Window::new(&mut disk, layout.slot_b.bytes()).unwrap();
        assert!(!warppool_ota::slot::look(&mut slot, &trust(&key)).bootable);
        let mut file = File::open(&card).unwrap();
        file.seek(SeekFrom::Start(layout.data.bytes().start)).unwrap();
        let mut flashed = Vec::new();
        file.read_to_end(&mut flashed).unwrap();
        assert!(flashed == fs::read(&data).unwrap(), "the data partition is flashed whole");
    }
}

#[test]
fn a_failure_says_what_to_do_and_ends_with_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(folder.path(), &PrivateKey::generate(), 0o755, false);
    fs::write(folder.path().join("kernel"), b"MZ").unwrap();
    let output = workshop.command("1.2.3").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("no kernel for 64-bit ARM") && message.contains("Image.gz"), "{message}");
}
