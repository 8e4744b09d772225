//! Metrics: from facts to panes to windows to numbers.
//!
//! A shard folds facts into pane deltas ([`fold`]); the engine ([`engine`]) adds the
//! deltas of all shards, and when the watermark has passed a pane's end by the allowed
//! lateness, that pane is final: its windows are computed once, and everything that
//! leaves the process comes from there. The board also shows what is not final yet.

pub mod cell;
pub mod compile;
pub mod distinct;
pub mod engine;
pub mod fold;
pub mod groups;
mod spec;
pub mod watch;
pub mod window;

pub use compile::{Attr, Fact, Metric, SESSION_ATTRIBUTES};
pub use fold::{Fold, PaneDelta};
pub use groups::{Labels, Order};
pub use spec::{Aggregate, Condition, FactKind, MetricSpec, Test, WindowSpec};
