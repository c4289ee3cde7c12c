//! Summaries of a few measurements of one thing.

use serde::Serialize;

/// A median and how far the measurements are apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub lowest: f64,
    /// The largest.
    pub highest: f64,
    /// All, in the order in which they were measured.
    pub samples: Vec<f64>,
}

impl Summary {
    /// Summarises; all zeros if there is nothing.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Self {
            median,
            lowest: at(0),
            highest: at(sorted.len().saturating_sub(1)),
            samples: samples.to_vec(),
        }
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
}
