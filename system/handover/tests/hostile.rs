//! File systems that somebody made to do harm, or a dying card made by itself: an answer in bounded time, never a
//! panic.

mod common;

use std::io::Cursor;
use std::time::{Duration, Instant};

use common::{Partition, SETTINGS, SMALL, order};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use warppool_handover::{HandOver, Outcome, finish, read};

fn examine(bytes: Vec<u8>) {
    let began = Instant::now();
    let mut disk = Cursor::new(bytes);
    let settings = match read(&mut disk, &|_| true) {
        Outcome::Asked { settings: Some(settings), .. } => settings,
        _ => Box::new(HandOver::default()),
    };
    let _ = finish(&mut disk, &order(settings));
    assert!(began.elapsed() < Duration::from_mins(1), "it leads in circles");
}

/// Where the structures of each kind of file system lie: everything but the data, where changes would mean nothing.
fn structures(length: usize) -> usize {
    length.min(512 * 1024)
}

#[test]
fn damaged_structures_end_in_an_answer() {
    for (name, size, options) in SMALL {
        let Some(mut partition) = Partition::new(size, options) else { return };
        partition.put("warppool.toml", SETTINGS.as_bytes());
        partition.put("a rather long name of a file.jpg", &[7; 9000]);
        let whole = partition.disk.into_inner();
        // Mostly in what is not zero: boot sector, the tables' beginnings, the root directory.
        let used: Vec<usize> = (0..structures(whole.len())).filter(|at| whole[*at] != 0).collect();
        let change = (
            prop::sample::select(used),
            prop::sample::select(vec![0u8, 1, 2, 0x7f, 0x80, 0xe5, 0xf7, 0xff]),
            any::<u8>(),
            any::<bool>(),
        );
        let mut runner = TestRunner::new(Config {
            cases: if size > 16 { 60 } else { 400 },
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&prop::collection::vec(change, 1..6), |changes| {
            let mut bytes = whole.clone();
            for (at, special, random, pick) in changes {
                bytes[at] = if pick { special } else { random };
            }
            examine(bytes);
            Ok(())
        });
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}

#[test]
fn every_single_byte_of_the_first_sector_may_be_wrong() {
    for (_, size, options) in SMALL {
        // A FAT32 is large; the others' sectors have the same fields and more.
        let step = if size > 16 { 4 } else { 1 };
        let Some(mut partition) = Partition::new(size, options) else { return };
        partition.put("warppool.toml", SETTINGS.as_bytes());
        let whole = partition.disk.into_inner();
        for at in (0..90).step_by(step) {
            for wrong in [0x00, 0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = wrong;
                examine(bytes);
            }
        }
    }
}

#[test]
fn a_directory_of_fat32_that_leads_to_itself_is_refused() {
    let Some(partition) = Partition::new(40, &["-F", "32", "-s", "1"]) else { return };
    let mut bytes = partition.disk.into_inner();
    let reserved = u16::from_le_bytes([bytes[14], bytes[15]]) as usize * 512;
    // The root directory's cluster is 2; its entry in the table says 2.
    bytes[reserved + 8..reserved + 12].copy_from_slice(&2u32.to_le_bytes());
    let Outcome::Unreadable(why) = read(&mut Cursor::new(bytes), &|_| true) else { panic!("is refused") };
    assert!(why.contains("circles"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_no_file_system(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let mut signed = bytes.clone();
        if signed.len() >= 512 {
            signed[510..512].copy_from_slice(&[0x55, 0xaa]);
        }
        examine(bytes);
        examine(signed);
    }
}
