//! What one commit writes, put together from the intake's group, the tiers on disk, and what has grown too old.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::chunk::Chunk;
use crate::intake::{Fold, Group};
use crate::key::{self, Key, meta};
use crate::record::TierRecord;
use crate::store::{Batch, Reader, StoreError};
use crate::tallies::ByWorker;
use crate::{Resolution, Retention, Tally, WorkerId, value};

/// Records deleted by age in one commit: a backlog goes in several.
const MOST_EXPIRED: usize = 2000;

/// The raw shares and workers of a group, and if it is a checkpoint, the tiers with its shares added.
pub(crate) fn batch(group: &Group, reader: &dyn Reader) -> Result<Batch, StoreError> {
    let mut batch = Batch::new();
    for (bucket, chunk) in chunks(group) {
        put(&mut batch, &Key::Raw { bucket, seq: group.seq }, &chunk.record(bucket));
    }
    for (id, record) in &group.workers {
        put(&mut batch, &Key::Worker(*id), record);
    }
    for id in &group.forgotten {
        batch.insert(Key::Worker(*id).bytes(), None);
    }
    if let Some(next) = group.next_worker {
        put(&mut batch, &Key::Meta(meta::NEXT_WORKER.to_vec()), &next);
    }
    if let Some(fold) = &group.fold {
        add_fold(&mut batch, fold, reader)?;
    }
    Ok(batch)
}

fn put<T: serde::Serialize>(batch: &mut Batch, key: &Key, record: &T) {
    let key = key.bytes();
    let value = value::encode(&key, record);
    batch.insert(key, Some(value));
}

/// A group's shares by the bucket they lie in.
fn chunks(group: &Group) -> BTreeMap<u64, Chunk> {
    let mut chunks: BTreeMap<u64, Chunk> = BTreeMap::new();
    for row in group.rows.iter() {
        chunks.entry(Resolution::FiveMinutes.bucket(row.at_ms)).or_default().rows.push(*row);
    }
    for (bucket, workers) in group.extra.iter() {
        // Sums taken together by the hour or day cannot be told apart any more: they are for the checkpoint alone.
        let extra = &mut chunks.entry(bucket).or_default().extra;
        extra.extend(workers.iter().map(|(worker, tally)| (*worker, *tally)));
    }
    for chunk in chunks.values_mut() {
        chunk.height = group.height;
    }
    chunks
}

fn add_fold(batch: &mut Batch, fold: &Fold, reader: &dyn Reader) -> Result<(), StoreError> {
    for tier in Resolution::ALL {
        let rolled_up;
        let sums = if tier == Resolution::FiveMinutes {
            &*fold.tallies
        } else {
            rolled_up = fold.tallies.rolled_up(tier);
            &rolled_up
        };
        for (bucket, workers) in sums.iter() {
            let key = Key::Tier(tier, bucket).bytes();
            // A row that cannot be read any more is begun anew: better a gap than a ledger that stops.
            let stored = reader.get(&key)?.and_then(|bytes| value::decode(&key, &bytes).ok()).unwrap_or_default();
            batch.insert(key.clone(), Some(value::encode(&key, &sum(stored, workers))));
        }
    }
    put(batch, &Key::Meta(meta::CHECKPOINT.to_vec()), &fold.checkpoint);
    if let Some(bests) = &fold.bests {
        put(batch, &Key::Meta(meta::BESTS.to_vec()), bests);
    }
    for sample in &fold.notify_old {
        batch.insert(Key::Notify { at_ms: sample.at_ms, height: sample.height }.bytes(), None);
    }
    for sample in &fold.notify_new {
        put(batch, &Key::Notify { at_ms: sample.at_ms, height: sample.height }, sample);
    }
    Ok(())
}

fn sum(stored: TierRecord, workers: &ByWorker<Tally>) -> TierRecord {
    let mut total = stored.total;
    let mut sums: BTreeMap<WorkerId, Tally> = stored.workers.into_iter().collect();
    for (worker, tally) in workers {
        total.merge(tally);
        sums.entry(*worker).or_default().merge(tally);
    }
    TierRecord { total, workers: sums.into_iter().collect() }
}

/// The keys of records older than their kind is kept. What lies in the future is not old.
pub(crate) fn expired(reader: &dyn Reader, retention: &Retention, now_ms: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    // A bucket is as old as its end.
    let before = |kept: Option<Duration>, span_ms: u64| {
        kept.and_then(|kept| now_ms.checked_sub(kept.as_millis() as u64)?.checked_sub(span_ms)).map(|last| 0..last + 1)
    };
    let tier = |tier: Resolution, kept| before(kept, tier.span_ms()).map(|span| key::tier(tier, span));
    let ranges = [
        before(retention.raw, Resolution::FiveMinutes.span_ms()).map(key::raw),
        tier(Resolution::FiveMinutes, retention.five_minutes),
        tier(Resolution::Hour, retention.hours),
        tier(Resolution::Day, retention.days),
        before(retention.audit, 0).map(key::audit),
    ];
    let mut keys = Vec::new();
    for range in ranges.into_iter().flatten() {
        reader.scan(range, false, &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() < MOST_EXPIRED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if keys.len() >= MOST_EXPIRED {
            break;
        }
    }
    Ok(keys)
}
