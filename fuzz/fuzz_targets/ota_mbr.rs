//! A partition table of whatever bytes: what is accepted lies on the disk, and growing it moves nothing, can be cut after any
//! write, and is done after the second time.
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use warppool_fuzz::Sparse;
use warppool_ota::mbr::{self, Growth};
use warppool_ota::{Disk, Layout};

/// Loses its power after some writes.
struct Cut<'a> {
    disk: &'a mut Sparse,
    writes: u32,
}

impl Disk for Cut<'_> {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writes = self.writes.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
        self.disk.write_at(offset, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where everything begins, and how large what does not grow is.
fn fixed(layout: &Layout) -> impl PartialEq + std::fmt::Debug {
    let Layout { boot, slot_a, slot_b, extended, handover, data } = *layout;
    (boot, slot_a, slot_b, extended.start, handover, data.start)
}

fuzz_target!(|bytes: &[u8]| {
    let Some(mut disk) = Sparse::new(bytes, u64::MAX) else { return };
    let Ok(layout) = mbr::read(&mut disk) else { return };
    let parts = [layout.boot, layout.slot_a, layout.slot_b, layout.extended, layout.handover, layout.data];
    assert!(parts.iter().all(|part| part.bytes().end <= disk.len()), "{layout:?} is larger than the disk");

    for writes in 0..3 {
        let mut after = disk.clone();
        drop(mbr::grow(&mut Cut { disk: &mut after, writes }));
        let cut = mbr::read(&mut after).expect("a table that was cut while it grew is read");
        assert_eq!(fixed(&cut), fixed(&layout));
    }
    let Ok(growth) = mbr::grow(&mut disk) else { return };
    let grown = mbr::read(&mut disk).expect("a table that was grown is read");
    assert_eq!(fixed(&grown), fixed(&layout));
    match growth {
        Growth::Complete => assert_eq!(grown.data, layout.data),
        Growth::Grown { from, to } => assert!(from == layout.data.sectors && to == grown.data.sectors && to > from),
    }
    assert!(matches!(mbr::grow(&mut disk), Ok(Growth::Complete)), "growing is done in one go");
});
