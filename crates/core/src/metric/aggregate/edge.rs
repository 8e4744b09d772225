//! First and last value of the field, and the difference between them.
//!
//! In the order of event time; of facts of the same millisecond in the order of the log. Facts
//! that have even that in common (of two sources) are told apart by their value, so that the
//! answer never depends on who came first to us.

use super::{Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric, Order};
use crate::number::{Decimal, Total};
use crate::settings::Section;
use crate::time::{EpochMs, SpanMs};
use crate::wire::{Malformed, Reader, put_i64, put_u64};

/// First value of the field, or, where `LAST`, the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeOf<const LAST: bool>;

/// First value of the field.
pub type First = EdgeOf<false>;

/// Last value of the field.
pub type Last = EdgeOf<true>;

/// Last value of the field less its first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta;

impl<const LAST: bool> Section for EdgeOf<LAST> {}
impl Section for Delta {}

/// How many numbers, and the one that came first, or, where `LAST`, last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edge<const LAST: bool> {
    count: u64,
    one: Dated,
}

/// A number, and where it stands among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Dated {
    at: EpochMs,
    position: u64,
    part: u64,
    number: Decimal,
}

impl Dated {
    fn of(fact: &impl Fact, number: Decimal) -> Self {
        let (position, part) = match fact.order() {
            // Which batch it was in depends on how the log was read.
            Order::Event { position, part, .. } => (position, part.into()),
            Order::Ending { first, .. } => (first as u64, 0),
        };
        Dated { at: fact.at(), position, part, number }
    }
}

impl<const LAST: bool> Edge<LAST> {
    fn add(&mut self, one: Dated) {
        State::merge(self, &Edge { count: 1, one });
    }

    fn number(&self) -> Option<Decimal> {
        (self.count > 0).then_some(self.one.number)
    }
}

impl<const LAST: bool> State for Edge<LAST> {
    fn merge(&mut self, other: &Self) {
        let replaces = if LAST { other.one > self.one } else { other.one < self.one };
        if other.count > 0 && (self.count == 0 || replaces) {
            self.one = other.one;
        }
        self.count += other.count;
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.count);
        if self.count > 0 {
            put_i64(out, self.one.at);
            put_u64(out, self.one.position);
            put_u64(out, self.one.part);
            self.one.number.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.u64("count")?;
        if count == 0 {
            return Ok(Edge::default());
        }
        let (at, position, part) =
            (reader.i64("time")?, reader.u64("position")?, reader.u64("part")?);
        Ok(Edge { count, one: Dated { at, position, part, number: Decimal::decode(reader)? } })
    }
}

/// Both ends of a stretch of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    first: Edge<false>,
    last: Edge<true>,
}

impl State for Ends {
    fn merge(&mut self, other: &Self) {
        self.first.merge(&other.first);
        self.last.merge(&other.last);
    }

    fn count(&self) -> u64 {
        self.first.count
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.first.encode(out);
        self.last.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let at = reader.position();
        let ends = Ends { first: Edge::decode(reader)?, last: Edge::decode(reader)? };
        let fits = ends.first.count == ends.last.count && ends.first.one <= ends.last.one;
        fits.then_some(ends).ok_or(Malformed { what: "first and last", at })
    }
}

impl<const LAST: bool> Aggregation for EdgeOf<LAST> {
    type State = Box<Edge<LAST>>;
    const WORD: &'static str = if LAST { "last" } else { "first" };
    const SAYS: &'static str = if LAST { "its last value" } else { "its first value" };
    const NEEDS: Needs = Needs::Number;

    fn zero(&self) -> Self::State {
        Box::default()
    }

    #[inline]
    fn add(&self, edge: &mut Self::State, metric: &Metric, fact: &impl Fact) {
        metric.number(fact).into_iter().for_each(|number| edge.add(Dated::of(fact, number)));
    }

    fn value(&self, edge: &Self::State, _: SpanMs) -> Option<Number> {
        edge.number().map(|number| number.to_f64().into())
    }
}

impl Aggregation for Delta {
    type State = Box<Ends>;
    const WORD: &'static str = "delta";
    const SAYS: &'static str = "its last value less its first";
    const NEEDS: Needs = Needs::Amount;

    fn zero(&self) -> Self::State {
        Box::default()
    }

    #[inline]
    fn add(&self, ends: &mut Self::State, metric: &Metric, fact: &impl Fact) {
        if let (Some(number), Some(_)) = (metric.number(fact), metric.amount(fact)) {
            let one = Dated::of(fact, number);
            ends.first.add(one);
            ends.last.add(one);
        }
    }

    fn value(&self, ends: &Self::State, _: SpanMs) -> Option<Number> {
        let exact = |number: Decimal| {
            let mut total = Total::default();
            total.add(number.amount()?);
            Some(total)
        };
        let mut difference = exact(ends.last.number()?)?;
        difference.subtract(&exact(ends.first.number()?)?);
        Some(difference.sum.in_units().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::from_text(text).unwrap()
    }

    fn dated(at: EpochMs, position: u64, number: Decimal) -> Dated {
        Dated { at, position, part: 0, number }
    }

    fn ends(ones: &[Dated]) -> Box<Ends> {
        let mut ends = Box::new(Ends::default());
        for one in ones {
            ends.first.add(*one);
            ends.last.add(*one);
        }
        ends
    }

    #[test]
    fn a_difference_has_no_rounding_of_its_own() {
        let grew = ends(&[dated(1, 0, number("0.1")), dated(2, 0, number("0.3"))]);
        assert_eq!(Delta.value(&grew, 1_000), Some(0.2.into()));
        let most = ends(&[dated(1, 0, number("-9e19")), dated(2, 0, number("9e19"))]);
        assert_eq!(Delta.value(&most, 1_000), Some(1.8e20.into()));
        assert_eq!(Delta.value(&ends(&[dated(1, 0, number("7"))]), 1_000), Some(0.0.into()));
        assert_eq!(Delta.value(&ends(&[]), 1_000), None);
    }

    #[test]
    fn ends_that_contradict_each_other_are_refused() {
        let good = ends(&[dated(1, 0, number("1")), dated(2, 0, number("2"))]);
        let bad = Ends {
            first: Edge { count: 2, one: good.last.one },
            last: Edge { count: 2, one: good.first.one },
        };
        let mut bytes = Vec::new();
        State::encode(&bad, &mut bytes);
        assert!(Ends::decode(&mut Reader::new(&bytes)).is_err());
    }

    proptest! {
        #[test]
        fn they_are_the_ends_of_the_sorted_list(
            ones in prop::collection::vec((0i64..20, 0u64..4, -9i64..9), 1..40),
        ) {
            let mut ones: Vec<Dated> = ones
                .into_iter()
                .map(|(at, position, value)| dated(at, position, Decimal::from_i64(value)))
                .collect();
            let found = ends(&ones);
            ones.sort_by(|a, b| {
                (a.at, a.position, a.number.to_f64()).partial_cmp(&(b.at, b.position, b.number.to_f64())).unwrap()
            });
            let (first, last) = (ones[0].number.to_f64(), ones.last().unwrap().number.to_f64());
            prop_assert_eq!(found.first.number().map(Decimal::to_f64), Some(first));
            prop_assert_eq!(found.last.number().map(Decimal::to_f64), Some(last));
            prop_assert_eq!(Delta.value(&found, 1_000), Some((last - first).into()));
        }
    }
}
