//! Which combinations of labels a metric keeps: one decision for the whole pipeline, in log
//! order. The first `group_limit` combinations hold a place each; facts of all others go to
//! the overflow. A combination that was silent for long enough leaves, and its place is free.
//!
//! A shard sees only its own facts, so it cannot decide. It tells apart whatever is not
//! decided yet ([`ShardGroups`]) and says at each barrier where each new combination came
//! first; the keeper admits them in that order ([`KeptGroups`]) and adds what is not kept to
//! the overflow.
//!
//! Groups leave at the beginning of a *period* only, an eighth of the silence, so that within one
//! a decision can be complete: once `group_limit` combinations are kept it is given to the
//! shards, and they tell apart nothing else until the next period. The period of a fact follows
//! from its stamp, so barriers make no difference.

mod kept;
mod shard;
mod spellings;

pub use kept::{GroupChange, Kept, KeptGroups, KeptMap};
pub use shard::ShardGroups;
pub use spellings::Spellings;

use std::sync::Arc;

use compact_str::CompactString;

use super::grid::MINUTE;
use crate::time::{BEGINNING, EpochMs, SpanMs};

/// Labels of a group, in the order of `group_by`.
pub type Labels = Arc<Vec<String>>;

/// Number of the group that holds every combination that is not kept.
pub const OVERFLOW: u32 = u32::MAX;

/// Text of the overflow. A real group that would read the same is written `\other`.
pub const OVERFLOW_TEXT: &str = "other";

/// A group as text: labels joined by `|`. A `|` or `\` within a label has a `\` before it, so
/// two groups never read the same.
pub fn group_text(labels: &[String]) -> String {
    let mut text = String::new();
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            text.push('|');
        }
        push_escaped(&mut text, label);
    }
    mark_lone(&mut text, labels.len());
    text
}

fn push_escaped(text: &mut String, label: &str) {
    for letter in label.chars() {
        if matches!(letter, '|' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
}

fn mark_lone(text: &mut String, labels: usize) {
    if labels == 1 && text == OVERFLOW_TEXT {
        text.insert(0, '\\');
    }
}

/// Where a fact stands in the one order of all facts of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// An event: in the order of the log.
    Event {
        /// Number of its batch, counted by whoever reads the sources.
        batch: u64,
        /// Position of its item in the source.
        position: u64,
        /// Which of its item's events it is.
        part: u32,
    },
    /// An ended session or cart: in the order in which the watermark ends them.
    Ending {
        /// When it ended.
        at: EpochMs,
        /// A goal ends a cart when the watermark reaches it, silence when it has passed.
        silent: bool,
        /// The session key.
        key: CompactString,
        /// Its first event.
        first: EpochMs,
    },
}

/// A combination that a shard met for the first time, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index of the metric.
    pub metric: u16,
    /// The combination.
    pub labels: Labels,
    /// The period in which it was met.
    pub period: EpochMs,
    /// Its first fact of that period on that shard.
    pub first: Order,
}

/// The groups that are kept during a period: no others will be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// The period.
    pub period: EpochMs,
    /// Their labels.
    pub kept: Vec<Labels>,
}

/// When groups leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Least time between the last fact of a group and its leaving; `None`: it stays for good.
    span: Option<SpanMs>,
}

/// Into how many periods a silence is cut: a group leaves after an eighth more at the latest.
const PERIODS: SpanMs = 8;

impl Silence {
    /// Of a metric that lets groups leave after `span`, which is 0 where they never do. What comes
    /// late may still count: that is waited for as well, and for its roll-up minute.
    pub fn new(span: SpanMs, lateness: SpanMs) -> Silence {
        Silence { span: (span > 0).then(|| span + lateness + MINUTE) }
    }

    /// How long it is; 0 where groups stay for good.
    pub fn span(self) -> SpanMs {
        self.span.unwrap_or(0)
    }

    /// The period that a time lies in. Without leaving there is one.
    pub fn period(self, at: EpochMs) -> EpochMs {
        match self.span {
            Some(span) => at.div_euclid(span / PERIODS) * (span / PERIODS),
            None => BEGINNING,
        }
    }

    /// The beginning of the next period.
    fn next(self, period: EpochMs) -> EpochMs {
        self.span.map_or(EpochMs::MAX, |span| period.saturating_add(span / PERIODS))
    }

    /// True when a group that was met last in the period `seen` has left in `period`.
    fn is_over(self, seen: EpochMs, period: EpochMs) -> bool {
        self.span.is_some_and(|span| self.next(seen).saturating_add(span) <= period)
    }
}
