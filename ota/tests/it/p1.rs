//! Partition 1 and the one sector that a commit writes.

use std::io;

use warppool_ota::autoboot::{self, Autoboot, AutobootError};
use warppool_ota::{Disk, MemDisk, SECTOR, Slot, p1};

use crate::slots::{format, noise};
use crate::tools::{installed, run};

const P1: u64 = 16 << 20;

fn made(slot: Slot) -> MemDisk {
    let mut disk = MemDisk::new(P1);
    p1::write(&mut disk, &Autoboot::new(slot).text()).unwrap();
    disk
}

#[test]
fn it_is_the_same_every_time_and_others_read_it_too() {
    let disk = made(Slot::A);
    let mut over_litter = MemDisk::from_bytes(noise(1, P1 as usize));
    p1::write(&mut over_litter, &Autoboot::new(Slot::A).text()).unwrap();
    let used = p1::locate(&mut over_litter).unwrap().offset as usize + 4 * SECTOR;
    assert!(disk.bytes()[..used] == over_litter.bytes()[..used], "litter in what is used");
    assert_eq!(autoboot::read(&mut over_litter).unwrap(), Autoboot::new(Slot::A));
    if !installed("fsck.vfat") || !installed("mtype") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p1").to_str().unwrap().to_owned();
    for slot in Slot::BOTH {
        let mut disk = over_litter.clone();
        autoboot::commit(&mut disk, slot).unwrap();
        std::fs::write(&path, disk.bytes()).unwrap();
        let checked = run("fsck.vfat", &["-n", "-v", &path]);
        assert!(checked.contains("1 files, 1/") && checked.contains("FATs"), "{checked}");
        assert_eq!(run("mtype", &["-i", &path, "::autoboot.txt"]), Autoboot::new(slot).text());
        let listed = run("mdir", &["-b", "-i", &path, "::"]);
        assert_eq!(listed.trim(), "::/autoboot.txt", "it holds nothing else");
    }
}

#[test]
fn the_sector_is_found_on_what_mtools_wrote_and_odd_files_are_refused() {
    if !installed("mkfs.vfat") || !installed("mcopy") {
        return;
    }
    let text = Autoboot::new(Slot::A).text();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (image, file) = (path("image"), path("file"));
    let make = |content: &[u8], before: &dyn Fn()| {
        let _ = std::fs::remove_file(&image);
        run("mkfs.vfat", &["-F", "16", "-C", &image, "16384"]);
        before();
        std::fs::write(&file, content).unwrap();
        run("mcopy", &["-i", &image, &file, "::AUTOBOOT.TXT"]);
        MemDisk::from_bytes(std::fs::read(&image).unwrap())
    };
    let mut disk = make(text.as_bytes(), &|| {
        std::fs::write(&file, noise(1, 30_000)).unwrap();
        run("mcopy", &["-i", &image, &file, "::litter"]);
    });
    let place = p1::locate(&mut disk).unwrap();
    assert_eq!(&disk.bytes()[place.offset as usize..][..text.len()], text.as_bytes());
    assert_eq!(place.len as usize, text.len());
    autoboot::commit(&mut disk, Slot::B).unwrap();
    assert_eq!(autoboot::read(&mut disk).unwrap(), Autoboot::new(Slot::B));

    let refused = |disk: &mut MemDisk| p1::locate(disk).unwrap_err().to_string();
    assert!(refused(&mut make(&[b'\n'; 513], &|| ())).contains("longer than 512"));
    assert!(refused(&mut make(b"", &|| ())).contains("is empty"));
    let mut folder = format(P1, &[("autoboot.txt/x", vec![1])]);
    assert!(refused(&mut folder).contains("is a folder"));
    assert!(refused(&mut format(P1, &[("other.txt", vec![1])])).contains("not there"));
    let mut long = make(text.as_bytes(), &|| ());
    let fat = 4 * 512;
    let fats: Vec<usize> =
        (fat..20_000).filter(|&at| long.bytes()[at..at + 6] == [0xf8, 0xff, 0xff, 0xff, 0xff, 0xff]).collect();
    for at in fats {
        long.write_at(at as u64 + 4, &[3, 0, 0xff, 0xff]).unwrap();
    }
    assert!(refused(&mut long).contains("more than one cluster"));
}

/// Counts what is written, and stops.
struct Cut {
    disk: MemDisk,
    writes: Vec<(u64, Vec<u8>)>,
    left: usize,
    forgets: bool,
}

impl Cut {
    fn after(disk: MemDisk, left: usize) -> Self {
        Self { disk, writes: vec![], left, forgets: false }
    }
}

impl Disk for Cut {
    fn len(&self) -> u64 {
        self.disk.len()
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buf)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.forgets {
            return Ok(());
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("no more power"))?;
        self.writes.push((offset, data.to_vec()));
        self.disk.write_at(offset, data)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_commit_writes_one_sector_in_place_and_nothing_when_nothing_changes() {
    let mut disk = Cut::after(made(Slot::A), usize::MAX);
    let place = p1::locate(&mut disk).unwrap();
    autoboot::commit(&mut disk, Slot::A).unwrap();
    assert_eq!(disk.writes, []);
    autoboot::commit(&mut disk, Slot::B).unwrap();
    let [(offset, sector)] = disk.writes.as_slice() else { panic!("{} writes", disk.writes.len()) };
    assert_eq!((*offset, sector.len()), (place.offset, SECTOR));
    assert_eq!(disk.disk, made(Slot::B), "the same as if it had been made so");
}

#[test]
fn a_card_that_does_not_keep_the_commit_is_told() {
    let mut disk = Cut { forgets: true, ..Cut::after(made(Slot::A), 9) };
    let error = autoboot::commit(&mut disk, Slot::B).unwrap_err();
    assert!(matches!(error, AutobootError::NotWritten), "{error}");
}

#[test]
fn a_partition_that_others_changed_is_not_committed_to_but_repaired() {
    let other_length = format(P1, &[("autoboot.txt", b"[all]\ntryboot_a_b=1\nboot_partition=2\n".to_vec())]);
    let bootable = format(P1, &[("autoboot.txt", b"x".to_vec()), ("config.txt", vec![]), ("kernel8.img", vec![])]);
    let mut garbled = made(Slot::A);
    let place = p1::locate(&mut garbled).unwrap();
    garbled.write_at(place.offset, &noise(3, 512)).unwrap();
    for (what, disk) in [
        ("another length", other_length),
        ("something bootable", bootable),
        ("garbled text", garbled),
        ("no file system", MemDisk::from_bytes(noise(4, P1 as usize))),
        ("zeros", MemDisk::new(P1)),
    ] {
        if what != "garbled text" {
            assert!(autoboot::commit(&mut disk.clone(), Slot::B).is_err(), "{what}");
        }
        let mut either = disk.clone();
        autoboot::commit_or_repair(&mut either, Slot::B).unwrap();
        assert_eq!(autoboot::read(&mut either).unwrap(), Autoboot::new(Slot::B), "{what}");
        let mut repaired = Cut::after(disk.clone(), usize::MAX);
        autoboot::repair(&mut repaired, Slot::B).unwrap();
        assert_eq!(autoboot::read(&mut repaired.disk).unwrap(), Autoboot::new(Slot::B), "{what}");
        assert!(p1::is_alone(&mut repaired.disk), "{what}");
        // After a cut at any write the firmware finds either nothing it could use, or what it should.
        for left in 0..repaired.writes.len() {
            let mut cut = Cut::after(disk.clone(), left);
            autoboot::repair(&mut cut, Slot::B).unwrap_err();
            let untouched = left == 0;
            match autoboot::read(&mut cut.disk) {
                Ok(found) => assert_eq!(found, Autoboot::new(Slot::B), "{what} after {left}"),
                Err(_) => assert!(untouched || cut.disk.bytes()[..SECTOR] == [0; SECTOR], "{what} after {left}"),
            }
            autoboot::repair(&mut cut.disk, Slot::B).unwrap();
            assert_eq!(autoboot::read(&mut cut.disk).unwrap(), Autoboot::new(Slot::B));
        }
    }
}

#[test]
fn a_file_that_begins_where_no_cluster_is_is_refused_and_repaired() {
    for cluster in [0, 1, 0x2000_u16, 0xfff6, 0xffff] {
        let mut bytes = made(Slot::A).into_bytes();
        let entry = bytes.windows(11).position(|name| name == b"AUTOBOOTTXT").unwrap();
        bytes[entry + 26..entry + 28].copy_from_slice(&cluster.to_le_bytes());
        let mut disk = MemDisk::from_bytes(bytes);
        let error = autoboot::read(&mut disk).unwrap_err().to_string();
        assert!(error.contains("no such cluster"), "{cluster:#x}: {error}");
        autoboot::repair(&mut disk, Slot::B).unwrap();
        assert_eq!(autoboot::read(&mut disk).unwrap(), Autoboot::new(Slot::B));
    }
}

#[test]
fn a_partition_of_an_impossible_size_is_refused() {
    for size in [0, 512, 1 << 20, 200 << 20] {
        assert!(p1::write(&mut MemDisk::new(size), "x").is_err(), "{size}");
    }
    assert!(p1::write(&mut MemDisk::new(P1), "").is_err());
    assert!(p1::write(&mut MemDisk::new(P1), &"x".repeat(513)).is_err());
}
