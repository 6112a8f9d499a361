//! The reader of LMDB's pages beside LMDB itself.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::{meta, salvage, walk};
use crate::store::lmdb::{DATA, LmdbStore};
use crate::store::{Batch, Store};
use crate::value;

const MAP_SIZE: u64 = 64 << 20;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u16) -> Vec<u8> {
    // Of different lengths, up to LMDB's longest.
    let mut key = number.to_be_bytes().to_vec();
    key.resize(2 + usize::from(number % 5) * 127, 7);
    key
}

/// Puts and deletes in commits, remembered in the model.
fn write(dir: &Path, model: &mut Model, commits: &[Vec<(u16, Option<u16>)>]) {
    let store = LmdbStore::open(dir, MAP_SIZE).unwrap();
    for commit in commits {
        let mut batch = Batch::new();
        for &(number, length) in commit {
            let key = key(number % 300);
            let value = length.map(|length| value::encode(&key, &vec![number as u8; usize::from(length)]));
            match &value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(&key),
            };
            batch.insert(key, value);
        }
        store.commit(&batch).unwrap();
    }
    Box::new(store).close();
}

fn walked(dir: &Path) -> Result<Model, super::Damage> {
    let mut records = Model::new();
    walk(&dir.join(DATA), &mut |key, value| {
        records.insert(key.to_vec(), value.to_vec());
        Ok(())
    })?;
    Ok(records)
}

fn salvaged(dir: &Path) -> Model {
    let mut records = Model::new();
    let _ = salvage(&dir.join(DATA), &mut |key, value| {
        if value::is_whole(key, value) {
            records.entry(key.to_vec()).or_insert(value.to_vec());
        }
    });
    records
}

fn commits() -> impl Strategy<Value = Vec<Vec<(u16, Option<u16>)>>> {
    let length = prop_oneof![3 => 0_u16..200, 2 => 0_u16..3000, 1 => 3000_u16..20_000];
    let change = (any::<u16>(), prop::option::weighted(0.7, length));
    prop::collection::vec(prop::collection::vec(change, 0..60), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Pages smaller than the machine's own stand for our 4 KiB on a machine with pages of 16 KiB.
    #[test]
    fn whatever_lmdb_wrote_is_found_sound_and_read_the_same(
        commits in commits(),
        page_size in prop::sample::select(vec![2048_usize, 4096, 8192]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(DATA), meta::empty(page_size, MAP_SIZE)).unwrap();
        let mut model = Model::new();
        for part in commits.chunks(4) {
            write(dir.path(), &mut model, part);
            prop_assert_eq!(walked(dir.path()), Ok(model.clone()));
            prop_assert_eq!(salvaged(dir.path()), model.clone());
        }
    }
}

#[test]
fn an_empty_file_is_byte_for_byte_what_lmdb_makes() {
    let dir = tempfile::tempdir().unwrap();
    Box::new(LmdbStore::open_as_found(dir.path(), MAP_SIZE).unwrap()).close();
    let made = std::fs::read(dir.path().join(DATA)).unwrap();
    assert_eq!(made, meta::empty(made.len() / 2, MAP_SIZE));
}

#[test]
fn no_flipped_bit_makes_the_reader_panic_or_tell_a_record_that_was_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    let commits: Vec<_> =
        (0..12_u16).map(|n| (0..40).map(|m| (n * 37 + m * 11, Some((n * m * 13) % 300))).collect()).collect();
    write(dir.path(), &mut model, &commits[..11]);
    // Where a header is lost, the snapshot before the last commit is what is left.
    let before = model.clone();
    write(dir.path(), &mut model, &commits[11..]);
    let path = dir.path().join(DATA);
    let original = std::fs::read(&path).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut told, mut rescued) = (0, 0);
    for round in 0..1500 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let within = if round % 4 == 0 { 2 * 4096 } else { original.len() };
        let bit = (random >> 20) as usize % (within * 8);
        let mut bytes = original.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        let read = walked(dir.path());
        told += usize::from(read.is_err());
        let whole = |records: Model| records.into_iter().filter(|(key, value)| value::is_whole(key, value)).collect();
        let sound: Model = read.map_or_else(|_| salvaged(dir.path()), whole);
        let was_there = |(key, value)| model.get(key) == Some(value) || before.get(key) == Some(value);
        assert!(sound.iter().all(was_there), "bit {bit}");
        rescued += sound.len();
    }
    assert!(told > 50, "{told} of 1500 flips were told");
    assert!(rescued > model.len() * 1500 * 99 / 100, "more than 99 of 100 records survive a flip");
}

#[test]
fn headers_that_cannot_be_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATA);
    let good = meta::empty(4096, MAP_SIZE);
    std::fs::write(&path, &good).unwrap();
    assert_eq!(walked(dir.path()), Ok(Model::new()));
    // Offset, new bytes.
    let cases: [(&str, usize, &[u8]); 8] = [
        ("magic", 16, &[0; 4]),
        ("version", 20, &[9, 0, 0, 0]),
        ("page size 0", 40, &[0; 4]),
        ("page size beyond any", 40, &[0, 0, 0, 0x40]),
        ("a root beyond the file", 40 + 48 + 40, &[200, 0, 0, 0, 0, 0, 0, 0]),
        ("records without a root", 40 + 48 + 32, &[5, 0, 0, 0, 0, 0, 0, 0]),
        ("a last page of all ones", 40 + 96, &[0xff; 8]),
        ("a transaction of the other header", 40 + 104, &[3, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (case, offset, bytes) in cases {
        let mut bad = good.clone();
        for page in [0, 4096] {
            bad[page + offset..][..bytes.len()].copy_from_slice(bytes);
        }
        std::fs::write(&path, bad).unwrap();
        assert!(walked(dir.path()).is_err(), "{case}");
        assert_eq!(salvaged(dir.path()), Model::new(), "{case}");
    }
}
