//! Population standard deviation of the field.

use super::{Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::number::Moments;
use crate::settings::Section;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader};

/// Population standard deviation of the field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stddev;

impl Section for Stddev {}

impl State for Moments {
    const SUBTRACTS: bool = true;

    fn merge(&mut self, other: &Self) {
        Moments::merge(self, other);
    }

    fn subtract(&mut self, other: &Self) {
        Moments::subtract(self, other);
    }

    fn count(&self) -> u64 {
        self.total.count
    }

    fn sum(&self) -> f64 {
        self.total.sum.in_units()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        Moments::encode(self, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Moments::decode(reader)
    }
}

impl Aggregation for Stddev {
    type State = Box<Moments>;
    const WORD: &'static str = "stddev";
    const SAYS: &'static str = "its population standard deviation";
    const NEEDS: Needs = Needs::Amount;

    fn zero(&self) -> Box<Moments> {
        Box::default()
    }

    #[inline]
    fn add(&self, moments: &mut Box<Moments>, metric: &Metric, fact: &impl Fact) {
        metric.amount(fact).into_iter().for_each(|amount| moments.add(amount));
    }

    fn value(&self, moments: &Box<Moments>, _: SpanMs) -> Option<Number> {
        moments.deviation().map(Number::from)
    }
}
