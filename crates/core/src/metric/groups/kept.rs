//! The keeper's side of groups: which combinations of a metric hold a place.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::{Candidate, Labels, OVERFLOW, OVERFLOW_TEXT, group_text};

/// The kept combinations of one metric, numbered in the order of their first facts.
#[derive(Clone, Debug, Default)]
pub struct KeptGroups {
    labels: Vec<Labels>,
    index: HashMap<Labels, u32, FixedState>,
}

impl KeptGroups {
    /// Number of a combination; `OVERFLOW` when it is not kept.
    pub fn number(&self, labels: &Labels) -> u32 {
        self.index.get(labels).copied().unwrap_or(OVERFLOW)
    }

    /// Labels of a group; `None` for the overflow.
    pub fn labels(&self, group: u32) -> Option<&Labels> {
        self.labels.get(group as usize)
    }

    /// A group as text, see [`group_text`].
    pub fn text(&self, group: u32) -> String {
        self.labels(group).map_or_else(|| OVERFLOW_TEXT.to_owned(), |labels| group_text(labels))
    }

    /// All of them by number.
    pub fn all(&self) -> &[Labels] {
        &self.labels
    }

    /// True when no further combination is kept.
    pub fn is_complete(&self, limit: usize) -> bool {
        self.labels.len() >= limit
    }

    /// Keeps what shards met between two barriers, in log order, as far as there is room.
    /// Returns the numbers of the new ones.
    pub fn admit(&mut self, mut candidates: Vec<Candidate>, limit: usize) -> Range<u32> {
        let known = self.labels.len() as u32;
        candidates.sort_by(|a, b| a.first.cmp(&b.first));
        for candidate in candidates {
            if self.is_complete(limit) {
                break;
            }
            self.keep(candidate.labels);
        }
        known..self.labels.len() as u32
    }

    /// Keeps one more, unless it is kept already.
    pub fn keep(&mut self, labels: Labels) {
        if !self.index.contains_key(&labels) {
            self.index.insert(Arc::clone(&labels), self.labels.len() as u32);
            self.labels.push(labels);
        }
    }
}
