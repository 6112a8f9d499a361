//! A disk image driven without a Pi: status, install, commit, rollback; and the developer's commands on files.

use std::io::Cursor;
use std::ops::ControlFlow;

use warppool_ota::autoboot::Autoboot;
use warppool_ota::cli::{self, Content, Signature};
use warppool_ota::layout::Extent;
use warppool_ota::offline::Offline;
use warppool_ota::source::FileSource;
use warppool_ota::{Layout, MemDisk, PrivateKey, SECTOR, Slot, Trust, Version, Window, mbr, p1};

use crate::slots::{SLOT, bundle, key, slot, trust};

/// A whole disk with version 1.1.0 in slot A and nothing in slot B.
pub fn card() -> MemDisk {
    let mib = 2048;
    let slot_sectors = (SLOT / SECTOR as u64) as u32;
    let boot = Extent::new(mib, 16 * mib);
    let slot_a = Extent::new(17 * mib, slot_sectors);
    let slot_b = Extent::new(slot_a.start + slot_sectors, slot_sectors);
    let extended = Extent::new(slot_b.start + slot_sectors, 4 * mib);
    let handover = Extent::new(extended.start + mib, mib);
    let data = Extent::new(handover.start + 2 * mib, mib);
    let layout = Layout { boot, slot_a, slot_b, extended, handover, data };
    let mut disk = MemDisk::new(layout.sectors() * SECTOR as u64);
    mbr::write(&mut disk, &layout).unwrap();
    p1::write(&mut Window::new(&mut disk, boot.bytes()).unwrap(), &Autoboot::new(Slot::A).text()).unwrap();
    let at = slot_a.bytes();
    let mut bytes = disk.into_bytes();
    bytes[at.start as usize..at.end as usize].copy_from_slice(slot(1).bytes());
    MemDisk::from_bytes(bytes)
}

#[test]
fn a_card_is_updated_committed_and_rolled_back() {
    let mut card = Offline::open(card()).unwrap();
    let shown = |card: &Offline<MemDisk>| card.status(&trust()).unwrap().to_string();
    assert_eq!(shown(&card), "starts slot A, slot B on trial\nslot A: warppool 1.1.0\nslot B: empty");
    let error = card.rollback(&trust()).unwrap_err().to_string();
    assert!(error.contains("slot B is not sound"), "{error}");

    let mut on = |_| ControlFlow::Continue(());
    let mut source = FileSource::new(Cursor::new(bundle(2))).unwrap();
    let (target, ready) = card.install(&mut source, &trust(), false, &mut on).unwrap();
    assert_eq!((target, ready.manifest.version), (Slot::B, Version::new(1, 2, 0)));
    assert_eq!(shown(&card), "starts slot A, slot B on trial\nslot A: warppool 1.1.0\nslot B: warppool 1.2.0");
    card.commit(Slot::B, &trust()).unwrap();
    assert!(shown(&card).starts_with("starts slot B, slot A on trial"));

    let mut older = FileSource::new(Cursor::new(bundle(1))).unwrap();
    assert!(card.install(&mut older, &trust(), false, &mut on).unwrap_err().to_string().contains("older than 1.2.0"));
    assert_eq!(card.install(&mut older, &trust(), true, &mut on).unwrap().0, Slot::A);
    assert_eq!(card.rollback(&trust()).unwrap(), Slot::A);

    let strict = Trust { minimum_version: Version::new(1, 3, 0), ..trust() };
    assert!(card.commit(Slot::B, &strict).unwrap_err().to_string().contains("oldest that may be gone back to"));
    assert!(card.verify(Slot::A, &trust()).unwrap().is_sound());
}

#[test]
fn a_commit_brings_an_unreadable_partition_1_back() {
    let mut bytes = card().into_bytes();
    let boot = mbr::read(&mut MemDisk::from_bytes(bytes.clone())).unwrap().boot.bytes();
    bytes[boot.start as usize..boot.end as usize].fill(0xff);
    let mut card = Offline::open(MemDisk::from_bytes(bytes)).unwrap();
    assert!(card.status(&trust()).unwrap().to_string().contains("partition 1"));
    card.commit(Slot::A, &trust()).unwrap();
    assert_eq!(card.status(&trust()).unwrap().autoboot, Ok(Autoboot::new(Slot::A)));
}

#[test]
fn files_are_signed_shown_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let made = cli::keygen(&path("key.pem")).unwrap();
    let trust_toml = format!(
        "product = 'warppool'\nhardware = 'rpi5'\nminimum_version = '0.1.0'\n{}",
        made.to_string().split_once("\n\n").unwrap().1
    );
    assert_eq!(Trust::parse(&trust_toml).unwrap().keys[0].public, made.public);
    assert_eq!(PrivateKey::read(&path("key.pem")).unwrap().public(), made.public);

    std::fs::write(path("slot.img"), slot(1).bytes()).unwrap();
    let header = cli::sign_bundle(&path("slot.img"), &trust(), 0, &key(), &path("b.bundle")).unwrap();
    assert_eq!(std::fs::read(path("b.bundle")).unwrap(), bundle(1), "signing is reproducible");
    let inspection = cli::inspect(&path("b.bundle"), Some(&trust())).unwrap();
    assert_eq!((&inspection.signature, &inspection.content), (&Signature::Good, &Content::Bundle(header)));
    assert!(inspection.to_string().contains("warppool 1.1.0 for rpi5") && inspection.to_string().ends_with("good"));
    assert_eq!(cli::inspect(&path("b.bundle"), None).unwrap().signature, Signature::NotChecked);
    let others = Trust { keys: vec![], ..trust() };
    assert!(cli::inspect(&path("b.bundle"), Some(&others)).unwrap().to_string().contains("NOT GOOD"));

    let feed = "product = 'warppool'\nchannel = 'stable'\nserial = 4\nissued = 1\nexpires = 2\n[[releases]]\nversion = '1.2.0'\nhardware = 'rpi5'\n\
                url = 'https://example.org/b'\nsize = 9\n";
    std::fs::write(path("feed.toml"), feed).unwrap();
    cli::sign_feed(&path("feed.toml"), &key(), &path("stable.wpf")).unwrap();
    assert!(cli::inspect(&path("stable.wpf"), Some(&trust())).unwrap().to_string().contains("serial 4"));
    std::fs::write(path("other"), b"something else").unwrap();
    assert!(cli::inspect(&path("other"), None).unwrap_err().to_string().contains("is no bundle"));

    let verified = cli::verify(&path("slot.img"), &trust()).unwrap();
    assert!(
        verified.is_sound() && verified.to_string().contains("8 files, sound")
            || verified.to_string().contains("7 files, sound")
    );
    std::fs::write(path("disk.img"), card().bytes()).unwrap();
    let verified = cli::verify(&path("disk.img"), &trust()).unwrap();
    assert!(verified.is_sound() && verified.to_string().contains("slot B: empty"), "{verified}");
    assert!(!cli::verify(&path("other"), &trust()).unwrap().is_sound());
}
