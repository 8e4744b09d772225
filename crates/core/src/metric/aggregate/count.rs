//! How many facts, and how many a second.

use super::{Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::settings::Section;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_u64};

/// How many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count;

/// How many a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rate;

impl Section for Count {}
impl Section for Rate {}

impl State for u64 {
    const SUBTRACTS: bool = true;

    fn merge(&mut self, other: &u64) {
        *self += other;
    }

    fn subtract(&mut self, other: &u64) {
        *self -= other;
    }

    fn count(&self) -> u64 {
        *self
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, *self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
        reader.u64("count")
    }
}

impl Aggregation for Count {
    type State = u64;
    const WORD: &'static str = "count";
    const SAYS: &'static str = "how many";
    const NEEDS: Needs = Needs::Nothing;
    const WHOLE: bool = true;
    const ADDS: bool = true;

    fn zero(&self) -> u64 {
        0
    }

    fn add(&self, count: &mut u64, _: &Metric, _: &impl Fact) {
        *count += 1;
    }

    fn counted(facts: u64) -> Option<u64> {
        Some(facts)
    }

    fn value(&self, count: &u64, _: SpanMs) -> Option<Number> {
        Some((*count as f64).into())
    }

    fn of_one_event(_: SpanMs) -> Option<f64> {
        Some(1.0)
    }
}

impl Aggregation for Rate {
    type State = u64;
    const WORD: &'static str = "rate";
    const SAYS: &'static str = "how many a second";
    const NEEDS: Needs = Needs::Nothing;
    const ADDS: bool = true;
    const PER_TIME: bool = true;

    fn zero(&self) -> u64 {
        0
    }

    fn add(&self, count: &mut u64, _: &Metric, _: &impl Fact) {
        *count += 1;
    }

    fn counted(facts: u64) -> Option<u64> {
        Some(facts)
    }

    fn value(&self, count: &u64, size: SpanMs) -> Option<Number> {
        Some((*count as f64 * 1000.0 / size as f64).into())
    }

    fn of_one_event(size: SpanMs) -> Option<f64> {
        Some(1_000.0 / size.max(1) as f64)
    }
}
