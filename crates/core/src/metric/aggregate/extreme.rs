//! Least and greatest value of the field.

use std::cmp::Ordering;

use super::{Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::number::Decimal;
use crate::settings::Section;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_u64};

/// Least value of the field, or, where `GREATEST`, the greatest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtremeOf<const GREATEST: bool>;

/// Least value of the field.
pub type Min = ExtremeOf<false>;

/// Greatest value of the field.
pub type Max = ExtremeOf<true>;

impl<const GREATEST: bool> Section for ExtremeOf<GREATEST> {}

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

impl<const GREATEST: bool> Aggregation for ExtremeOf<GREATEST> {
    type State = Extreme<GREATEST>;
    const WORD: &'static str = if GREATEST { "max" } else { "min" };
    const SAYS: &'static str = if GREATEST { "its greatest value" } else { "its least value" };
    const NEEDS: Needs = Needs::Number;

    fn zero(&self) -> Self::State {
        Extreme::default()
    }

    #[inline]
    fn add(&self, extreme: &mut Self::State, metric: &Metric, fact: &impl Fact) {
        metric.number(fact).into_iter().for_each(|number| extreme.add(number));
    }

    fn value(&self, extreme: &Self::State, _: SpanMs) -> Option<Number> {
        extreme.number().map(Number::from)
    }
}
