//! Metrics: from facts to panes to windows to numbers.
//!
//! A shard folds facts into pane deltas ([`fold`]); the engine ([`engine`]) adds the
//! deltas of all shards, and when the watermark has passed a pane's end by the allowed
//! lateness, the window that ends with it is final: it is computed once, and everything
//! that leaves the process comes from there. The board also shows what is not final yet.

pub mod aggregate;
mod ahead;
mod bursts;
mod calendar;
mod check;
pub mod compile;
pub mod conditions;
pub mod engine;
mod fact;
pub mod fold;
mod formula;
pub mod grid;
pub mod groups;
pub mod late;
mod latest;
mod meaning;
mod moments;
pub mod number;
mod open;
mod panes;
mod place;
mod rollup;
mod routes;
mod running;
pub mod shown;
mod sliding;
mod spec;
mod tiles;
pub mod watch;
pub mod window;

pub use aggregate::{Aggregate, Cell};
pub use ahead::Window;
pub use bursts::Bursts;
pub use calendar::Calendar;
pub use check::Conditions;
pub use compile::{Metric, SESSION_ATTRIBUTES};
pub use fact::{Attr, Fact};
pub use fold::{Flushed, Fold, PaneDelta};
pub use formula::{Formula, begins};
pub use grid::Ago;
pub use groups::{Candidate, Decision, Labels, OVERFLOW, Order};
pub use late::LateCounts;
pub use latest::Latest;
pub use moments::Moments;
pub use number::{Number, Shape};
pub use panes::Floor;
pub use place::Place;
pub use rollup::RollupRow;
pub use spec::{
    CalendarSpan, Condition, Facts, FormulaSpec, MetricSpec, Operand, Test, Weekday, WindowSpec,
};
