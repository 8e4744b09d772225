//! The values that come most.
//!
//! Exact while few: every value with its count. Beyond `exact_up_to` different values in what is
//! merged the counts are let go, and those of a sample speak for all: of `sample` facts, those with
//! the least hashes of their places in the log. Whether it is exact depends on the set of values
//! alone, and a place has the same hash wherever it is met, so neither shards nor batches nor
//! restarts make a difference. Counters that make room for each other (Misra-Gries, Space-Saving)
//! need less memory for the same error, and answer by the order in which they were merged.
//!
//! The sample is a bottom-k sample (Cohen and Kaplan, "Summarizing data using bottom-k sketches",
//! PODC 2007): of `n` facts drawn without favour a share `p` is off by no more than
//! `1.96 sqrt(p (1 - p) / n)` 19 times in 20.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Accuracy, Aggregation, Needs, State};
use crate::board::bound::{LABEL_BYTES_MAX, label};
use crate::hash::fingerprint;
use crate::metric::number::{Number, Ranking, Shape};
use crate::metric::{Attr, Fact, Metric, Order};
use crate::settings::settings;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_bytes, put_u64};

settings! {
    /// The values of the field that come most, or the session keys.
    #[derive(Clone, Debug, PartialEq)]
    pub struct TopK in "" {
        /// Of topk: how many values are shown.
        pub top: usize = 10, count(1, 100);
        /// Of topk: different values counted exactly in a pane and in a window. With more of them
        /// the numbers are those of a sample.
        pub values_max: usize = 1_000, count(1, 100_000);
        /// Of topk: events in that sample. Of 2048 each share is within 2.2 points of what it is, 19
        /// times in 20; of four times as many within half of that.
        pub sample: usize = 2_048, count(64, 65_536);
    }
}

/// What came, as far as it is remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    values_max: usize,
    sample_max: usize,
    /// Facts with a value.
    of: u64,
    /// `values` are all that came, with their counts; else those of the sample, without.
    exact: bool,
    /// By the hash of the text.
    values: HashMap<u64, Value, FixedState>,
    /// Hash of the place, and of the value; twice `sample_max` at most, and in order once settled.
    sample: Vec<(u64, u64)>,
    /// What is not before this is not in the sample.
    cut: (u64, u64),
}

#[derive(Clone, Debug, PartialEq)]
struct Value {
    count: u64,
    /// As the board shows it: the beginning of a long one.
    text: Box<str>,
}

impl Top {
    fn add(&mut self, value: u64, place: u64, text: impl Fn() -> Box<str>) {
        self.of += 1;
        let sampled = (place, value) < self.cut;
        if self.exact || sampled {
            let known =
                self.values.entry(value).or_insert_with(|| Value { count: 0, text: text() });
            known.count += 1;
            self.exact &= self.values.len() <= self.values_max;
        }
        if sampled {
            self.sample.push((place, value));
            if self.sample.len() >= 2 * self.sample_max {
                self.settle();
            }
        }
    }

    /// Makes of the sample what it is bound to be, and lets go what was only counted.
    fn settle(&mut self) {
        self.sample.sort_unstable();
        self.sample.truncate(self.sample_max);
        self.cut = match self.sample.last() {
            Some(last) if self.sample.len() == self.sample_max => *last,
            _ => (u64::MAX, u64::MAX),
        };
        if !self.exact {
            let mut sampled: Vec<u64> = self.sample.iter().map(|(_, value)| *value).collect();
            sampled.sort_unstable();
            self.values.retain(|hash, value| {
                value.count = 0;
                sampled.binary_search(hash).is_ok()
            });
        }
    }

    /// It must be settled, as what was merged is.
    fn ranking(&self, top: usize) -> Ranking {
        debug_assert!(self.sample.len() <= self.sample_max, "some of the sample waits");
        let mut counts: HashMap<u64, u64, FixedState> = HashMap::default();
        if self.exact {
            counts.extend(self.values.iter().map(|(hash, value)| (*hash, value.count)))
        } else {
            self.sample.iter().for_each(|(_, hash)| *counts.entry(*hash).or_default() += 1)
        }
        let text = |hash: &u64| self.values.get(hash).map_or("", |value| &value.text);
        let mut all: Vec<(&str, u64)> = counts.iter().map(|(h, count)| (text(h), *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let one = |(text, count): (&str, u64)| {
            let (count, error) = if self.exact { (count, 0) } else { self.estimate(count) };
            (text.to_owned(), count, error)
        };
        Ranking { of: self.of, top: all.into_iter().take(top).map(one).collect() }
    }

    /// How many of all facts, when `found` of the sample are, and how far that may be off.
    fn estimate(&self, found: u64) -> (u64, u64) {
        let sampled = self.sample.len().max(1) as u64;
        let count = (u128::from(self.of) * u128::from(found) + u128::from(sampled / 2))
            / u128::from(sampled);
        if sampled == self.of {
            return (found, 0);
        }
        let share = found as f64 / sampled as f64;
        let off = SURE * (share * (1.0 - share) / sampled as f64).sqrt() * self.of as f64;
        (count as u64, off.ceil() as u64)
    }
}

/// Standard errors within which 95 % lie.
const SURE: f64 = 1.96;

impl State for Box<Top> {
    fn merge(&mut self, other: &Self) {
        self.of += other.of;
        self.exact &= other.exact;
        for (hash, value) in &other.values {
            match self.values.get_mut(hash) {
                Some(known) => known.count += value.count,
                None => drop(self.values.insert(*hash, value.clone())),
            }
        }
        self.exact &= self.values.len() <= self.values_max;
        self.sample.extend_from_slice(&other.sample);
        self.settle();
    }

    fn count(&self) -> u64 {
        self.of
    }

    fn takes(&self, other: &Self) -> bool {
        self.of.checked_add(other.of).is_some()
            && (self.values_max, self.sample_max) == (other.values_max, other.sample_max)
    }

    fn settle(&mut self) {
        Top::settle(self);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut settled = self.clone();
        settled.settle();
        let Top { values_max, sample_max, of, exact, values, sample, .. } = *settled;
        [values_max as u64, sample_max as u64, of].into_iter().for_each(|n| put_u64(out, n));
        out.push(u8::from(exact));
        let mut values: Vec<(u64, Value)> = values.into_iter().collect();
        values.sort_unstable_by_key(|(hash, _)| *hash);
        put_u64(out, values.len() as u64);
        for (hash, value) in &values {
            out.extend_from_slice(&hash.to_le_bytes());
            put_u64(out, value.count);
            put_bytes(out, value.text.as_bytes());
        }
        put_u64(out, sample.len() as u64);
        for (place, value) in sample {
            out.extend_from_slice(&place.to_le_bytes());
            let number = values.binary_search_by_key(&value, |(hash, _)| *hash);
            put_u64(out, number.expect("every value of the sample is known") as u64);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let at = reader.position();
        let malformed = |what| Malformed { what, at };
        let hash = |reader: &mut Reader<'_>| {
            let bytes = reader.take(8, "hash")?.try_into().expect("8 bytes were taken");
            Ok(u64::from_le_bytes(bytes))
        };
        let (values_max, sample_max) = (reader.u64("values")? as usize, reader.u64("sample")?);
        let (of, exact) = (reader.u64("facts")?, reader.u8("exact")? != 0);
        let (mut values, mut hashes, mut counted) = (HashMap::default(), Vec::new(), Some(0u64));
        for _ in 0..reader.u64("number of values")? {
            let (hash, count) = (hash(reader)?, reader.u64("count")?);
            let text = std::str::from_utf8(reader.bytes("value")?);
            let text = text.map_err(|_| malformed("value"))?.into();
            counted = counted.and_then(|counted| counted.checked_add(count));
            hashes.push(hash);
            values.insert(hash, Value { count, text });
        }
        let mut sample = Vec::new();
        for _ in 0..reader.u64("size of a sample")? {
            let (place, number) = (hash(reader)?, reader.u64("value of a sample")? as usize);
            sample.push((place, *hashes.get(number).ok_or_else(|| malformed("sample"))?));
        }
        // In order and each once, as it was written; and what is counted came.
        let ordered = hashes.is_sorted_by(|a, b| a < b) && sample.is_sorted();
        let adds_up = counted == Some(if exact { of } else { 0 }) && sample.len() as u64 <= of;
        if !ordered || !adds_up || sample.len() as u64 > sample_max {
            return Err(malformed("values that came most"));
        }
        let (sample_max, cut) = (sample_max as usize, (u64::MAX, u64::MAX));
        let mut top = Box::new(Top { values_max, sample_max, of, exact, values, sample, cut });
        top.settle();
        Ok(top)
    }
}

impl Aggregation for TopK {
    type State = Box<Top>;
    const WORD: &'static str = "topk";
    const SAYS: &'static str = "the values of field that come most";
    const NEEDS: Needs = Needs::Value;

    fn shape(&self) -> Shape {
        Shape::Ranked
    }

    fn zero(&self) -> Box<Top> {
        Box::new(Top {
            values_max: self.values_max,
            sample_max: self.sample,
            of: 0,
            exact: true,
            values: HashMap::default(),
            sample: Vec::new(),
            cut: (u64::MAX, u64::MAX),
        })
    }

    fn add(&self, top: &mut Box<Top>, metric: &Metric, fact: &impl Fact) {
        let Some(value) = metric.value(fact) else { return };
        // A number and the text that reads like it are one value, as they are one label.
        let written = match value {
            Attr::Text(_) => String::new(),
            value => value.to_string(),
        };
        let bytes = match value {
            Attr::Text(text) => text,
            _ => written.as_bytes(),
        };
        let text = || label(&String::from_utf8_lossy(bytes)).into();
        let hash = fingerprint(bytes);
        top.add(hash, place_hash(&fact.order(), hash), text);
    }

    fn value(&self, top: &Box<Top>, _: SpanMs) -> Option<Number> {
        Some(Number::Ranked(Box::new(top.ranking(self.top))))
    }

    fn accuracy(&self) -> Option<Accuracy> {
        // Greatest where half of all have one value.
        let percent = |sure: f64| (sure * 500.0 / (self.sample as f64).sqrt()).round() / 10.0;
        Some(Accuracy::Estimate {
            exact_up_to: self.values_max,
            standard_error_percent: percent(1.0),
            bound_95_percent: percent(SURE),
        })
    }

    fn bytes_max(&self) -> usize {
        const VALUE_BYTES: usize = 24 + LABEL_BYTES_MAX;
        (self.values_max + 2 * self.sample) * VALUE_BYTES
            + 2 * self.sample * size_of::<(u64, u64)>()
    }
}

/// A hash of a place in the log, of facts with one value.
fn place_hash(order: &Order, value: u64) -> u64 {
    match order {
        Order::Event { position, part, .. } => {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&value.to_le_bytes());
            bytes[8..16].copy_from_slice(&position.to_le_bytes());
            bytes[16..].copy_from_slice(&part.to_le_bytes());
            fingerprint(&bytes)
        }
        Order::Ending { at, silent, key, first } => {
            let numbers = [value, *at as u64, *first as u64, u64::from(*silent)];
            let mut bytes: Vec<u8> =
                numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.extend_from_slice(key.as_bytes());
            fingerprint(&bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn top(aggregate: &TopK, values: impl IntoIterator<Item = (u64, u64)>) -> Box<Top> {
        let mut top = aggregate.zero();
        for (value, position) in values {
            let order = Order::Event { batch: 0, position, part: 0 };
            let hash = fingerprint(&value.to_le_bytes());
            top.add(hash, place_hash(&order, hash), || value.to_string().into());
        }
        top.settle();
        top
    }

    proptest! {
        /// Exact it is the list of what came; and in any case a function of what came, however it
        /// was cut and put together.
        #[test]
        fn it_is_the_same_however_it_is_put_together(
            values in prop::collection::vec(0u64..30, 0..400),
            parts in prop::collection::vec(0usize..5, 400),
            values_max in 1usize..40,
            sample in prop::sample::select(vec![4usize, 16, 1_000]),
        ) {
            let aggregate = TopK { top: 5, values_max, sample };
            let values: Vec<(u64, u64)> = values.into_iter().zip(0..).collect();
            let whole = top(&aggregate, values.iter().copied());
            let mut merged = aggregate.zero();
            for part in 0..5 {
                let own = values.iter().zip(&parts).filter(|(_, of)| **of == part);
                merged.merge(&top(&aggregate, own.map(|(value, _)| *value)));
            }
            prop_assert_eq!(&merged, &whole);
            let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
            values.iter().for_each(|(value, _)| *counts.entry(*value).or_default() += 1);
            prop_assert_eq!(whole.exact, counts.len() <= values_max);
            let ranking = whole.ranking(5);
            prop_assert_eq!(ranking.of, values.len() as u64);
            // A sample of all is as good as the counts.
            if whole.exact || values.len() <= sample {
                let mut plain: Vec<_> =
                    counts.into_iter().map(|(value, count)| (value.to_string(), count)).collect();
                plain.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
                let found: Vec<_> =
                    ranking.top.into_iter().map(|(text, count, _)| (text, count)).collect();
                plain.truncate(5);
                prop_assert_eq!(found, plain);
            }
            let mut bytes = Vec::new();
            whole.encode(&mut bytes);
            prop_assert_eq!(&Box::<Top>::decode(&mut Reader::new(&bytes)).unwrap(), &whole);
            prop_assert!(whole.values.len() <= values_max.max(2 * sample));
        }
    }

    /// Ten values have a share of 1/2, 1/4 and so on, the rest comes once each: of the ten nine
    /// lie within the error that is said, and the memory is bounded.
    #[test]
    fn shares_of_a_long_tail_are_as_near_as_is_said() {
        let aggregate = TopK { top: 10, values_max: 100, sample: 2_048 };
        let value = |n: u64| match u64::from((n | 1 << 40).trailing_zeros()) {
            small if small < 10 => small,
            _ => 1_000 + n,
        };
        let all = 200_000;
        let whole = top(&aggregate, (0..all).map(|n| (value(n), n)));
        let ranking = whole.ranking(6);
        assert_eq!(ranking.of, all);
        assert!(!whole.exact && whole.values.len() <= 2_048, "{}", whole.values.len());
        for (place, (text, count, error)) in ranking.top.iter().enumerate() {
            let right = all >> (place + 1);
            assert_eq!(*text, place.to_string());
            assert!(count.abs_diff(right) <= *error, "{text}: {count} ± {error}, {right}");
            assert!(*error <= all / 40, "{error}");
        }
    }

    #[test]
    fn what_a_damaged_file_holds_is_refused() {
        let aggregate = TopK { top: 5, values_max: 3, sample: 64 };
        let mut bytes = Vec::new();
        top(&aggregate, (0..2).map(|n| (n, n))).encode(&mut bytes);
        let read = |bytes: &[u8]| Box::<Top>::decode(&mut Reader::new(bytes));
        assert!(read(&bytes).is_ok());
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "{at}");
        }
        // More came than is counted.
        bytes[2] += 1;
        assert!(read(&bytes).is_err());
    }
}
