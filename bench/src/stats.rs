//! Summaries of a few measurements of one thing.

use serde::{Deserialize, Serialize};

/// A median and how far the measurements are apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The middle one, or the mean of the middle two.
    pub(crate) median: f64,
    /// Median of the distances from the median: half of the measurements are nearer than this.
    #[serde(default)]
    pub(crate) deviation: f64,
    /// The smallest.
    pub(crate) lowest: f64,
    /// The largest.
    pub(crate) highest: f64,
    /// All, in the order in which they were measured.
    pub(crate) samples: Vec<f64>,
}

impl Summary {
    /// Summarises; all zeros if there is nothing.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let sorted = sorted(samples.to_vec());
        let median = median(&sorted);
        let distances = samples.iter().map(|sample| (sample - median).abs());
        Self {
            median,
            deviation: self::median(&self::sorted(distances.collect())),
            lowest: sorted.first().copied().unwrap_or(0.0),
            highest: sorted.last().copied().unwrap_or(0.0),
            samples: samples.to_vec(),
        }
    }
}

fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    samples
}

fn median(sorted: &[f64]) -> f64 {
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    } else {
        at(middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts_is_the_middle() {
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]).median, 2.0);
        let even = Summary::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((even.median, even.lowest, even.highest), (2.5, 1.0, 4.0));
        assert_eq!(Summary::of(&[]).median, 0.0);
    }

    #[test]
    fn deviation_is_not_moved_by_one_outlier() {
        assert_eq!(Summary::of(&[1.0, 2.0, 3.0, 4.0, 1000.0]).deviation, 1.0);
        assert_eq!(Summary::of(&[5.0]).deviation, 0.0);
    }
}
