//! Distinct values: a list of hashes while few, then a HyperLogLog sketch.
//!
//! The switch depends on the number of different values alone, and a sketch's registers
//! do not depend on the order, so shards and batches make no difference. Relative
//! standard error of the sketch: 1.04 / sqrt(2^14) = 0.8 % (`datasketches`).
//!
//! A list is sorted now and then instead of looked through for each value: that costs a few
//! nanoseconds for each, its memory is the values, and merging is going over two lists.

use std::borrow::Cow;

use datasketches::hll::{HllSketch, HllType, HllUnion};

use super::{Accuracy, Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::settings::settings;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_bytes, put_u64};

/// Logarithm of the number of registers.
const REGISTERS_LOG2: u8 = 14;

/// Relative standard error of a sketch, in percent.
const SKETCH_ERROR_PERCENT: f64 = 0.8;

/// How near 95 % of all estimates are, in percent: 1.96 standard errors.
const SKETCH_BOUND_PERCENT: f64 = 1.6;

settings! {
    /// Different values of the field, or session keys.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Distinct in "" {
        /// Of distinct: different values counted exactly in a pane (the slide of the window); then
        /// a sketch takes over, with a standard error of 0.8 % (95 % of the numbers within 1.6 %).
        pub exact_up_to: usize = 10_000, count(0, 1_000_000);
    }
}

impl Aggregation for Distinct {
    type State = Set;
    const WORD: &'static str = "distinct";
    const SAYS: &'static str = "how many different values of field";
    const NEEDS: Needs = Needs::Value;
    const WHOLE: bool = true;

    fn zero(&self) -> Set {
        Set::new(self.exact_up_to)
    }

    #[inline]
    fn add(&self, set: &mut Set, metric: &Metric, fact: &impl Fact) {
        metric.hash(fact).into_iter().for_each(|hash| set.insert(hash));
    }

    fn value(&self, set: &Set, _: SpanMs) -> Option<Number> {
        Some((set.count() as f64).into())
    }

    fn of_one_event(_: SpanMs) -> Option<f64> {
        Some(1.0)
    }

    fn accuracy(&self) -> Option<Accuracy> {
        Some(Accuracy::Estimate {
            exact_up_to: self.exact_up_to,
            standard_error_percent: SKETCH_ERROR_PERCENT,
            bound_95_percent: SKETCH_BOUND_PERCENT,
        })
    }

    fn bytes_max(&self) -> usize {
        (self.exact_up_to * size_of::<u64>()).max(1 << REGISTERS_LOG2)
    }
}

/// Values that may wait to be sorted, however few are: 16 KiB. Sorting them together costs less
/// than sorting some of them often.
const WAITING: usize = 2_048;

/// Different values, by their 64-bit hashes.
#[derive(Clone, Debug)]
pub struct Set {
    exact_up_to: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Exact(Few),
    Sketch(Box<HllSketch>),
}

/// A set: in order up to `sorted`; behind that values wait that may be in it already.
#[derive(Clone, Debug, Default)]
struct Few {
    values: Vec<u64>,
    sorted: usize,
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        match (&self.settled().values, &other.settled().values) {
            (Values::Exact(a), Values::Exact(b)) => a.values == b.values,
            (Values::Sketch(a), Values::Sketch(b)) => a.serialize() == b.serialize(),
            _ => false,
        }
    }
}

impl Few {
    fn is_settled(&self) -> bool {
        self.sorted == self.values.len()
    }

    fn settle(&mut self) {
        self.values[self.sorted..].sort_unstable();
        if self.sorted > 0 {
            // Two runs in order: they are merged.
            self.values.sort();
        }
        self.values.dedup();
        self.sorted = self.values.len();
    }
}

impl Set {
    /// Nothing seen yet; a sketch beyond `exact_up_to` different values.
    pub fn new(exact_up_to: usize) -> Self {
        Set { exact_up_to, values: Values::Exact(Few::default()) }
    }

    /// Adds one value by its hash.
    #[inline]
    pub fn insert(&mut self, hash: u64) {
        match &mut self.values {
            Values::Exact(few) => {
                few.values.push(hash);
                if few.values.len() - few.sorted > few.sorted.max(WAITING) {
                    self.settle();
                }
            }
            Values::Sketch(sketch) => sketch.update(hash),
        }
    }

    fn settled(&self) -> Cow<'_, Set> {
        match &self.values {
            Values::Exact(few) if !few.is_settled() => {
                let mut settled = self.clone();
                settled.settle();
                Cow::Owned(settled)
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// The values while they are exact, in order. It must be settled, as what was merged is.
    pub fn exact(&self) -> Option<&[u64]> {
        match &self.values {
            Values::Exact(few) => {
                debug_assert!(few.is_settled(), "values wait");
                Some(&few.values)
            }
            Values::Sketch(_) => None,
        }
    }
}

impl State for Set {
    fn merge(&mut self, other: &Set) {
        self.settle();
        match (&mut self.values, &other.settled().values) {
            (Values::Exact(mine), Values::Exact(theirs)) => {
                mine.values.extend_from_slice(&theirs.values);
                self.settle();
            }
            (Values::Sketch(mine), Values::Exact(theirs)) => {
                theirs.values.iter().for_each(|hash| mine.update(*hash));
            }
            (mine, Values::Sketch(theirs)) => {
                let mut union = union_of(mine);
                union.update(theirs);
                *mine = Values::Sketch(Box::new(union.to_sketch(HllType::Hll8)));
            }
        }
    }

    /// How many different values, exact or estimated.
    fn count(&self) -> u64 {
        match &self.settled().values {
            Values::Exact(few) => few.values.len() as u64,
            // The composite estimate is a function of the registers alone; the default
            // one depends on the order of updates.
            Values::Sketch(sketch) => sketch.composite_estimate().round() as u64,
        }
    }

    /// Makes of it what the values amount to: nothing waits afterwards. Worth while before it
    /// is asked for more than once; the answers are the same.
    fn settle(&mut self) {
        let Values::Exact(few) = &mut self.values else { return };
        if !few.is_settled() {
            few.settle();
        }
        if few.values.len() > self.exact_up_to {
            self.values = Values::Sketch(Box::new(sketch_of(&few.values)));
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.exact_up_to as u64);
        match &self.settled().values {
            Values::Exact(few) => {
                out.push(0);
                put_u64(out, few.values.len() as u64);
                few.values.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Values::Sketch(sketch) => {
                out.push(1);
                put_bytes(out, &sketch.serialize());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Set, Malformed> {
        let exact_up_to = reader.u64("limit of a distinct count")? as usize;
        let at = reader.position();
        let values = match reader.u8("kind of a distinct count")? {
            0 => {
                let num = reader.u64("number of values")? as usize;
                let bytes = reader.take(num.saturating_mul(8), "values")?;
                let hashes = bytes
                    .chunks_exact(8)
                    .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("chunks of 8 bytes")));
                let values: Vec<u64> = hashes.collect();
                // In order and each once, as it was written: what is not was damaged.
                if !values.is_sorted_by(|a, b| a < b) {
                    return Err(Malformed { what: "values", at });
                }
                Values::Exact(Few { sorted: values.len(), values })
            }
            _ => {
                let bytes = reader.bytes("sketch")?;
                let sketch =
                    HllSketch::deserialize(bytes).map_err(|_| Malformed { what: "sketch", at })?;
                Values::Sketch(Box::new(sketch))
            }
        };
        Ok(Set { exact_up_to, values })
    }
}

fn sketch_of(hashes: &[u64]) -> HllSketch {
    let mut sketch =
        HllSketch::new(REGISTERS_LOG2, HllType::Hll8).expect("14 is a valid number of registers");
    hashes.iter().for_each(|hash| sketch.update(*hash));
    sketch
}

fn union_of(values: &Values) -> HllUnion {
    let mut union = HllUnion::new(REGISTERS_LOG2).expect("14 is a valid number of registers");
    match values {
        Values::Exact(few) => few.values.iter().for_each(|hash| union.update_value(*hash)),
        Values::Sketch(sketch) => union.update(sketch),
    }
    union
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::hash::key_hash;

    proptest! {
        /// Against a plain set, in any order and however it is put together.
        #[test]
        fn it_is_the_set_of_what_came(
            parts in prop::collection::vec(prop::collection::vec(0u64..400, 0..3_000), 1..4),
            exact_up_to in prop::sample::select(vec![0usize, 1, 70, 300, 1_000]),
            ask: bool,
        ) {
            let mut whole = Set::new(exact_up_to);
            let mut plain = BTreeSet::new();
            for part in &parts {
                let mut one = Set::new(exact_up_to);
                for n in part {
                    one.insert(*n);
                    plain.insert(*n);
                }
                if ask {
                    one.settle();
                }
                whole.merge(&one);
                let few = plain.len() <= exact_up_to;
                prop_assert_eq!(whole.exact().is_some(), few);
                if few {
                    prop_assert_eq!(whole.count(), plain.len() as u64);
                    prop_assert!(whole.exact().unwrap().iter().eq(&plain));
                }
                let mut bytes = Vec::new();
                one.encode(&mut bytes);
                let read = Set::decode(&mut Reader::new(&bytes)).unwrap();
                prop_assert_eq!(read.count(), one.count());
            }
        }
    }

    #[test]
    fn values_that_come_twice_are_no_list() {
        let mut distinct = Set::new(10);
        [3, 1, 3].into_iter().for_each(|hash| distinct.insert(hash));
        let mut bytes = Vec::new();
        distinct.encode(&mut bytes);
        assert_eq!(Set::decode(&mut Reader::new(&bytes)).unwrap().exact(), Some(&[1, 3][..]));
        let len = bytes.len();
        bytes.copy_within(len - 16..len - 8, len - 8);
        assert!(Set::decode(&mut Reader::new(&bytes)).is_err());
    }

    #[test]
    fn it_is_exact_up_to_the_limit_and_near_beyond() {
        let mut distinct = Set::new(1_000);
        for n in 0..100_000u64 {
            distinct.insert(key_hash(1, &(n % 50_000).to_le_bytes()));
            if n == 999 {
                assert_eq!(distinct.count(), 1_000);
            }
        }
        let error = (distinct.count() as f64 - 50_000.0).abs() / 50_000.0;
        assert!(error < 4.0 * SKETCH_ERROR_PERCENT / 100.0, "error {error}");
    }

    #[test]
    fn the_estimate_does_not_depend_on_how_the_values_were_split() {
        let hash = |n: u64| key_hash(1, &n.to_le_bytes());
        let whole = (0..30_000).fold(Set::new(100), |mut d, n| {
            d.insert(hash(n));
            d
        });
        for parts in [2u64, 3, 7] {
            let mut merged = Set::new(100);
            for part in 0..parts {
                let mut one = Set::new(100);
                (0..30_000).filter(|n| n % parts == part).for_each(|n| one.insert(hash(n)));
                merged.merge(&one);
            }
            assert_eq!(merged.count(), whole.count());
        }
    }
}
