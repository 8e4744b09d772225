//! Share of the facts that meet the numerator.

use super::{Aggregation, Needs, State};
use crate::metric::number::Number;
use crate::metric::{Fact, Metric};
use crate::settings::Section;
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_u64};

/// Share of the facts that meet the numerator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ratio;

impl Section for Ratio {}

/// How many above the line, and how many below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    above: u64,
    of: u64,
}

impl State for Parts {
    const SUBTRACTS: bool = true;

    fn merge(&mut self, other: &Parts) {
        self.above += other.above;
        self.of += other.of;
    }

    fn subtract(&mut self, other: &Parts) {
        self.above -= other.above;
        self.of -= other.of;
    }

    fn count(&self) -> u64 {
        self.of
    }

    /// How many above the line.
    fn sum(&self) -> f64 {
        self.above as f64
    }

    fn takes(&self, other: &Parts) -> bool {
        let fits = |mine: u64, theirs: u64| mine.checked_add(theirs).is_some();
        fits(self.of, other.of) && fits(self.above, other.above)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.above);
        put_u64(out, self.of);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Parts, Malformed> {
        Ok(Parts { above: reader.u64("above")?, of: reader.u64("of")? })
    }
}

impl Aggregation for Ratio {
    type State = Parts;
    const WORD: &'static str = "ratio";
    const SAYS: &'static str = "the share that meets numerator";
    const NEEDS: Needs = Needs::Numerator;

    fn zero(&self) -> Parts {
        Parts::default()
    }

    #[inline]
    fn add(&self, parts: &mut Parts, metric: &Metric, fact: &impl Fact) {
        parts.of += 1;
        parts.above += u64::from(metric.meets_numerator(fact));
    }

    fn value(&self, parts: &Parts, _: SpanMs) -> Option<Number> {
        (parts.of > 0).then(|| (parts.above as f64 / parts.of as f64).into())
    }
}
