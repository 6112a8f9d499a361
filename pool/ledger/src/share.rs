//! A judged share as the ledger takes it, and the tally that shares add up to.
//!
//! Difficulties are in units of difficulty 1 (2^32 hashes each on average); times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

/// A worker's number. Given once, never given again, also after the worker is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u32);

/// Why a share was not credited. The numbers are stored: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    Stale = 0,
    Duplicate = 1,
    LowDifficulty = 2,
    Unauthorized = 3,
    NotSubscribed = 4,
    BadTime = 5,
    BadVersion = 6,
    Malformed = 7,
    Other = 8,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::Unauthorized,
        Self::NotSubscribed,
        Self::BadTime,
        Self::BadVersion,
        Self::Malformed,
        Self::Other,
    ];

    /// The name used in metrics and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::Unauthorized => "unauthorized",
            Self::NotSubscribed => "not_subscribed",
            Self::BadTime => "bad_time",
            Self::BadVersion => "bad_version",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    /// The reason with this number; a number this release does not know is `Other`.
    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::Other)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Accepted,
    Rejected(Reason),
}

impl Outcome {
    /// 0 is accepted, otherwise the reason's number plus one.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Rejected(reason) => reason as u8 + 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Self {
        code.checked_sub(1).map_or(Self::Accepted, |reason| Self::Rejected(Reason::from_code(reason)))
    }
}

/// One judged share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareRow {
    pub at_ms: u64,
    pub worker: WorkerId,
    /// What the share counts for: the difficulty of its job.
    pub difficulty: f64,
    /// The difficulty its hash really has.
    pub actual: f64,
    pub outcome: Outcome,
}

/// What shares add up to: counts, work and the best hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "TallyRecord", into = "TallyRecord")]
pub struct Tally {
    pub accepted: u64,
    /// By [`Reason`], in the order of its numbers.
    pub rejected: [u64; Reason::ALL.len()],
    /// Sum of the accepted shares' difficulties.
    pub work: f64,
    /// The greatest actual difficulty among the accepted shares; 0 when there is none.
    pub best: f64,
}

impl Tally {
    #[inline]
    pub fn add(&mut self, row: &ShareRow) {
        match row.outcome {
            Outcome::Accepted => {
                self.accepted += 1;
                self.work += row.difficulty;
                if row.actual > self.best {
                    self.best = row.actual;
                }
            }
            Outcome::Rejected(reason) => self.rejected[reason as usize] += 1,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.rejected.iter_mut().zip(&other.rejected).for_each(|(mine, theirs)| *mine += theirs);
        self.work += other.work;
        self.best = self.best.max(other.best);
    }

    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.accepted == 0 && self.rejected_total() == 0
    }

    /// Mean hashes per second over a span, from the work credited in it.
    pub fn hashrate(&self, span_ms: u64) -> f64 {
        if span_ms == 0 { 0.0 } else { self.work * 4_294_967_296.0 * 1000.0 / span_ms as f64 }
    }
}

/// A tally as it is stored: the reasons' counts without the zeros at their end, so that a release with more reasons can be
/// read by one with fewer.
#[derive(Serialize, Deserialize)]
struct TallyRecord {
    accepted: u64,
    rejected: Vec<u64>,
    work: f64,
    best: f64,
}

impl From<Tally> for TallyRecord {
    fn from(tally: Tally) -> Self {
        let used = tally.rejected.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        Self { accepted: tally.accepted, rejected: tally.rejected[..used].to_vec(), work: tally.work, best: tally.best }
    }
}

impl From<TallyRecord> for Tally {
    fn from(record: TallyRecord) -> Self {
        let mut tally = Self { accepted: record.accepted, work: record.work, best: record.best, ..Self::default() };
        for (code, count) in record.rejected.into_iter().enumerate() {
            let reason = Reason::from_code(u8::try_from(code).unwrap_or(u8::MAX));
            tally.rejected[reason as usize] = tally.rejected[reason as usize].saturating_add(count);
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_outcomes_keep_their_numbers() {
        for (code, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, code);
            let outcome = Outcome::Rejected(reason);
            assert_eq!(Outcome::from_code(outcome.code()), outcome);
        }
        assert_eq!(Outcome::from_code(0), Outcome::Accepted);
        assert_eq!(Outcome::from_code(200), Outcome::Rejected(Reason::Other), "of a later release");
    }

    #[test]
    fn a_tally_of_a_release_with_more_reasons_keeps_every_rejection() {
        let record = TallyRecord { accepted: 1, rejected: (1..=12).collect(), work: 2.0, best: 3.0 };
        let tally = Tally::from(record);
        assert_eq!(tally.rejected_total(), (1..=12).sum::<u64>());
        assert_eq!(tally.rejected[Reason::Other as usize], 9 + 10 + 11 + 12);
    }

    #[test]
    fn one_unit_of_work_a_second_is_two_to_the_32_hashes_a_second() {
        let tally = Tally { work: 10.0, ..Tally::default() };
        assert!((tally.hashrate(10_000) - 4_294_967_296.0).abs() < 1e-3);
        assert_eq!(tally.hashrate(0).to_bits(), 0, "an empty span has no rate");
    }
}
