//! What is kept of a metric for each minute.

use super::number::Number;
use crate::time::EpochMs;

/// One minute of one metric and group.
#[derive(Clone, Debug, PartialEq)]
pub struct RollupRow {
    /// The metric's name.
    pub metric: String,
    /// Start of the minute.
    pub minute: EpochMs,
    /// The group as `groups::group_text` writes it: labels joined by `|`, and
    /// `other` for what lies beyond `group_limit`; empty without `group_by`.
    pub group: String,
    /// Events or sessions in it.
    pub count: u64,
    /// Sum of the field, in the field's unit.
    pub sum: f64,
    /// The metric's own value for the minute (average, distinct count, ranked list, ...).
    pub value: Number,
}
