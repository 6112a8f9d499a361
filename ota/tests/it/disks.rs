//! Disks: what is written is read, whatever the alignment, and nothing outside is touched.

use std::io::Write;

use proptest::prelude::*;
use warppool_ota::{Disk, FileDisk, MemDisk, Shared, Window};

use crate::slots::noise;

fn file_of(bytes: &[u8]) -> (tempfile::NamedTempFile, FileDisk) {
    // The system's own folder for temporary files may be in memory, where nothing can be read past the cache.
    let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(bytes).unwrap();
    let disk = FileDisk::open(file.path()).unwrap();
    (file, disk)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_file_behaves_as_memory_does(
        len in 0..700_000usize,
        ops in prop::collection::vec((any::<prop::sample::Index>(), 0..300_000usize, any::<u64>()), 1..12),
    ) {
        let bytes = noise(len as u64, len);
        let (file, mut disk) = file_of(&bytes);
        let mut memory = MemDisk::from_bytes(bytes);
        for (at, count, seed) in ops {
            let at = at.index(len + 1);
            let data = noise(seed, count);
            let written = disk.write_at(at as u64, &data).is_ok();
            prop_assert_eq!(written, memory.write_at(at as u64, &data).is_ok());
            let mut back = [vec![0; count], vec![0; count]];
            prop_assert_eq!(disk.read_at(at as u64, &mut back[0]).is_ok(), written);
            prop_assert_eq!(memory.read_at(at as u64, &mut back[1]).is_ok(), written);
            prop_assert_eq!(&back[0], &back[1]);
        }
        disk.flush().unwrap();
        prop_assert_eq!(&std::fs::read(file.path()).unwrap()[..], memory.bytes());
    }
}

#[test]
fn a_sector_can_be_written_alone() {
    let (file, mut disk) = file_of(&noise(1, 64 * 1024));
    println!("past the page cache: {}", disk.is_direct());
    disk.write_at(512 * 7, &[7; 512]).unwrap();
    disk.flush().unwrap();
    let mut expected = noise(1, 64 * 1024);
    expected[512 * 7..512 * 8].fill(7);
    assert_eq!(std::fs::read(file.path()).unwrap(), expected);
}

#[test]
fn a_window_reaches_no_further_than_its_partition() {
    let mut window = Window::new(MemDisk::new(4096), 1024..2048).unwrap();
    assert_eq!(window.len(), 1024);
    window.write_at(0, &[1; 1024]).unwrap();
    for (offset, count) in [(1024, 1), (0, 1025), (1023, 2), (u64::MAX, 1)] {
        assert!(window.write_at(offset, &vec![2; count]).is_err(), "{count} at {offset}");
        assert!(window.read_at(offset, &mut vec![0; count]).is_err());
    }
    let disk = window.into_inner();
    assert!(disk.bytes()[..1024].iter().chain(&disk.bytes()[2048..]).all(|&byte| byte == 0));
    assert!(Window::new(MemDisk::new(4096), 1024..4097).is_err());
}

#[test]
fn holders_of_a_shared_disk_see_the_same_bytes() {
    let mut one = Shared::new(MemDisk::new(1024));
    let mut other = one.clone();
    one.write_at(3, b"here").unwrap();
    let mut back = [0; 4];
    other.read_at(3, &mut back).unwrap();
    assert_eq!(&back, b"here");
    assert!(one.into_inner().is_none());
    assert_eq!(&other.into_inner().unwrap().bytes()[3..7], b"here");
}
