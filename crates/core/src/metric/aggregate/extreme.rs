//! Least and greatest value of the field.

use std::cmp::Ordering;

use super::{Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::number::Decimal;
use crate::settings::Section;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_u64};

/// Least value of the field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Min;

/// Greatest value of the field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Max;

impl Section for Min {}
impl Section for Max {}

/// How many numbers, and the one of them that no other goes before: the least, or, where
/// `GREATEST`, the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extreme<const GREATEST: bool> {
    count: u64,
    /// Zero when there are none.
    number: Decimal,
}

impl<const GREATEST: bool> Extreme<GREATEST> {
    fn add(&mut self, number: Decimal) {
        State::merge(self, &Extreme { count: 1, number });
    }

    fn number(&self) -> Option<f64> {
        (self.count > 0).then(|| self.number.to_f64())
    }
}

impl<const GREATEST: bool> State for Extreme<GREATEST> {
    fn merge(&mut self, other: &Self) {
        let wanted = if GREATEST { Ordering::Greater } else { Ordering::Less };
        let replaces = other.number.cmp(&self.number) == wanted;
        if other.count > 0 && (self.count == 0 || replaces) {
            self.number = other.number;
        }
        self.count += other.count;
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.count);
        self.number.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Extreme { count: reader.u64("count")?, number: Decimal::decode(reader)? })
    }
}

impl Aggregation for Min {
    type State = Extreme<false>;
    const WORD: &'static str = "min";
    const SAYS: &'static str = "its least value";
    const NEEDS: Needs = Needs::Number;

    fn zero(&self) -> Self::State {
        Extreme::default()
    }

    #[inline]
    fn add(&self, least: &mut Self::State, metric: &Metric, fact: &impl Fact) {
        metric.number(fact).into_iter().for_each(|number| least.add(number));
    }

    fn value(&self, least: &Self::State, _: SpanMs) -> Option<Number> {
        least.number().map(Number::from)
    }
}

impl Aggregation for Max {
    type State = Extreme<true>;
    const WORD: &'static str = "max";
    const SAYS: &'static str = "its greatest value";
    const NEEDS: Needs = Needs::Number;

    fn zero(&self) -> Self::State {
        Extreme::default()
    }

    #[inline]
    fn add(&self, greatest: &mut Self::State, metric: &Metric, fact: &impl Fact) {
        metric.number(fact).into_iter().for_each(|number| greatest.add(number));
    }

    fn value(&self, greatest: &Self::State, _: SpanMs) -> Option<Number> {
        greatest.number().map(Number::from)
    }
}
