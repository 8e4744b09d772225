//! A quantile of the field: counts by logarithmic buckets (DDSketch, Masson, Rim and Lee, VLDB
//! 2019; the mapping is that of `sketches-ddsketch`).
//!
//! Buckets are counts, so shards, batches and panes add up to the same in any order and can be
//! taken back. What is said is never further from the value at that rank than `error` of it.

use std::collections::BTreeMap;

use sketches_ddsketch::Config;

use super::{Accuracy, Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::settings::settings;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_i64, put_u64};

/// Numbers nearer to zero than this are zero.
const LEAST: f64 = 1e-9;

/// Numbers further from zero than this count as this: what an amount can hold, too.
const MOST: f64 = 1e20;

settings! {
    /// A quantile of the field.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Quantile in "" {
        /// Of quantile: which one; 0.5 is the median, 0.99 what 99 of 100 do not exceed.
        pub quantile: f64 = 0.95, number(0.0, 1.0);
        /// Of quantile: how far from the exact one it may be, as a share of it. Half of it takes
        /// twice the memory: numbers from 1 to 1,000,000 lie in some 700 buckets of 32 bytes at 0.01.
        pub error: f64 = 0.01, number(0.001, 0.1);
    }
}

/// Counts by bucket. Buckets of negative numbers lie below [`ZERO`], mirrored; empty ones are
/// not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    count: u64,
    counts: BTreeMap<i32, u64>,
}

/// Where numbers lie that are next to nothing.
const ZERO: i32 = 0;

/// What is added to the number of a positive bucket, so that all of them lie above [`ZERO`]: more
/// than the least of `LEAST` with the smallest error has to its left.
const SHIFT: i32 = 20_000;

impl Quantile {
    fn mapping(&self) -> Config {
        // How many bins it may use is of no interest: only its buckets are asked for.
        Config::new(self.error, 2_048, LEAST)
    }

    fn bucket(&self, number: f64) -> i32 {
        let mapping = self.mapping();
        let from_zero = number.abs().min(MOST);
        if from_zero < LEAST {
            return ZERO;
        }
        let bucket = SHIFT + mapping.key(from_zero);
        if number < 0.0 { -bucket } else { bucket }
    }

    /// The number that stands for a bucket.
    fn number(&self, bucket: i32) -> f64 {
        let mapping = self.mapping();
        if bucket == ZERO {
            return 0.0;
        }
        mapping.value(bucket.abs() - SHIFT).copysign(bucket.into())
    }

    /// Most buckets that there can be.
    fn buckets_max(&self) -> usize {
        2 * (1 + self.bucket(MOST) - self.bucket(LEAST)) as usize + 1
    }
}

impl Buckets {
    /// The bucket of the number that `rank` others go before.
    fn at(&self, rank: u64) -> Option<i32> {
        let mut before = 0;
        let found = self.counts.iter().find(|(_, count)| {
            before += **count;
            before > rank
        });
        found.map(|(bucket, _)| *bucket)
    }
}

impl State for Buckets {
    const SUBTRACTS: bool = true;

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (bucket, count) in &other.counts {
            *self.counts.entry(*bucket).or_default() += count;
        }
    }

    fn subtract(&mut self, other: &Self) {
        self.count -= other.count;
        for (bucket, count) in &other.counts {
            if let Some(mine) = self.counts.get_mut(bucket) {
                *mine -= count;
            }
        }
        self.counts.retain(|_, count| *count > 0);
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.counts.len() as u64);
        for (bucket, count) in &self.counts {
            put_i64(out, (*bucket).into());
            put_u64(out, *count);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut buckets = Buckets::default();
        for _ in 0..reader.u64("buckets")? {
            let at = reader.position();
            let malformed = Malformed { what: "bucket", at };
            let bucket = i32::try_from(reader.i64("bucket")?).map_err(|_| malformed)?;
            let count = reader.u64("count")?;
            let ascends = buckets.counts.last_key_value().is_none_or(|(last, _)| *last < bucket);
            let sum = buckets.count.checked_add(count).filter(|_| ascends && count > 0);
            buckets.count = sum.ok_or(malformed)?;
            buckets.counts.insert(bucket, count);
        }
        Ok(buckets)
    }
}

impl Aggregation for Quantile {
    type State = Buckets;
    const WORD: &'static str = "quantile";
    const SAYS: &'static str = "a quantile of it, within a relative error";
    const NEEDS: Needs = Needs::Number;

    fn zero(&self) -> Buckets {
        Buckets::default()
    }

    #[inline]
    fn add(&self, buckets: &mut Buckets, metric: &Metric, fact: &impl Fact) {
        let Some(number) = metric.number(fact) else { return };
        buckets.count += 1;
        *buckets.counts.entry(self.bucket(number.to_f64())).or_default() += 1;
    }

    fn value(&self, buckets: &Buckets, _: SpanMs) -> Option<Number> {
        let last = buckets.count.checked_sub(1)?;
        let rank = (self.quantile * last as f64).round() as u64;
        buckets.at(rank.min(last)).map(|bucket| self.number(bucket).into())
    }

    fn accuracy(&self) -> Option<Accuracy> {
        Some(Accuracy::Relative { error_percent: self.error * 100.0 })
    }

    fn bytes_max(&self) -> usize {
        self.buckets_max() * 32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(quantile: &Quantile, numbers: &[f64]) -> Buckets {
        let mut buckets = Buckets::default();
        for number in numbers {
            buckets.merge(&Buckets { count: 1, counts: [(quantile.bucket(*number), 1)].into() });
        }
        buckets
    }

    #[test]
    fn numbers_beyond_its_range_count_as_its_ends() {
        let median = Quantile { quantile: 0.5, error: 0.01 };
        let value =
            |number: f64| median.value(&of(&median, &[number]), 1).unwrap().scalar().unwrap();
        assert_eq!(value(1e-300), 0.0);
        assert!((value(1e300) / MOST - 1.0).abs() <= 0.01);
        assert!((value(-1e300) / -MOST - 1.0).abs() <= 0.01);
        assert_eq!(median.value(&Buckets::default(), 1), None);
    }

    #[test]
    fn buckets_out_of_order_are_refused() {
        let mut bytes = Vec::new();
        put_u64(&mut bytes, 2);
        for bucket in [5, 5] {
            put_i64(&mut bytes, bucket);
            put_u64(&mut bytes, 1);
        }
        assert!(Buckets::decode(&mut Reader::new(&bytes)).is_err());
    }

    proptest! {
        #[test]
        fn it_is_within_its_error_of_the_number_at_that_rank(
            numbers in prop::collection::vec(prop_oneof![-1e6f64..1e6, 0.0f64..1.0, Just(0.0), -1e19f64..1e19], 1..200),
            quantile in prop::sample::select(vec![0.0, 0.5, 0.9, 0.99, 1.0]),
            error in prop::sample::select(vec![0.001, 0.01, 0.1]),
        ) {
            let one = Quantile { quantile, error };
            let said = one.value(&of(&one, &numbers), 1_000).unwrap().scalar().unwrap();
            let mut sorted = numbers;
            sorted.sort_by(f64::total_cmp);
            let exact = sorted[(quantile * (sorted.len() - 1) as f64).round() as usize];
            let near = (said - exact).abs() <= error * exact.abs() * (1.0 + 1e-9) + LEAST;
            prop_assert!(near, "{said} for {exact}");
            prop_assert!(of(&one, &sorted).counts.len() <= one.buckets_max());
        }
    }
}
