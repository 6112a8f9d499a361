//! The FAT reader on volumes that mkfs.vfat and mtools made, and on damaged ones.

use std::io::{Read, Seek, SeekFrom};

use proptest::prelude::*;
use warppool_ota::fat::{Directory, FatError, Kind, Volume};
use warppool_ota::{Disk, MemDisk};

use crate::slots::{files, format, noise};
use crate::tools::{installed, run};

/// A volume of mkfs.vfat with files of mcopy, some of them in pieces.
fn made(kib: u32, arguments: &[&str]) -> (MemDisk, Vec<(String, Vec<u8>)>) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let image = path("image");
    let size = kib.to_string();
    run("mkfs.vfat", &[arguments, &["-C", &image, &size]].concat());
    let mut expected = Vec::new();
    let mut put = |name: &str, bytes: Vec<u8>| {
        std::fs::write(path("file"), &bytes).unwrap();
        run("mcopy", &["-o", "-i", &image, &path("file"), &format!("::{name}")]);
        expected.push((name.to_owned(), bytes));
    };
    put("CONFIG.TXT", b"arm_64bit=1\n".to_vec());
    put("gap one", noise(1, 9000));
    put("between", noise(2, 5000));
    put("gap two", noise(3, 9000));
    put("empty.bin", vec![]);
    put("A rather long name with ümläuts and more than two parts.initramfs", noise(4, 70_000));
    put("lower.cfg", b"x".to_vec());
    run("mmd", &["-i", &image, "::overlays", "::overlays/deeper"]);
    let mut put = |name: &str, bytes: Vec<u8>| {
        std::fs::write(path("file"), &bytes).unwrap();
        run("mcopy", &["-o", "-i", &image, &path("file"), &format!("::{name}")]);
        expected.push((name.to_owned(), bytes));
    };
    put("overlays/disable-bt.dtbo", noise(5, 1234));
    put("overlays/deeper/file.x", noise(6, 100));
    for n in 0..40 {
        put(&format!("overlays/one of many files {n}.dtbo"), noise(n, 64));
    }
    run("mdel", &["-i", &image, "::gap one", "::gap two"]);
    expected.retain(|(name, _)| !name.starts_with("gap"));
    let mut bytes = std::fs::read(&image).unwrap();
    if bytes[512..516] == *b"RRaA" {
        bytes[512 + 492..512 + 496].fill(0xff); // where to look for free clusters: from the start, so that gaps are filled
        std::fs::write(&image, bytes).unwrap();
    }
    std::fs::write(path("file"), noise(7, 40_000)).unwrap();
    run("mcopy", &["-i", &image, &path("file"), "::in pieces"]);
    expected.push(("in pieces".into(), noise(7, 40_000)));
    (MemDisk::from_bytes(std::fs::read(image).unwrap()), expected)
}

#[test]
fn volumes_of_all_three_kinds_are_read_as_mtools_wrote_them() {
    if !installed("mkfs.vfat") || !installed("mcopy") {
        return;
    }
    for (kib, arguments, kind) in [
        (1440, &["-F", "12"][..], Kind::Fat12),
        (4096, &["-F", "12", "-s", "4"][..], Kind::Fat12),
        (16_384, &["-F", "16", "-s", "4", "-n", "WARPPOOL"][..], Kind::Fat16),
        (40_000, &["-F", "16", "-s", "2", "-f", "1"][..], Kind::Fat16),
        (40_000, &["-F", "32", "-s", "1", "-n", "LABEL"][..], Kind::Fat32),
        (262_144, &["-F", "32", "-s", "4"][..], Kind::Fat32),
    ] {
        let (disk, mut expected) = made(kib, arguments);
        let mut volume = Volume::open(disk).unwrap();
        assert_eq!(volume.geometry().kind, kind, "{arguments:?}");
        let walked = volume.walk().unwrap();
        let mut found: Vec<(String, Vec<u8>)> =
            walked.iter().map(|(name, entry)| (name.clone(), volume.read(entry, 1 << 20).unwrap())).collect();
        found.sort();
        expected.sort();
        assert_eq!(
            found.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            expected.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
        assert!(found == expected, "{arguments:?}: contents");

        let entry = volume.find("OVERLAYS/Disable-BT.dtbo").unwrap();
        assert_eq!(volume.read(&entry, 2000).unwrap(), noise(5, 1234));
        let entry = volume.find("in pieces").unwrap();
        assert!(volume.pieces(&entry).unwrap().len() > 1, "{arguments:?}");
        let mut file = volume.open_file(&entry).unwrap();
        for at in [0u64, 511, 4096, 8191, 39_990, 40_000, 50_000] {
            file.seek(SeekFrom::Start(at)).unwrap();
            let mut rest = Vec::new();
            file.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, noise(7, 40_000)[(at as usize).min(40_000)..], "from {at}");
        }
    }
}

#[test]
fn what_is_missing_or_of_another_kind_is_said() {
    let mut volume = Volume::open(format(1 << 20, &[("a/b.txt", b"content".to_vec())])).unwrap();
    assert!(matches!(volume.find("c"), Err(FatError::Missing { .. })));
    assert!(matches!(volume.find("a/c"), Err(FatError::Missing { .. })));
    assert!(matches!(volume.find("a/b.txt/c"), Err(FatError::Missing { .. })));
    let file = volume.find("a/b.txt").unwrap();
    assert!(matches!(volume.read(&file, 3), Err(FatError::TooLarge { size: 7, limit: 3, .. })));
    let folder = volume.find("a").unwrap();
    assert!(matches!(volume.read(&folder, 3000), Err(FatError::WrongType { .. })));
    assert_eq!(volume.list(&Directory::root()).unwrap().len(), 1);
}

#[test]
fn a_boot_sector_that_contradicts_itself_is_no_file_system() {
    let good = format(1 << 20, &[]);
    let refuse = |what: &str, change: &dyn Fn(&mut [u8])| {
        let mut bytes = good.bytes().to_vec();
        change(&mut bytes);
        assert!(matches!(Volume::open(MemDisk::from_bytes(bytes)), Err(FatError::NotFat(_))), "{what}");
    };
    let put = |bytes: &mut [u8], at: usize, value: u16| bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    refuse("no signature", &|bytes| put(bytes, 510, 0));
    refuse("sectors of 100 bytes", &|bytes| put(bytes, 11, 100));
    refuse("clusters of 3 sectors", &|bytes| bytes[13] = 3);
    refuse("clusters of no sectors", &|bytes| bytes[13] = 0);
    refuse("nothing reserved", &|bytes| put(bytes, 14, 0));
    refuse("no FATs", &|bytes| bytes[16] = 0);
    refuse("a root directory without entries", &|bytes| put(bytes, 17, 0));
    refuse("more sectors than the partition", &|bytes| put(bytes, 19, 4096));
    refuse("fewer sectors than its tables", &|bytes| put(bytes, 19, 3));
    refuse("a FAT too short", &|bytes| put(bytes, 22, 1));
    refuse("a FAT32 by its fields, of too few clusters", &|bytes| {
        put(bytes, 22, 0);
        put(bytes, 36, 8);
    });
    assert!(Volume::open(MemDisk::new(100)).is_err());
    assert!(Volume::open(good).is_ok());
}

#[test]
fn chains_that_loop_leave_or_end_early_are_damage_and_end() {
    // FAT12: cluster 2 holds the folder, 3 and 4 the file.
    let good = format(1 << 20, &[("a/b.txt", noise(1, 1000))]);
    let mut volume = Volume::open(good.clone()).unwrap();
    let file = volume.find("a/b.txt").unwrap();
    let fat = volume.geometry().fats[0].start as usize;
    let set = |cluster: u32, value: u16| {
        let mut bytes = good.bytes().to_vec();
        let at = fat + cluster as usize * 3 / 2;
        let pair = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let pair = if cluster & 1 == 0 { pair & 0xf000 | value } else { pair & 0xf | value << 4 };
        bytes[at..at + 2].copy_from_slice(&pair.to_le_bytes());
        Volume::open(MemDisk::from_bytes(bytes)).unwrap()
    };
    for (value, what) in [(0xfff, "too early"), (0, "outside"), (1, "outside"), (0xff7, "outside"), (0xeee, "outside")]
    {
        let error = set(file.cluster(), value).read(&file, 2000).unwrap_err();
        assert!(error.to_string().contains(what), "{value:#x}: {error}");
    }
    assert!(set(file.cluster(), file.cluster() as u16).read(&file, 2000).is_ok(), "a loop is read as long as the file");
    let folder = folder(&mut volume);
    let error = set(folder, folder as u16).walk().unwrap_err();
    assert!(error.to_string().contains("longer than a folder"), "{error}");
}

fn folder(volume: &mut Volume<MemDisk>) -> u32 {
    volume.find("a").unwrap().cluster()
}

#[test]
fn folders_that_contain_themselves_are_damage() {
    let mut bytes = format(1 << 20, &[("a/b.txt", noise(1, 10))]).into_bytes();
    let mut volume = Volume::open(MemDisk::from_bytes(bytes.clone())).unwrap();
    // The third entry, b.txt, becomes a folder that begins where its parent does.
    let cluster = folder(&mut volume);
    let place = volume.geometry().cluster_bytes(cluster).unwrap().start as usize;
    let entry = (place..place + 512).step_by(32).find(|&at| bytes[at] == b'B').unwrap();
    bytes[entry + 11] = 0x10;
    bytes[entry + 26..entry + 28].copy_from_slice(&(cluster as u16).to_le_bytes());
    let error = Volume::open(MemDisk::from_bytes(bytes)).unwrap().walk().unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
}

#[test]
fn folders_whose_chains_join_are_not_read_for_ever() {
    let names: Vec<String> = (0..40).map(|n| format!("{n}/x")).collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), vec![1])).collect();
    let mut bytes = format(8 << 20, &files).into_bytes();
    let mut volume = Volume::open(MemDisk::from_bytes(bytes.clone())).unwrap();
    assert_eq!((volume.geometry().kind, volume.walk().unwrap().len()), (Kind::Fat16, 40));
    // Each folder goes on in the same free clusters, as many as a folder may have.
    let (fat, clusters) =
        (volume.geometry().fats[0].start as usize, (2 << 20) / volume.geometry().cluster as usize - 1);
    let mut set = |cluster: usize, value: u16| bytes[fat + 2 * cluster..][..2].copy_from_slice(&value.to_le_bytes());
    let first = 200;
    for cluster in first..first + clusters {
        set(cluster, if cluster + 1 < first + clusters { cluster as u16 + 1 } else { 0xffff });
    }
    for entry in volume.list(&Directory::root()).unwrap() {
        set(entry.cluster() as usize, first as u16);
    }
    let error = Volume::open(MemDisk::from_bytes(bytes)).unwrap().walk().unwrap_err();
    assert!(error.to_string().contains("32 MiB of folders"), "{error}");
}

/// Everything that reads a volume; what it returns does not matter, that it returns does.
fn exercise(disk: MemDisk) {
    let Ok(mut volume) = Volume::open(disk) else { return };
    let _ = volume.find("overlays/disable-bt.dtbo");
    let Ok(files) = volume.walk() else { return };
    for (_, entry) in files.iter().take(50) {
        let _ = volume.read(entry, 1 << 20);
        if let Ok(mut file) = volume.open_file(entry) {
            let _ = file.seek(SeekFrom::End(-3));
            let _ = file.read(&mut [0; 8]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_flipped_byte_makes_the_reader_panic_or_hang(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), early in any::<bool>(),
    ) {
        let mut files = files(1);
        files.retain(|(_, bytes)| bytes.len() < 100_000);
        let mut bytes = format(1 << 20, &files).into_bytes();
        // Boot sector, FATs and root directory lie at the start; that is where flips hurt.
        let reach = if early { 12_000 } else { bytes.len() };
        for (at, value) in flips {
            bytes[at.index(reach)] = value;
        }
        exercise(MemDisk::from_bytes(bytes));
    }

    #[test]
    fn nor_do_random_bytes_behind_a_boot_sector(seed in any::<u64>(), boot in prop::collection::vec(any::<u8>(), 62), real in any::<bool>()) {
        let mut bytes = noise(seed, 1 << 20);
        if real {
            bytes[..512].copy_from_slice(&format(1 << 20, &[]).bytes()[..512]);
        } else {
            bytes[..62].copy_from_slice(&boot);
            (bytes[0], bytes[11], bytes[12], bytes[510], bytes[511]) = (0xeb, 0, 2, 0x55, 0xaa);
            bytes[13] = 1 << (bytes[13] % 8);
            bytes[14..17].copy_from_slice(&[1, 0, 2]);
        }
        exercise(MemDisk::from_bytes(bytes));
    }
}

#[test]
fn a_disk_that_fails_is_an_error() {
    struct Failing(MemDisk);
    impl Disk for Failing {
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
            if offset >= 512 { Err(std::io::Error::other("bad sector")) } else { self.0.read_at(offset, buf) }
        }
        fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut volume = Volume::open(Failing(format(1 << 20, &[("a", vec![1])]))).unwrap();
    assert!(matches!(volume.find("a"), Err(FatError::Io(_))));
}
