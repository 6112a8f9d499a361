//! What a set of timings comes down to: least, median, 99th percentile, most.

use std::fmt;

use serde::Serialize;

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of no samples. Percentiles are samples themselves (nearest rank), never invented between two.
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let rank = |share: f64| samples[((samples.len() as f64 * share).ceil() as usize).clamp(1, samples.len()) - 1];
        let (min, max) = (*samples.first()?, *samples.last()?);
        Some(Self { min, p50: rank(0.5), p99: rank(0.99), max })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, p50, p99, max } = self;
        write!(f, "min {min:.3}  p50 {p50:.3}  p99 {p99:.3}  max {max:.3} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_at_the_nearest_rank() {
        let spread = |min, p50, p99, max| Some(Spread { min, p50, p99, max });
        let cases = [
            (vec![], None),
            (vec![3.0], spread(3.0, 3.0, 3.0, 3.0)),
            (vec![2.0, 1.0], spread(1.0, 1.0, 2.0, 2.0)),
            ((1..=200).map(f64::from).collect(), spread(1.0, 100.0, 198.0, 200.0)),
        ];
        for (samples, expected) in cases {
            assert_eq!(Spread::of(samples), expected);
        }
    }
}
