//! Which combinations of labels a metric keeps: one decision for the whole pipeline, in log
//! order. The first `group_limit` combinations are kept for good; facts of all others go
//! to the overflow.
//!
//! A shard sees only its own facts, so it cannot decide. It tells apart whatever is not
//! decided yet ([`ShardGroups`]) and says at each barrier where each new combination came
//! first; the keeper admits them in that order ([`KeptGroups`]) and adds what is not kept to
//! the overflow. Once `group_limit` combinations are kept the decision is complete: it is
//! given to the shards, and they tell apart nothing else.

mod kept;
mod shard;

pub use kept::KeptGroups;
pub use shard::ShardGroups;

use std::sync::Arc;

use compact_str::CompactString;

use crate::time::EpochMs;

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
    /// Its first fact on that shard.
    pub first: Order,
}
