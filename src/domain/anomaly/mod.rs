//! Rules that notice what stands out.

mod sigma;

pub use sigma::{SigmaState, Verdict};

use super::time::SpanMs;

/// `k` standard deviations above (or below) the trailing mean of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct SigmaRule {
    /// Its name: letters, digits, `_`; also the name of its topic.
    pub name: String,
    /// Title of its panel and of its alerts.
    pub title: String,
    /// The metric it watches (without `group_by`); each final window is one sample.
    pub metric: String,
    /// How many deviations.
    pub k: f64,
    /// How far the trailing mean reaches back.
    pub over: SpanMs,
    /// Fewest earlier samples to judge by.
    pub samples_min: usize,
    /// Smallest value worth an alert, so that 1 after a row of zeros is none.
    pub value_min: f64,
    /// Which side stands out.
    pub side: Side,
    /// `info`, `warning` or `critical`.
    pub severity: String,
}

/// Which side of the mean stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Values above.
    Above,
    /// Values below.
    Below,
}
