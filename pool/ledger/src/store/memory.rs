//! The store of last resort: the same keys and values, in memory, within a bound.

use std::ops::{ControlFlow, Range};

use parking_lot::RwLock;

use super::{Batch, Reader, Store, StoreError, Visit};

/// Most bytes of keys and values held. A small pool's hour of raw shares and days of roll-ups fit many times.
const LIMIT: usize = 32 << 20;

#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    map: RwLock<Map>,
}

#[derive(Debug, Default)]
struct Map {
    records: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Reader for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.records.get(key).cloned())
    }

    fn scan(&self, range: Range<Vec<u8>>, backwards: bool, visit: Visit<'_>) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut visit = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(key, value);
        let range = self.records.range(range);
        let _: ControlFlow<()> =
            if backwards { range.rev().try_for_each(&mut visit) } else { { range }.try_for_each(&mut visit) };
        Ok(())
    }
}

impl Store for MemoryStore {
    fn read(&self, look: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>) -> Result<(), StoreError> {
        look(&*self.map.read())
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut map = self.map.write();
        let grows: usize = batch.iter().filter_map(|(key, value)| value.as_ref().map(|v| key.len() + v.len())).sum();
        let shrinks: usize =
            batch.keys().filter_map(|key| map.records.get(key).map(|value| key.len() + value.len())).sum();
        let bytes = map.bytes + grows - shrinks;
        if bytes > LIMIT && grows > shrinks {
            return Err(StoreError::Full(format!(
                "the {} MiB that a ledger in memory may take are used up",
                LIMIT >> 20
            )));
        }
        for (key, value) in batch {
            match value {
                Some(value) => map.records.insert(key.clone(), value.clone()),
                None => map.records.remove(key),
            };
        }
        map.bytes = bytes;
        Ok(())
    }

    fn inspect(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.map.read().bytes as u64
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[(&[u8], Option<Vec<u8>>)]) -> Batch {
        records.iter().map(|(key, value)| (key.to_vec(), value.clone())).collect()
    }

    #[test]
    fn a_commit_beyond_the_limit_changes_nothing_and_one_that_frees_goes_through() {
        let store = MemoryStore::default();
        store.commit(&batch(&[(b"a", Some(vec![0; LIMIT - 10]))])).unwrap();
        let refused = store.commit(&batch(&[(b"b", Some(vec![0; 100]))]));
        assert!(matches!(refused, Err(StoreError::Full(_))));
        assert_eq!(super::super::get(&store, b"b").unwrap(), None);
        store.commit(&batch(&[(b"a", None), (b"b", Some(vec![0; 100]))])).unwrap();
        assert_eq!(store.bytes(), 101);
    }
}
