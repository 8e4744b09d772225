//! How much a number varies at least, whatever its history says.
//!
//! A history of zeros, or of one and the same number, has no deviation at all; without a
//! floor every change would stand out infinitely, or none could be judged. Counts of events
//! that know nothing of each other vary by the root of their mean, and never by less than
//! one event.

use super::Side;
use crate::metric::Aggregate;
use crate::time::SpanMs;

/// The least standard deviation of a metric's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// The root of the mean, counted in events; `unit` is the number that one event makes.
    Events {
        /// 1 for counts, one event in a window for rates.
        unit: f64,
    },
    /// This part of the mean: sums, averages and ratios have a unit that nobody knows.
    Share(f64),
}

/// A hundredth of the mean: what people would still call the same.
const SHARE: f64 = 0.01;

impl Spread {
    /// Of an aggregate over windows of `size`.
    pub fn of(aggregate: &Aggregate, size: SpanMs) -> Spread {
        match aggregate.of_one_event(size) {
            Some(unit) => Spread::Events { unit },
            None => Spread::Share(SHARE),
        }
    }

    /// The least deviation that is assumed around a mean, `k` of which are looked for.
    pub fn least(self, side: Side, k: f64, mean: f64) -> f64 {
        let least = match self {
            Spread::Events { unit } => unit.max((mean.abs() * unit).sqrt()),
            Spread::Share(share) => mean.abs() * share,
        };
        match side {
            Side::Above | Side::Both => least,
            // Below a small count there is little room: silence must stand out from a
            // number that was always there.
            Side::Below => least.min(mean.abs() / (2.0 * k)),
        }
    }
}
