//! What the mean of a rule is made of: its earlier samples, and their exact sums.
//!
//! Mean and deviation come from exact sums, so equal samples have no deviation at all and a
//! small one on a large mean is not lost.

use std::collections::VecDeque;

use super::ring::Ring;
use crate::number::{Amount, Countable, Decimal, Moments};
use crate::time::EpochMs;

/// Samples in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    samples: Ring<(EpochMs, f64)>,
    /// Sums of the samples that are exact amounts.
    moments: Moments,
    /// How many are none: past 10^20, or with more digits than an amount has.
    inexact: usize,
}

impl Samples {
    /// Samples that were written.
    pub fn restored(samples: VecDeque<(EpochMs, f64)>) -> Self {
        let mut kept = Samples::default();
        samples.iter().for_each(|(_, value)| kept.count(*value));
        Samples { samples: Ring::restored(samples), ..kept }
    }

    /// Their ends and numbers.
    pub fn ring(&mut self) -> &mut Ring<(EpochMs, f64)> {
        &mut self.samples
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True when all of them, if there are any, are this value.
    pub fn are_all(&self, value: f64) -> bool {
        self.samples.iter().all(|(_, sample)| *sample == value)
    }

    /// Adds the next one.
    pub fn keep(&mut self, end: EpochMs, value: f64) {
        self.count(value);
        self.samples.push_back((end, value));
    }

    fn count(&mut self, value: f64) {
        match exact(value) {
            Some(amount) => self.moments.add(amount),
            None => self.inexact += 1,
        }
    }

    /// Adds others that lie among those kept. All of them are written anew: it is worth that
    /// once in `over`, when what stood out has become usual.
    pub fn keep_among(&mut self, others: VecDeque<(EpochMs, f64)>) {
        let mut all = self.samples.take();
        all.extend(others);
        all.make_contiguous().sort_by_key(|(end, _)| *end);
        (self.moments, self.inexact) = (Moments::default(), 0);
        all.into_iter().for_each(|(end, value)| self.keep(end, value));
    }

    /// Drops those before a time, as long as more than `least` are left.
    pub fn forget(&mut self, before: EpochMs, least: usize) {
        while self.samples.len() > least
            && let Some((end, value)) = self.samples.front().copied()
            && end < before
        {
            self.samples.pop_front();
            match exact(value) {
                Some(amount) => self.moments.take(amount),
                None => self.inexact -= 1,
            }
        }
    }

    /// Mean and standard deviation; `None` when there are no samples.
    pub fn mean_and_deviation(&self) -> Option<(f64, f64)> {
        if self.inexact == 0 {
            return self.moments.total.mean().zip(self.moments.deviation());
        }
        // In parts of the greatest and as distances from the first, so that nothing
        // overflows, and equal samples differ by nothing.
        let first = self.samples.front()?.1;
        let most = self.samples.iter().map(|(_, v)| v.abs()).fold(0.0, f64::max);
        let num = self.samples.len() as f64;
        let distances = || self.samples.iter().map(|(_, v)| v / most - first / most);
        let shift = distances().sum::<f64>() / num;
        let variance = distances().map(|d| (d - shift).powi(2)).sum::<f64>() / num;
        Some((first + shift * most, variance.sqrt() * most))
    }
}

/// A sample as it is added up, when that loses nothing.
fn exact(value: f64) -> Option<Amount> {
    match Decimal::from_f64(value)?.countable() {
        Countable::Exact(amount) => Some(amount),
        Countable::Rounded(_) | Countable::OutOfRange => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flat_line_of_any_digits_has_no_deviation() {
        for flat in [0.1, 1.0 / 3.0, 1e-9, 33.333333333333336, 1e25, 1e300, -0.7] {
            let mut samples = Samples::default();
            (0..40).for_each(|end| samples.keep(end, flat));
            assert_eq!(samples.mean_and_deviation(), Some((flat, 0.0)));
        }
    }

    #[test]
    fn a_small_deviation_on_a_large_mean_is_not_lost() {
        let mut samples = Samples::default();
        let near = |end: i64| 9_000_000_000_000.0 + (end % 2) as f64 / 1_000.0;
        (0..20).for_each(|end| samples.keep(end, near(end)));
        let (_, deviation) = samples.mean_and_deviation().unwrap();
        // The values are the nearest floats, which lie 0.00195 apart there.
        assert!((deviation - 0.001).abs() < 0.0001, "{deviation}");
    }

    proptest! {
        /// Running sums equal a look at the samples that are within reach.
        #[test]
        fn running_sums_are_those_of_the_samples_in_reach(
            values in prop::collection::vec(-1_000_000i64..1_000_000, 1..60),
            restart in 0usize..60,
        ) {
            let mut samples = Samples::default();
            for (index, value) in values.iter().enumerate() {
                if index == restart {
                    samples = Samples::restored(samples.ring().iter().copied().collect());
                }
                samples.forget(index as i64 - 10, 0);
                let mut expected = Moments::default();
                let reach = &values[index.saturating_sub(10)..index];
                reach.iter().for_each(|v| expected.add(Amount::from_millis(*v)));
                let wanted = expected.total.mean().zip(expected.deviation());
                prop_assert_eq!(samples.mean_and_deviation(), wanted);
                samples.keep(index as i64, Amount::from_millis(*value).to_f64());
            }
        }
    }
}
