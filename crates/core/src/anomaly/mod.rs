//! Rules that notice what stands out.

mod ring;
mod samples;
mod sigma;
mod spread;

pub use ring::{Ring, RingChange};
pub use sigma::{Change, Past, Sample, SigmaState, Verdict};
pub use spread::Spread;

use super::settings::Word;
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
    /// How many deviations stand out.
    pub k: f64,
    /// How many deviations keep an alert up; at most `k`.
    pub k_clear: f64,
    /// How far the trailing mean reaches back.
    pub over: SpanMs,
    /// Fewest earlier samples to judge by.
    pub samples_min: usize,
    /// Smallest value worth an alert, so that 1 after a row of zeros is none.
    pub value_min: f64,
    /// Least deviation assumed; by the kind of metric when `None` (see [`Spread`]).
    pub sigma_min: Option<f64>,
    /// How long windows must stand out, one after the other, before there is an alert.
    pub hold: SpanMs,
    /// An alert is over when no window has stood out for this long.
    pub cooldown: SpanMs,
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

impl Word for Side {
    const WORDS: &'static [(&'static str, Self)] =
        &[("above", Side::Above), ("below", Side::Below)];
}
