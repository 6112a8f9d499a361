//! Remembers which shares a session has had accepted, in bounded memory.
//!
//! A share is known by 64 bits of its hash. Buckets of eight sit in one cache line each; a full bucket forgets its oldest. At
//! the rate vardiff aims for nothing is ever forgotten before its job is; only a flood forgets.

use crate::Hash;

const BUCKET: usize = 8;
/// 64 KiB a session at the very most.
const MOST_BUCKETS: usize = 1024;

/// Empty it costs no memory; it grows with the session's shares up to 64 KiB.
#[derive(Clone, Debug, Default)]
pub struct Duplicates {
    /// Zero stands for an empty place. The newest of a bucket stands first.
    buckets: Vec<[u64; BUCKET]>,
    filled: usize,
}

impl Duplicates {
    /// Remembers a share by its hash (internal order); false when it was there already.
    pub fn insert(&mut self, hash: &Hash) -> bool {
        // The low bytes of a hash are as good as random; the high ones are zeros at high difficulty.
        let (limbs, _) = hash.as_chunks::<8>();
        let mark = u64::from_le_bytes(limbs[0]) | 1;
        if self.filled >= self.buckets.len() * BUCKET / 4 && self.buckets.len() < MOST_BUCKETS {
            self.grow();
        }
        let place = Self::place(mark, self.buckets.len());
        let bucket = &mut self.buckets[place];
        if bucket.contains(&mark) {
            return false;
        }
        self.filled += usize::from(bucket[BUCKET - 1] == 0);
        bucket.copy_within(..BUCKET - 1, 1);
        bucket[0] = mark;
        true
    }

    /// Forgets everything and gives the memory back: after a new tip old shares are stale anyway.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn place(mark: u64, buckets: usize) -> usize {
        (mark >> 32) as usize & (buckets - 1)
    }

    fn grow(&mut self) {
        let count = (self.buckets.len() * 4).max(1);
        let old = std::mem::replace(&mut self.buckets, vec![[0; BUCKET]; count]);
        self.filled = 0;
        for mark in old.into_iter().flat_map(|bucket| bucket.into_iter().rev()).filter(|mark| *mark != 0) {
            let bucket = &mut self.buckets[Self::place(mark, count)];
            self.filled += usize::from(bucket[BUCKET - 1] == 0);
            bucket.copy_within(..BUCKET - 1, 1);
            bucket[0] = mark;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256d;

    fn share(n: u32) -> Hash {
        sha256d(&n.to_le_bytes())
    }

    #[test]
    fn a_share_is_new_once() {
        let mut seen = Duplicates::default();
        for n in 0..2000 {
            assert!(seen.insert(&share(n)), "share {n} is new");
            assert!(!seen.insert(&share(n)), "share {n} is known");
        }
        // Nearly all of two thousand are still known: only the fullest buckets have had to forget.
        let known = (0..2000).filter(|n| !seen.clone().insert(&share(*n))).count();
        assert!(known > 1990, "{known} of 2000 are known");
    }

    #[test]
    fn memory_stays_bounded_under_a_flood_and_the_newest_are_known() {
        let mut seen = Duplicates::default();
        (0..200_000).for_each(|n| assert!(seen.insert(&share(n))));
        assert_eq!(seen.buckets.len(), MOST_BUCKETS);
        let known = (199_000..200_000).filter(|n| !seen.clone().insert(&share(*n))).count();
        assert!(known > 990, "{known} of the newest 1000 are known");
        seen.clear();
        assert_eq!(seen.buckets.capacity(), 0);
        assert!(seen.insert(&share(1)));
    }
}
