//! The raw shares of one commit within one five-minute bucket, packed into one value of about a dozen bytes a share.
//!
//! A chunk also carries the tallies of shares that were too many to keep one by one, so that a chunk alone restores every
//! count made since the last checkpoint.

use serde::{Deserialize, Serialize};

use crate::resolution::FIVE_MINUTES_MS;
use crate::value::Undecodable;
use crate::{Outcome, ShareRow, Tally, WorkerId};

/// Raw rows kept of one commit; more are counted, not kept.
pub(crate) const MAX_ROWS: usize = 65_536;

/// Shares of one commit that lie in the five minutes from `bucket` on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chunk {
    /// The height that was mined when they were written.
    pub(crate) height: u32,
    pub(crate) rows: Vec<ShareRow>,
    pub(crate) extra: Vec<(WorkerId, Tally)>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ChunkRecord {
    height: u32,
    /// Each distinct difficulty once; rows refer to it by its place.
    difficulties: Vec<f64>,
    rows: Vec<RowRecord>,
    extra: Vec<(u32, Tally)>,
}

#[derive(Serialize, Deserialize)]
struct RowRecord {
    /// Milliseconds since the row before, or since the bucket's start.
    after_ms: u32,
    worker: u32,
    difficulty: u32,
    actual: f64,
    outcome: u8,
}

impl Chunk {
    /// Rows are sorted by time; each must lie in the bucket.
    pub(crate) fn record(&self, bucket: u64) -> ChunkRecord {
        let mut rows: Vec<&ShareRow> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.at_ms);
        // Few distinct difficulties are the rule; the last one used is the likeliest.
        let mut difficulties: Vec<f64> = rows.iter().map(|row| row.difficulty).collect();
        difficulties.sort_by(f64::total_cmp);
        difficulties.dedup_by_key(|difficulty| difficulty.to_bits());
        let mut before = bucket;
        let rows = rows
            .into_iter()
            .map(|row| {
                let after_ms = (row.at_ms - before) as u32;
                before = row.at_ms;
                let place = difficulties.binary_search_by(|d| d.total_cmp(&row.difficulty));
                RowRecord {
                    after_ms,
                    worker: row.worker.0,
                    difficulty: place.expect("every row's difficulty was collected") as u32,
                    actual: row.actual,
                    outcome: row.outcome.code(),
                }
            })
            .collect();
        let extra = self.extra.iter().map(|(worker, tally)| (worker.0, *tally)).collect();
        ChunkRecord { height: self.height, difficulties, rows, extra }
    }

    pub(crate) fn from_record(bucket: u64, record: ChunkRecord) -> Result<Self, Undecodable> {
        let malformed = |what: &str| Undecodable::Malformed(what.to_owned());
        if record.rows.len() > MAX_ROWS {
            return Err(malformed("too many shares in one commit"));
        }
        let mut offset = 0_u64;
        let mut rows = Vec::with_capacity(record.rows.len());
        for row in record.rows {
            offset += u64::from(row.after_ms);
            if offset >= FIVE_MINUTES_MS {
                return Err(malformed("a share lies outside its five minutes"));
            }
            let difficulty = record.difficulties.get(row.difficulty as usize);
            rows.push(ShareRow {
                at_ms: bucket.saturating_add(offset),
                worker: WorkerId(row.worker),
                difficulty: *difficulty.ok_or_else(|| malformed("a share names a difficulty that is not there"))?,
                actual: row.actual,
                outcome: Outcome::from_code(row.outcome),
            });
        }
        let extra = record.extra.into_iter().map(|(worker, tally)| (WorkerId(worker), tally)).collect();
        Ok(Self { height: record.height, rows, extra })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, value};

    fn row(at_ms: u64, worker: u32, difficulty: f64) -> ShareRow {
        ShareRow { at_ms, worker: WorkerId(worker), difficulty, actual: difficulty * 3.0, outcome: Outcome::Accepted }
    }

    #[test]
    fn a_chunk_is_read_back_sorted_by_time() {
        let bucket = 10 * FIVE_MINUTES_MS;
        let late = ShareRow { outcome: Outcome::Rejected(Reason::Duplicate), ..row(bucket + 299_999, 7, 0.001) };
        let chunk = Chunk {
            height: 840_000,
            rows: vec![late, row(bucket, 1, 512.0), row(bucket + 5, 2, 512.0)],
            extra: vec![(WorkerId(3), Tally { accepted: 9, ..Tally::default() })],
        };
        let bytes = value::encode(b"k", &chunk.record(bucket));
        let read = Chunk::from_record(bucket, value::decode(b"k", &bytes).unwrap()).unwrap();
        assert_eq!(read.rows, [row(bucket, 1, 512.0), row(bucket + 5, 2, 512.0), late]);
        assert_eq!((read.height, read.extra), (chunk.height, chunk.extra));
    }

    #[test]
    fn a_share_costs_about_a_dozen_bytes() {
        let rows = (0..400).map(|n| row(n * 700, (n % 20) as u32, f64::from((n % 3) as u32 + 1) * 512.0)).collect();
        let bytes = value::encode(b"k", &Chunk { height: 1, rows, extra: Vec::new() }.record(0));
        assert!(bytes.len() < 400 * 14, "{} bytes", bytes.len());
    }

    #[test]
    fn what_cannot_be_is_malformed() {
        let good = || Chunk { height: 1, rows: vec![row(5, 1, 1.0)], extra: Vec::new() }.record(0);
        let spoil: [fn(&mut ChunkRecord); 3] = [
            |record| record.rows[0].after_ms = 300_000,
            |record| record.rows[0].difficulty = 1,
            |record| record.difficulties.clear(),
        ];
        assert!(Chunk::from_record(0, good()).is_ok());
        for (case, spoil) in spoil.into_iter().enumerate() {
            let mut record = good();
            spoil(&mut record);
            assert!(matches!(Chunk::from_record(0, record), Err(Undecodable::Malformed(_))), "case {case}");
        }
    }
}
