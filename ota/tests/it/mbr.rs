//! The partition table: read strictly, grown safely.

use std::io;

use proptest::prelude::*;
use warppool_ota::layout::Extent;
use warppool_ota::mbr::{self, Growth, MbrError};
use warppool_ota::{Disk, FileDisk, Layout, MemDisk, SECTOR};

use crate::tools::{installed, run};

/// A layout with the default's order and small sizes.
fn small() -> Layout {
    let boot = Extent::new(2048, 2048);
    let slot_a = Extent::new(4096, 2048);
    let slot_b = Extent::new(6144, 2048);
    let extended = Extent::new(8192, 4 * 2048);
    let handover = Extent::new(10_240, 2048);
    let data = Extent::new(14_336, 2048);
    Layout { boot, slot_a, slot_b, extended, handover, data }
}

/// A disk of this many sectors of which only the first few MiB can be written, so that large ones cost nothing.
#[derive(Clone)]
struct Large {
    sectors: u64,
    start: MemDisk,
    writes: Vec<(u64, Vec<u8>)>,
    flushed: usize,
}

impl Large {
    fn new(sectors: u64) -> Self {
        let mut start = MemDisk::new(16_384 * SECTOR as u64);
        mbr::write(&mut start, &small()).unwrap();
        Self { sectors, start, writes: vec![], flushed: 0 }
    }
}

impl Disk for Large {
    fn len(&self) -> u64 {
        self.sectors * SECTOR as u64
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.start.read_at(offset, buf)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        assert_eq!(self.flushed, self.writes.len(), "each sector is durable before the next is written");
        self.writes.push((offset, data.to_vec()));
        self.start.write_at(offset, data)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.flushed = self.writes.len();
        Ok(())
    }
}

#[test]
fn a_table_is_read_as_it_was_written() {
    let mut disk = Large::new(16_384);
    assert_eq!(mbr::read(&mut disk).unwrap(), small());
    let layout = Layout::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(layout.sectors() * SECTOR as u64).unwrap();
    let mut disk = FileDisk::open(&path).unwrap();
    mbr::write(&mut disk, &layout).unwrap();
    disk.flush().unwrap();
    assert_eq!(mbr::read(&mut disk).unwrap(), layout);
    if installed("partx") {
        let printed = run("partx", &["--raw", "--noheadings", "-o", "NR,START,SECTORS,TYPE", path.to_str().unwrap()]);
        let Layout { boot, slot_a, slot_b, extended, handover, data } = layout;
        let rows = [
            (1, boot, "0xc"),
            (2, slot_a, "0xc"),
            (3, slot_b, "0xc"),
            (4, extended, "0xf"),
            (5, handover, "0xc"),
            (6, data, "0x83"),
        ];
        for ((number, extent, kind), line) in rows.iter().zip(printed.lines()) {
            // partx shows of an extended partition only where its first record lies.
            let expected =
                format!("{number} {} {} {kind}", extent.start, if *number == 4 { 2 } else { extent.sectors });
            let also = format!("{number} {} {} {kind}", extent.start, extent.sectors);
            assert!(line == expected || line == also, "{line:?} is not {also:?}");
        }
    }
}

#[test]
fn growth_is_safe_after_every_step_and_happens_once() {
    let grown = |sectors: u64| {
        let mut disk = Large::new(sectors);
        let growth = mbr::grow(&mut disk).unwrap();
        assert_eq!(mbr::grow(&mut disk).unwrap(), Growth::Complete, "a second time");
        let layout = mbr::read(&mut disk).unwrap();
        assert_eq!(layout.data.start, small().data.start);
        assert_eq!(layout.extended.end(), layout.data.end());
        (growth, layout.data.sectors)
    };
    assert_eq!(grown(16_384), (Growth::Complete, 2048));
    assert_eq!(grown(16_384 + 2047), (Growth::Complete, 2048), "less than a mebibyte is not worth it");
    assert_eq!(grown(62_332_928), (Growth::Grown { from: 2048, to: 62_332_928 - 14_336 }, 62_332_928 - 14_336));
    let beyond_2_tib = (u64::from(u32::MAX) / 2048 * 2048) as u32 - 14_336;
    assert_eq!(grown(8 << 30), (Growth::Grown { from: 2048, to: beyond_2_tib }, beyond_2_tib));

    let mut disk = Large::new(100_000);
    let before = disk.start.clone();
    mbr::grow(&mut disk).unwrap();
    assert_eq!(disk.writes.len(), 3);
    for cut in 0..=3 {
        let mut half = Large { start: before.clone(), writes: vec![], flushed: 0, ..disk.clone() };
        for (offset, data) in &disk.writes[..cut] {
            assert_eq!(data.len(), SECTOR);
            half.start.write_at(*offset, data).unwrap();
        }
        let layout = mbr::read(&mut half).unwrap();
        assert_eq!((layout.data.start, layout.handover), (small().data.start, small().handover), "after {cut} sectors");
        assert!(layout.data.sectors >= small().data.sectors);
        mbr::grow(&mut half).unwrap();
        assert_eq!(half.start, disk.start, "it goes on after {cut} sectors");
    }
}

#[test]
fn a_table_that_is_not_ours_is_refused_with_what_is_wrong() {
    const EBR1: usize = 8192 * SECTOR;
    const EBR2: usize = 12_288 * SECTOR;
    let entry = |base: usize, n: usize| base + 446 + 16 * n;
    let word = |value: u32| value.to_le_bytes().to_vec();
    for (what, at, bytes, expected) in [
        ("no signature", 510, vec![0, 0], "no partition table"),
        ("a GPT", entry(0, 0) + 4, vec![0xee], "GPT"),
        ("another type", entry(0, 1) + 4, vec![0x83], "partition 2 is of another type"),
        ("a missing one", entry(0, 2) + 4, vec![0], "partition 3 is missing"),
        ("an empty one", entry(0, 2) + 12, word(0), "partition 3 is empty"),
        ("an overlap", entry(0, 1) + 8, word(3000), "partition 2 overlaps"),
        ("slots of two sizes", entry(0, 2) + 12, word(2000), "partition 3 is not as large"),
        ("beyond the disk", entry(0, 3) + 12, word(100_000), "smaller than the image"),
        ("no second table", EBR1 + 510, vec![0, 0], "sector 8192 holds no partition table"),
        ("a loop", entry(EBR1, 1) + 8, word(0), "partition 6 is empty"),
        ("a chain that goes back", entry(EBR1, 1) + 8, word(1), "not described behind partition 5"),
        ("a chain that leaves", entry(EBR1, 1) + 8, word(u32::MAX), "lies beyond every disk"),
        ("a chain that leaves partition 4", entry(EBR1, 1) + 8, word(9000), "not described behind partition 5"),
        ("data outside", entry(EBR2, 0) + 12, word(9000), "partition 6 does not lie in its place"),
        ("data in its own record", entry(EBR2, 0) + 8, word(u32::MAX), "lies beyond every disk"),
        ("a seventh", entry(EBR2, 1) + 4, vec![0x0f], "partition 7 is not expected"),
    ] {
        let mut disk = Large::new(16_384);
        disk.start.write_at(at as u64, &bytes).unwrap();
        let error = mbr::read(&mut disk).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        let before = disk.start.clone();
        assert!(mbr::grow(&mut disk).is_err());
        assert_eq!(disk.start, before, "{what}: nothing is written by a table that is not ours");
    }
    assert!(matches!(mbr::read(&mut MemDisk::new(100)), Err(MbrError::BeyondTheDisk { .. })));
    assert!(mbr::check_sector_size(512).is_ok());
    assert!(mbr::check_sector_size(4096).unwrap_err().to_string().contains("4096"));
}

proptest! {
    #[test]
    fn no_flipped_byte_makes_growth_lose_the_data(flips in prop::collection::vec((0..512usize, 0..3usize, any::<u8>()), 1..6)) {
        let mut disk = Large::new(50_000);
        for (at, table, value) in flips {
            disk.start.write_at(([0, 8192, 12_288][table] * SECTOR + at) as u64, &[value]).unwrap();
        }
        if let Ok(before) = mbr::read(&mut disk) {
            mbr::grow(&mut disk).unwrap();
            let after = mbr::read(&mut disk).unwrap();
            prop_assert_eq!(Layout { extended: before.extended, data: before.data, ..after }, before);
            prop_assert_eq!((after.data.start, after.extended.start), (before.data.start, before.extended.start));
            prop_assert!(after.data.sectors >= before.data.sectors);
        }
    }
}
