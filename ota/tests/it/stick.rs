//! The newest bundle on a USB stick, however the stick is laid out.

use std::io::Read;

use warppool_ota::stick::newest;
use warppool_ota::{Disk, MemDisk, SECTOR, bundle};

use crate::slots::{SLOT, bundle as bundle_bytes, files, format, key, manifest_of, slot_of, trust};

const STICK: u64 = 16 << 20;

fn find(mut stick: MemDisk) -> Result<Vec<u8>, String> {
    let (mut volume, entry) = newest(&mut stick, &trust()).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    volume.open_file(&entry).unwrap().read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

fn partitioned(volume: &MemDisk, kind: u8) -> MemDisk {
    let mut disk = MemDisk::new(STICK + (1 << 20));
    let mut entry = [0; 16];
    entry[4] = kind;
    entry[8..12].copy_from_slice(&2048u32.to_le_bytes());
    entry[12..].copy_from_slice(&((STICK / SECTOR as u64) as u32).to_le_bytes());
    disk.write_at(446 + 16, &entry).unwrap();
    disk.write_at(510, &[0x55, 0xaa]).unwrap();
    disk.write_at(1 << 20, volume.bytes()).unwrap();
    disk
}

#[test]
fn the_newest_bundle_is_found_with_and_without_partitions() {
    let mut other = manifest_of(9, &files(9));
    other.hardware = "qemu".into();
    let maker = warppool_ota::Trust { hardware: "qemu".into(), ..trust() };
    let mut foreign = Vec::new();
    bundle::write(&mut slot_of(SLOT, &files(9), &other), &maker, 0, &key(), &mut foreign).unwrap();
    let mut broken = bundle_bytes(8);
    broken[300] ^= 1;
    let volume = format(
        STICK,
        &[
            ("holiday.jpg", vec![1; 100]),
            ("old.bundle", bundle_bytes(1)),
            ("New one.BUNDLE", bundle_bytes(2)),
            ("qemu.bundle", foreign),
            ("broken.bundle", broken),
        ],
    );
    assert_eq!(find(volume.clone()).unwrap(), bundle_bytes(2));
    for kind in [0x06, 0x0b, 0x0c, 0x0e] {
        assert_eq!(find(partitioned(&volume, kind)).unwrap(), bundle_bytes(2), "{kind:#x}");
    }
    assert!(find(partitioned(&volume, 0x07)).unwrap_err().contains("FAT32"));
}

#[test]
fn a_stick_without_a_bundle_for_this_device_says_what_was_found() {
    let mut broken = bundle_bytes(8);
    broken[300] ^= 1;
    let error = find(format(STICK, &[("broken.bundle", broken), ("cut.bundle", bundle_bytes(1)[..5000].to_vec())]))
        .unwrap_err();
    assert!(error.contains("broken.bundle: its signature is wrong") && error.contains("cut.bundle: "), "{error}");
    assert!(find(format(STICK, &[])).unwrap_err().contains("no update bundle"));
    assert!(find(MemDisk::new(STICK)).unwrap_err().contains("format it with FAT32"));
    assert!(find(MemDisk::new(100)).is_err());
}
