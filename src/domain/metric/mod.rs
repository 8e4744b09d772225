//! Metrics: from facts to panes to windows to numbers.

mod spec;

pub use spec::{Aggregate, Condition, FactKind, MetricSpec, Test, WindowSpec};
