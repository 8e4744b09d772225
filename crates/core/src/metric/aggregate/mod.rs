//! Aggregates: what is computed of facts. Each is one type in one file, and a line in the list
//! below; everything else asks the list.
//!
//! An aggregate is its settings ([`Aggregation`]), and what it keeps for one pane and group
//! ([`State`]). States have a zero, and a merge that commutes and associates (H18, H19), so the
//! order in which shards, batches and panes come makes no difference: a number is a function of
//! the facts.

mod count;
mod distinct;
mod edge;
mod extreme;
mod histogram;
mod quantile;
mod ratio;
mod stddev;
mod sum;
mod topk;

pub use count::{Count, Rate};
pub use distinct::Distinct;
pub use edge::{Delta, First, Last};
pub use extreme::{Max, Min};
pub use histogram::Histogram;
pub use quantile::Quantile;
pub use ratio::Ratio;
pub use stddev::Stddev;
pub use sum::{Avg, Sum};
pub use topk::TopK;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::bursts::Bursts;
use super::compile::Metric;
use super::fact::Fact;
use super::latest::Latest;
use super::moments::Moments;
use super::number::{Number, Shape};
use crate::settings::{Key, Section, Value};
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader};

/// What an aggregate needs of a fact that meets the conditions; a fact without it does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: its state is the number of facts.
    Nothing,
    /// Whether the fact meets the conditions of the numerator.
    Numerator,
    /// The field, as a number that is added up.
    Amount,
    /// The field, as a number that is compared.
    Number,
    /// The field, whatever it is; without one the session key. Of events only.
    Value,
}

/// What an aggregate keeps for one pane and one group.
pub trait State: Sized {
    /// True when [`State::subtract`] works: a window then moves on without its panes being merged
    /// anew.
    const SUBTRACTS: bool = false;

    /// Adds what another one holds.
    fn merge(&mut self, other: &Self);

    /// Takes back what was merged; only where it [`State::SUBTRACTS`].
    fn subtract(&mut self, _other: &Self) {
        debug_assert!(false, "cannot be taken back");
    }

    /// How many facts it holds; of a sketch, its number.
    fn count(&self) -> u64;

    /// What the facts add up to, for roll-ups.
    fn sum(&self) -> f64 {
        self.count() as f64
    }

    /// True when `other` can be merged: false only for states that were read from a damaged file.
    fn takes(&self, other: &Self) -> bool {
        self.count().checked_add(other.count()).is_some()
    }

    /// Puts in order what waits for it; worth while before it is asked for more than once.
    fn settle(&mut self) {}

    /// Appends it.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Facts that a window keeps apart: of cells of the metric's aggregate.
pub trait Windowed: State {
    /// Adds a fact that was taken.
    fn add(&mut self, aggregate: &Aggregate, metric: &Metric, fact: &impl Fact);

    /// One cell of all facts that it knows of.
    fn merged(&self) -> Cell;

    /// The same without what only minutes ask for.
    fn for_windows(&self) -> Self;
}

/// In a box, because a cell is small.
impl<S: State> State for Box<S> {
    const SUBTRACTS: bool = S::SUBTRACTS;

    fn merge(&mut self, other: &Self) {
        (**self).merge(other);
    }

    fn subtract(&mut self, other: &Self) {
        (**self).subtract(other);
    }

    fn count(&self) -> u64 {
        (**self).count()
    }

    fn sum(&self) -> f64 {
        (**self).sum()
    }

    fn takes(&self, other: &Self) -> bool {
        (**self).takes(other)
    }

    fn settle(&mut self) {
        (**self).settle();
    }

    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        S::decode(reader).map(Box::new)
    }
}

/// One aggregate: its settings, which are its keys in `[[metric]]` ([`Section`], none by
/// default), and what is made of them.
pub trait Aggregation: Section + Default {
    /// What it keeps.
    type State: State;

    /// Its name in the configuration.
    const WORD: &'static str;

    /// What it is, for people who choose one.
    const SAYS: &'static str;

    /// What it needs of a fact.
    const NEEDS: Needs;

    /// Its numbers are counts; with labels and tumbling windows they are shown as a grid.
    const WHOLE: bool = false;

    /// The numbers of all groups add up to that of all facts.
    const ADDS: bool = false;

    /// Its number is one of a length of time, so that all windows must have the same.
    const PER_TIME: bool = false;

    /// What its numbers look like.
    fn shape(&self) -> Shape {
        Shape::Scalar
    }

    /// The state of no facts.
    fn zero(&self) -> Self::State;

    /// Adds a fact that was taken.
    fn add(&self, state: &mut Self::State, metric: &Metric, fact: &impl Fact);

    /// The state of so many facts, where it [`Needs::Nothing`] else.
    fn counted(_facts: u64) -> Option<Self::State> {
        None
    }

    /// The number of a window of `size`; `None` when there is none (the mean of nothing).
    fn value(&self, state: &Self::State, size: SpanMs) -> Option<Number>;

    /// What one event makes of the number of a window of `size`, where events are counted.
    fn of_one_event(_size: SpanMs) -> Option<f64> {
        None
    }

    /// How exact it is; `None` where it is exact always.
    fn accuracy(&self) -> Option<Accuracy> {
        None
    }

    /// Most bytes that a state takes beside itself.
    fn bytes_max(&self) -> usize {
        0
    }
}

/// How exact the numbers of an aggregate are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Accuracy {
    /// Exact while few, then an estimate.
    Estimate {
        /// Up to so many different values in a pane they are exact.
        exact_up_to: usize,
        /// Beyond, their standard error: of two numbers in three it is less.
        standard_error_percent: f64,
        /// Beyond, 95 % of the numbers are as near as this.
        bound_95_percent: f64,
    },
    /// Never further from the exact number than this share of it.
    Relative {
        /// The share.
        error_percent: f64,
    },
}

impl fmt::Display for Accuracy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accuracy::Estimate { exact_up_to, standard_error_percent, bound_95_percent } => write!(
                out,
                "exact up to {exact_up_to} in a pane, then a standard error of \
                 {standard_error_percent} % (95 % within ± {bound_95_percent} %)"
            ),
            Accuracy::Relative { error_percent } => write!(out, "within ± {error_percent} %"),
        }
    }
}

/// Makes the two enums of the list, and hands everything on to the aggregate that it concerns.
macro_rules! aggregates {
    ($($tag:literal => $name:ident,)+ windows: $($window_tag:literal => $window:ident,)+) => {
        /// What is computed, with its settings.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Aggregate {
            $(
                #[doc = concat!("See [`", stringify!($name), "`].")]
                $name($name),
            )+
        }

        /// What one pane holds for one group: the state of the metric's aggregate, or several of
        /// them where its windows keep facts apart.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Cell {
            $(
                #[doc = concat!("Of [`", stringify!($name), "`].")]
                $name(<$name as Aggregation>::State),
            )+
            $(
                #[doc = concat!("See [`", stringify!($window), "`].")]
                $window(Box<$window>),
            )+
        }

        $(
            impl From<$name> for Aggregate {
                fn from(aggregate: $name) -> Aggregate {
                    Aggregate::$name(aggregate)
                }
            }
        )+

        impl Aggregate {
            /// Each with its defaults, in the order in which people read them.
            pub fn all() -> Vec<Aggregate> {
                vec![$( Aggregate::$name($name::default()) ),+]
            }

            /// Its name in the configuration.
            pub fn word(&self) -> &'static str {
                match self { $( Aggregate::$name(_) => $name::WORD, )+ }
            }

            /// What it is, for people who choose one.
            pub fn says(&self) -> &'static str {
                match self { $( Aggregate::$name(_) => $name::SAYS, )+ }
            }

            /// What it needs of a fact.
            pub fn needs(&self) -> Needs {
                match self { $( Aggregate::$name(_) => $name::NEEDS, )+ }
            }

            /// See [`Aggregation::WHOLE`].
            pub fn is_whole(&self) -> bool {
                match self { $( Aggregate::$name(_) => $name::WHOLE, )+ }
            }

            /// See [`Aggregation::ADDS`].
            pub fn adds(&self) -> bool {
                match self { $( Aggregate::$name(_) => $name::ADDS, )+ }
            }

            /// See [`Aggregation::PER_TIME`].
            pub fn is_per_time(&self) -> bool {
                match self { $( Aggregate::$name(_) => $name::PER_TIME, )+ }
            }

            /// See [`Aggregation::shape`].
            pub fn shape(&self) -> Shape {
                match self { $( Aggregate::$name(one) => one.shape(), )+ }
            }

            /// See [`Aggregation::bytes_max`].
            pub fn bytes_max(&self) -> usize {
                match self { $( Aggregate::$name(one) => one.bytes_max(), )+ }
            }

            /// See [`Aggregation::zero`].
            pub fn zero(&self) -> Cell {
                match self { $( Aggregate::$name(one) => Cell::$name(one.zero()), )+ }
            }

            /// See [`Aggregation::counted`].
            pub fn counted(&self, facts: u64) -> Option<Cell> {
                match self {
                    $( Aggregate::$name(_) => $name::counted(facts).map(Cell::$name), )+
                }
            }

            /// See [`Aggregation::add`]. `cell` is one of this aggregate.
            #[inline]
            pub fn add(&self, cell: &mut Cell, metric: &Metric, fact: &impl Fact) {
                match (self, cell) {
                    $( (Aggregate::$name(one), Cell::$name(state)) => {
                        one.add(state, metric, fact);
                    } )+
                    $( (_, Cell::$window(kept)) => kept.add(self, metric, fact), )+
                    (_, cell) => debug_assert!(false, "of another aggregate: {cell:?}"),
                }
            }

            /// See [`Aggregation::value`]. `cell` is one of this aggregate.
            pub fn value(&self, cell: &Cell, size: SpanMs) -> Option<Number> {
                match (self, cell) {
                    $( (Aggregate::$name(one), Cell::$name(state)) => one.value(state, size), )+
                    $( (_, Cell::$window(kept)) => self.value(&kept.merged(), size), )+
                    _ => None,
                }
            }

            /// See [`Aggregation::of_one_event`].
            pub fn of_one_event(&self, size: SpanMs) -> Option<f64> {
                match self { $( Aggregate::$name(_) => $name::of_one_event(size), )+ }
            }

            /// See [`Aggregation::accuracy`].
            pub fn accuracy(&self) -> Option<Accuracy> {
                match self { $( Aggregate::$name(one) => one.accuracy(), )+ }
            }
        }

        impl Section for Aggregate {
            fn keys(&self) -> &'static [Key] {
                match self { $( Aggregate::$name(one) => one.keys(), )+ }
            }

            fn values(&self) -> Vec<Value> {
                match self { $( Aggregate::$name(one) => one.values(), )+ }
            }

            fn set(&mut self, path: &str, value: Value) -> bool {
                match self { $( Aggregate::$name(one) => one.set(path, value), )+ }
            }
        }

        impl Cell {
            /// True when [`Cell::merge`] can take `other`, see [`State::takes`].
            pub fn takes(&self, other: &Cell) -> bool {
                match (self, other) {
                    $( (Cell::$name(mine), Cell::$name(theirs)) => mine.takes(theirs), )+
                    $( (Cell::$window(mine), Cell::$window(theirs)) => mine.takes(theirs), )+
                    _ => false,
                }
            }

            /// Merges another cell of the same aggregate into this one.
            pub fn merge(&mut self, other: &Cell) {
                match (self, other) {
                    $( (Cell::$name(mine), Cell::$name(theirs)) => mine.merge(theirs), )+
                    $( (Cell::$window(mine), Cell::$window(theirs)) => mine.merge(theirs), )+
                    (mine, theirs) => {
                        debug_assert!(false, "cells of two kinds: {mine:?} and {theirs:?}");
                    }
                }
            }

            /// Takes back what was merged; only where [`Cell::subtracts`].
            pub fn subtract(&mut self, other: &Cell) {
                match (self, other) {
                    $( (Cell::$name(mine), Cell::$name(theirs)) => mine.subtract(theirs), )+
                    $( (Cell::$window(mine), Cell::$window(theirs)) => mine.subtract(theirs), )+
                    (mine, theirs) => {
                        debug_assert!(false, "cells of two kinds: {mine:?} and {theirs:?}");
                    }
                }
            }

            /// True when [`Cell::subtract`] works.
            pub fn subtracts(&self) -> bool {
                match self {
                    $( Cell::$name(_) => <$name as Aggregation>::State::SUBTRACTS, )+
                    $( Cell::$window(_) => $window::SUBTRACTS, )+
                }
            }

            /// See [`State::count`].
            pub fn count(&self) -> u64 {
                match self {
                    $( Cell::$name(state) => State::count(state), )+
                    $( Cell::$window(state) => State::count(state), )+
                }
            }

            /// See [`State::sum`].
            pub fn sum(&self) -> f64 {
                match self {
                    $( Cell::$name(state) => State::sum(state), )+
                    $( Cell::$window(state) => State::sum(state), )+
                }
            }

            /// See [`State::settle`].
            pub fn settle(&mut self) {
                match self {
                    $( Cell::$name(state) => State::settle(state), )+
                    $( Cell::$window(state) => State::settle(state), )+
                }
            }

            /// Appends the cell.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $( Cell::$name(state) => {
                        out.push($tag);
                        State::encode(state, out);
                    } )+
                    $( Cell::$window(state) => {
                        out.push($window_tag);
                        State::encode(state, out);
                    } )+
                }
            }

            /// Reads a cell.
            ///
            /// # Errors
            /// When the bytes are not a cell.
            pub fn decode(reader: &mut Reader<'_>) -> Result<Cell, Malformed> {
                Ok(match reader.peek("kind of cell")? {
                    $( $window_tag => {
                        reader.u8("kind of cell")?;
                        Cell::$window(State::decode(reader)?)
                    } )+
                    _ => return Cell::decode_plain(reader),
                })
            }

            /// Reads a cell that is no window's: those hold such, so that there is an end to it.
            ///
            /// # Errors
            /// When the bytes are not one.
            pub fn decode_plain(reader: &mut Reader<'_>) -> Result<Cell, Malformed> {
                let at = reader.position();
                Ok(match reader.u8("kind of cell")? {
                    $( $tag => Cell::$name(State::decode(reader)?), )+
                    _ => return Err(Malformed { what: "kind of cell", at }),
                })
            }

            /// What it adds to a minute: the state of the aggregate.
            pub fn of_minute(&self) -> Cow<'_, Cell> {
                match self {
                    $( Cell::$window(kept) => Cow::Owned(kept.merged()), )+
                    cell => Cow::Borrowed(cell),
                }
            }

            /// What it adds to a window.
            pub fn of_window(&self) -> Cow<'_, Cell> {
                match self {
                    $( Cell::$window(kept) => {
                        Cow::Owned(Cell::$window(Box::new(kept.for_windows())))
                    } )+
                    cell => Cow::Borrowed(cell),
                }
            }

            /// What windows that take in whole panes see of it.
            pub fn whole(&self) -> &Cell {
                match self {
                    Cell::Moments(moments) => moments.whole().unwrap_or(self),
                    cell => cell,
                }
            }

            /// True when it keeps facts apart.
            pub fn is_windowed(&self) -> bool {
                match self {
                    $( Cell::$window(_) => true, )+
                    _ => false,
                }
            }
        }
    };
}

// The number of each is part of the files. Those below 10 were of cells that are no more.
aggregates! {
    10 => Count,
    11 => Sum,
    12 => Avg,
    13 => Stddev,
    14 => Min,
    15 => Max,
    16 => Rate,
    17 => Distinct,
    18 => Ratio,
    19 => TopK,
    20 => Histogram,
    21 => First,
    22 => Last,
    23 => Delta,
    24 => Quantile,
    windows:
    40 => Latest,
    41 => Bursts,
    42 => Moments,
}

impl Aggregate {
    /// The one of a name, with its defaults.
    pub fn named(word: &str) -> Option<Aggregate> {
        Aggregate::all().into_iter().find(|aggregate| aggregate.word() == word)
    }

    /// The number of a window without facts: nothing happened 0 times, and nothing has no mean.
    pub fn empty(&self) -> Option<Number> {
        self.value(&self.zero(), 1)
    }
}

#[cfg(test)]
mod tests;
