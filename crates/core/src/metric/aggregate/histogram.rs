//! How many numbers lie between given bounds.

use super::{Aggregation, Needs, State};
use crate::metric::number::{Number, Shape};
use crate::metric::{Fact, Metric};
use crate::number::Decimal;
use crate::settings::settings;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_u64};

/// Most bounds: as many bars as a panel shows.
const BOUNDS_MAX: usize = 32;

settings! {
    /// How many numbers lie between given bounds.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Histogram in "" {
        /// Of histogram: the greatest number of each bucket, ascending; one more bucket holds what is
        /// above all of them.
        pub bounds: Vec<Decimal> = [1, 10, 100, 1_000].map(Decimal::from_i64).to_vec(),
            ascending(1, BOUNDS_MAX);
    }
}

impl State for Box<[u64]> {
    const SUBTRACTS: bool = true;

    fn merge(&mut self, other: &Self) {
        self.iter_mut().zip(other.iter()).for_each(|(mine, theirs)| *mine += theirs);
    }

    fn subtract(&mut self, other: &Self) {
        self.iter_mut().zip(other.iter()).for_each(|(mine, theirs)| *mine -= theirs);
    }

    fn count(&self) -> u64 {
        self.iter().sum()
    }

    fn takes(&self, other: &Self) -> bool {
        let all = self.iter().chain(other.iter());
        self.len() == other.len() && all.copied().try_fold(0u64, u64::checked_add).is_some()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.len() as u64);
        self.iter().for_each(|count| put_u64(out, *count));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut counts, at) = (Vec::new(), reader.position());
        for _ in 0..reader.u64("buckets")? {
            counts.push(reader.u64("count")?);
        }
        // Added up they are a count.
        let sum = counts.iter().copied().try_fold(0u64, u64::checked_add);
        sum.ok_or(Malformed { what: "buckets", at }).map(|_| counts.into())
    }
}

impl Aggregation for Histogram {
    type State = Box<[u64]>;
    const WORD: &'static str = "histogram";
    const SAYS: &'static str = "how many numbers of field lie between bounds";
    const NEEDS: Needs = Needs::Number;

    fn shape(&self) -> Shape {
        Shape::Histogram { bounds: self.bounds.iter().map(|bound| bound.to_f64()).collect() }
    }

    fn zero(&self) -> Self::State {
        vec![0; self.bounds.len() + 1].into()
    }

    #[inline]
    fn add(&self, counts: &mut Self::State, metric: &Metric, fact: &impl Fact) {
        let Some(number) = metric.number(fact) else { return };
        let bucket = self.bounds.partition_point(|bound| *bound < number);
        counts[bucket] += 1;
    }

    fn bytes_max(&self) -> usize {
        (self.bounds.len() + 1) * size_of::<u64>()
    }

    fn value(&self, counts: &Self::State, _: SpanMs) -> Option<Number> {
        Some(Number::Histogram(counts.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_another_number_do_not_fit() {
        let one = |counts: &[u64]| Box::<[u64]>::from(counts);
        assert!(one(&[1, 2]).takes(&one(&[3, 4])));
        assert!(!one(&[1, 2]).takes(&one(&[3, 4, 5])));
        assert!(!one(&[1, u64::MAX - 1]).takes(&one(&[1, 0])));
    }
}
