//! A metric's newest numbers, one for each group, with whole labels: what the board has
//! no room for, and what other systems take from us (`/metrics`, `/v1/groups`).

use std::sync::Arc;

use crate::metric::{Number, Shape};
use crate::time::EpochMs;

/// The newest numbers of one metric. They are those of the board.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// The metric's name.
    pub metric: String,
    /// Its title.
    pub title: String,
    /// Unit of the values, e.g. `EUR`; empty for counts.
    pub unit: String,
    /// What window the numbers cover, in words.
    pub window: String,
    /// Names of the labels; none for a metric without groups.
    pub labels: Vec<String>,
    /// What the numbers look like.
    pub shape: Shape,
    /// What they are numbers of: the field; empty where there is none.
    pub field: String,
    /// The numbers are of a window that began before the metric counted: since when it does.
    pub warming_since: Option<EpochMs>,
    /// One number for each group, or a single one.
    pub groups: Vec<Row>,
}

/// The newest number of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// A value for each label.
    pub labels: Arc<Vec<String>>,
    /// `None`: there is no number, such as the average of nothing.
    pub value: Option<Number>,
    /// It holds everything beyond the metric's `group_limit`.
    pub overflow: bool,
}
