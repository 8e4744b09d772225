//! When each key was first seen, for kinds of sessions that are told apart by it.
//!
//! The first session of a key that ends says when: sessions of a key end in the order of their time, so
//! it is the same for any order of arrival. One entry is two numbers and a time; two keys with one 64-bit
//! hash share it.

use std::collections::HashMap;

use crate::time::EpochMs;

/// A kind and a key: [`Pattern::cohort_id`](super::Pattern::cohort_id), and the hash of the key.
pub type CohortKey = (u64, u64);

/// The cohorts of one shard.
#[derive(Debug, Default)]
pub struct Cohorts {
    max: usize,
    first: HashMap<CohortKey, EpochMs, foldhash::fast::RandomState>,
    /// Since the last call of [`Cohorts::take_changes`].
    changes: Vec<(CohortKey, EpochMs)>,
}

impl Cohorts {
    /// Remembers so many keys at most; further ones are of no cohort.
    pub fn new(max: usize) -> Self {
        Cohorts { max, ..Cohorts::default() }
    }

    /// The beginning of the key's cohort, and whether it is seen for the first time: then its cohort
    /// begins at `start`. `None` where there is no room for another key.
    pub fn of(&mut self, key: CohortKey, start: EpochMs) -> Option<(EpochMs, bool)> {
        if let Some(first) = self.first.get(&key) {
            return Some((*first, false));
        }
        if self.first.len() >= self.max {
            return None;
        }
        self.first.insert(key, start);
        self.changes.push((key, start));
        Some((start, true))
    }

    /// Puts back what a snapshot holds.
    pub fn restore(&mut self, key: CohortKey, start: EpochMs) {
        self.first.insert(key, start);
    }

    /// What is new since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<(CohortKey, EpochMs)> {
        std::mem::take(&mut self.changes)
    }

    /// Keys remembered.
    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_in_the_cohort_that_it_was_first_seen_in() {
        let mut cohorts = Cohorts::new(2);
        assert_eq!(cohorts.of((1, 7), 100), Some((100, true)));
        assert_eq!(cohorts.of((1, 7), 200), Some((100, false)));
        assert_eq!(cohorts.of((2, 7), 200), Some((200, true)), "of another kind");
        assert_eq!(cohorts.of((1, 8), 300), None, "there is no room");
        assert_eq!(cohorts.of((2, 7), 300), Some((200, false)));
        assert_eq!(cohorts.take_changes(), [((1, 7), 100), ((2, 7), 200)]);
        let mut again = Cohorts::new(1);
        again.restore((1, 7), 100);
        assert_eq!((again.of((1, 7), 900), again.len()), (Some((100, false)), 1));
        assert!(again.take_changes().is_empty() && !again.is_empty());
    }
}
