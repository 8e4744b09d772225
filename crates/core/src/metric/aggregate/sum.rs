//! Sum and mean of the field.

use super::{Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::number::Total;
use crate::settings::Section;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader};

/// Sum of the field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum;

/// Mean of the field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Avg;

impl Section for Sum {}
impl Section for Avg {}

impl State for Total {
    const SUBTRACTS: bool = true;

    fn merge(&mut self, other: &Total) {
        self.merge(other);
    }

    fn subtract(&mut self, other: &Total) {
        self.subtract(other);
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn sum(&self) -> f64 {
        self.sum.in_units()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Total, Malformed> {
        Total::decode(reader)
    }
}

impl Aggregation for Sum {
    type State = Total;
    const WORD: &'static str = "sum";
    const SAYS: &'static str = "the sum of field";
    const NEEDS: Needs = Needs::Amount;
    const ADDS: bool = true;

    fn zero(&self) -> Total {
        Total::default()
    }

    #[inline]
    fn add(&self, total: &mut Total, metric: &Metric, fact: &impl Fact) {
        metric.amount(fact).into_iter().for_each(|amount| total.add(amount));
    }

    fn value(&self, total: &Total, _: SpanMs) -> Option<Number> {
        Some(total.sum.in_units().into())
    }
}

impl Aggregation for Avg {
    type State = Total;
    const WORD: &'static str = "avg";
    const SAYS: &'static str = "the mean of field";
    const NEEDS: Needs = Needs::Amount;

    fn zero(&self) -> Total {
        Total::default()
    }

    #[inline]
    fn add(&self, total: &mut Total, metric: &Metric, fact: &impl Fact) {
        metric.amount(fact).into_iter().for_each(|amount| total.add(amount));
    }

    fn value(&self, total: &Total, _: SpanMs) -> Option<Number> {
        total.mean().map(Number::from)
    }
}
