//! What a metric is: declared in `[[metric]]`, checked at start.

use crate::domain::number::Decimal;
use crate::domain::time::SpanMs;

/// A named number over facts.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// Its name: letters, digits, `_`; also the name of its topic.
    pub name: String,
    /// Title of its panel.
    pub title: String,
    /// Unit of its value; empty for counts.
    pub unit: String,
    /// Which facts feed it.
    pub of: FactKind,
    /// All conditions must hold.
    pub filter: Vec<Condition>,
    /// For `Aggregate::Ratio`: the conditions that count above the line.
    pub numerator: Vec<Condition>,
    /// Labels; a number is kept for each combination.
    pub group_by: Vec<String>,
    /// Most combinations kept; further ones go to `other`.
    pub group_limit: usize,
    /// What is computed.
    pub aggregate: Aggregate,
    /// The attribute it is computed from; the session key for `distinct` by default.
    pub field: Option<String>,
    /// Over which stretch of event time.
    pub window: WindowSpec,
    /// How much history the board keeps.
    pub keep: SpanMs,
}

/// Which facts feed a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// Every applied event, at its time.
    Events,
    /// Every closed session, at its deadline. Attributes: `outcome` (`abandoned`,
    /// `converted`, `browsed`), `step`, `segment`, `value`, `events`, `duration_s`.
    Sessions,
    /// The sessions open now; a gauge. Only `group_by = ["step"]`.
    LiveSessions,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// How many.
    Count,
    /// Sum of the field.
    Sum,
    /// Mean of the field.
    Avg,
    /// Population standard deviation of the field.
    Stddev,
    /// Least value of the field.
    Min,
    /// Greatest value of the field.
    Max,
    /// How many a second.
    Rate,
    /// Different values of the field: exact up to `exact_up_to` in a window, then a
    /// mergeable sketch.
    Distinct {
        /// Most values counted exactly.
        exact_up_to: usize,
    },
    /// Share of the facts that meet `numerator`.
    Ratio,
}

/// Over which stretch of event time a metric is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowSpec {
    /// `[k*size, (k+1)*size)`.
    Tumbling {
        /// Length.
        size: SpanMs,
    },
    /// `[k*slide - size, k*slide)`; `slide` divides `size`.
    Hopping {
        /// Length.
        size: SpanMs,
        /// Distance between two windows.
        slide: SpanMs,
    },
    /// From midnight in a zone until now, emitted every `slide`.
    SinceMidnight {
        /// IANA name.
        zone: String,
        /// Distance between two points.
        slide: SpanMs,
    },
}

/// One condition on an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The attribute.
    pub attribute: String,
    /// What must hold. A missing attribute meets only `Missing`.
    pub test: Test,
}

/// What must hold for an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// One of these texts.
    TextIn(Vec<String>),
    /// One of these numbers.
    NumberIn(Vec<Decimal>),
    /// `true` or `false`.
    Is(bool),
    /// Greater than or equal.
    Ge(Decimal),
    /// Greater than.
    Gt(Decimal),
    /// Less than or equal.
    Le(Decimal),
    /// Less than.
    Lt(Decimal),
    /// Present, or not.
    Exists(bool),
}

impl Test {
    /// Numbers are compared: a text that reads as one is one.
    pub fn wants_number(&self) -> bool {
        matches!(self, Test::NumberIn(_) | Test::Ge(_) | Test::Gt(_) | Test::Le(_) | Test::Lt(_))
    }

    /// An attribute of another type can never meet it.
    pub fn wants_type(&self) -> bool {
        !matches!(self, Test::Exists(_))
    }
}
