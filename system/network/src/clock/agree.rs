//! Which of several answers to believe.

use std::time::Duration;

/// One server's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What is to be added to the clock, seconds.
    pub offset: f64,
    /// How long question and answer were under way, seconds; the offset may be wrong by half of it.
    pub delay: f64,
}

/// What the servers agree on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// To be added to the clock, seconds.
    pub offset: f64,
    pub agreeing: usize,
    pub answers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    #[error("no time server answers")]
    Silence,
    #[error("of {answers} time servers no more than {agreeing} agree")]
    NoMajority { agreeing: usize, answers: usize },
}

/// Servers that are right differ by this much besides what the network adds, seconds.
const TOLERANCE: f64 = 0.1;
/// An answer that took longer says too little.
const MAX_DELAY: f64 = 3.0;
/// No version of this program is still in use thirty years after it was built.
const MAX_AGE: Duration = Duration::from_hours(30 * 365 * 24);

/// Whether an answer can be true at all. `now` is the clock it is relative to, Unix seconds.
pub(super) fn believable(sample: &Sample, now: f64, not_before: u64) -> bool {
    let time = now + sample.offset;
    let earliest = not_before as f64;
    (-TOLERANCE..=MAX_DELAY).contains(&sample.delay)
        && time >= earliest - TOLERANCE
        && time <= earliest + MAX_AGE.as_secs_f64()
}

/// The median of the largest group of answers that are consistent with each other, when that group is more than half of
/// all: servers that lie cannot move it unless they are the majority.
pub fn agree(samples: &[Sample]) -> Result<Agreement, Disagreement> {
    let mut samples: Vec<Sample> = samples.iter().copied().filter(|sample| sample.offset.is_finite()).collect();
    samples.sort_by(|a, b| a.offset.total_cmp(&b.offset));
    let answers = samples.len();
    let around = |middle: &Sample| -> Vec<f64> {
        let near = |other: &&Sample| {
            (other.offset - middle.offset).abs() <= TOLERANCE + (other.delay + middle.delay).max(0.0) / 2.0
        };
        samples.iter().filter(near).map(|sample| sample.offset).collect()
    };
    let largest = samples.iter().map(around).max_by_key(Vec::len).ok_or(Disagreement::Silence)?;
    if largest.len() * 2 <= answers {
        return Err(Disagreement::NoMajority { agreeing: largest.len(), answers });
    }
    Ok(Agreement { offset: median(&largest), agreeing: largest.len(), answers })
}

/// Of sorted values, at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(offsets: &[f64]) -> Vec<Sample> {
        offsets.iter().map(|offset| Sample { offset: *offset, delay: 0.02 }).collect()
    }

    #[test]
    fn the_majority_is_believed() {
        let cases: [(&[f64], f64, usize); 5] = [
            (&[5.0], 5.0, 1),
            (&[5.0, 5.02], 5.01, 2),
            (&[5.0, 5.02, 5.01, -80_000.0], 5.01, 3),
            (&[1e9, 0.001, 0.003], 0.002, 2),
            (&[0.0, 0.05, 0.1, 900.0, 901.0], 0.05, 3),
        ];
        for (offsets, want, agreeing) in cases {
            let found = agree(&samples(offsets)).expect("a majority agrees");
            assert!((found.offset - want).abs() < 1e-9, "{offsets:?}: {found:?}");
            assert_eq!((found.agreeing, found.answers), (agreeing, offsets.len()));
        }
    }

    #[test]
    fn without_a_majority_nobody_is_believed() {
        assert_eq!(agree(&[]), Err(Disagreement::Silence));
        assert_eq!(agree(&samples(&[0.0, 60.0])), Err(Disagreement::NoMajority { agreeing: 1, answers: 2 }));
        assert_eq!(agree(&samples(&[0.0, 0.0, 60.0, 60.0])), Err(Disagreement::NoMajority { agreeing: 2, answers: 4 }));
        assert_eq!(agree(&samples(&[f64::NAN, f64::INFINITY])), Err(Disagreement::Silence));
    }

    #[test]
    fn a_slow_answer_is_allowed_to_be_less_exact() {
        let slow = Sample { offset: 0.6, delay: 1.2 };
        assert_eq!(agree(&[samples(&[0.0])[0], slow]).expect("consistent").agreeing, 2);
    }

    #[test]
    fn a_time_before_the_build_or_an_age_after_it_cannot_be() {
        let built = 1_780_000_000;
        let believe = |offset: f64, delay: f64| believable(&Sample { offset, delay }, built as f64, built);
        assert!(believe(0.0, 0.01) && believe(1e8, 0.01));
        assert!(!believe(-10.0, 0.01), "before the build");
        assert!(!believe(1e9, 0.01), "thirty years on");
        assert!(!believe(1.0, 4.0), "too slow to mean anything");
        assert!(!believe(1.0, -2.0), "answered before it was asked");
        assert!(!believe(f64::NAN, 0.01));
    }

    proptest! {
        #[test]
        fn a_minority_of_liars_cannot_move_the_clock(
            honest in prop::collection::vec(-0.04..0.04, 3..6),
            lies in prop::collection::vec(prop::num::f64::ANY, 0..3),
        ) {
            let all: Vec<f64> = honest.iter().chain(&lies).copied().collect();
            let found = agree(&samples(&all)).expect("the honest are the majority");
            prop_assert!(found.offset.abs() < 0.5, "{:?}", found);
        }
    }
}
